"""docs/results.md's tables and the learning curves of the arms, from the results that are committed here.

    python benchmarks/results_page.py

Reads ``results/*.json``, trains nothing, and replaces what stands between the page's two marks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- from here on written by python benchmarks/results_page.py -->", "<!-- from here on by hand -->"
ARMS = {"hyper": "#4C72B0", "concat": "#DD8452", "blind": "#8C8C8C"}
SPLITS = ("interpolation", "extrapolation", "combination")


def read() -> dict[str, dict[str, dict[str, Any]]]:
    """Family -> arm -> the result of ``families.py``."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        if "families.py" in result["command"]:
            found.setdefault(path.stem.removesuffix(f"-{result['agent']}"), {})[result["agent"]] = result
    return found


def number(value: float) -> str:
    """Three digits or so."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def spread(runs: list[dict[str, Any]], split: str) -> str:
    """Mean over seeds, and the range of the seeds' means where there are several."""
    means = [run["splits"][split]["mean"] for run in runs if split in run["splits"]]
    if not means:
        return "-"
    ends = f" ({number(min(means))} to {number(max(means))})" if len(means) > 1 else ""
    return f"{number(float(np.mean(means)))}{ends}"


def rows(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A row a family and arm."""
    lines = [
        "| family | arm | seeds | steps | interpolation | extrapolation | combination | worst interpolation variant "
        "| solved | normalised, of experts |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for family, arms in results.items():
        for arm in (arm for arm in ARMS if arm in arms):
            runs = arms[arm]["runs"]
            worst = number(float(np.mean([run["splits"]["interpolation"]["worst"] for run in runs])))
            solved = [run["splits"]["interpolation"]["solved"] for run in runs]
            scored = [run["normalised"] for run in runs if "normalised" in run]
            share = f"{np.mean(solved):.0%}".replace("%", " %") if solved[0] is not None else "-"
            gap = f"{np.mean(scored):.3f} of {runs[0]['experts']}" if scored else "-"
            cells = [family, arm, str(len(runs)), f"{runs[0]['steps']:,}"]
            cells += [*(spread(runs, split) for split in SPLITS), worst, share, gap]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def curves(results: dict[str, dict[str, dict[str, Any]]], families: list[str], path: Path) -> None:
    """Return on interpolation variants over steps: a panel a family, a line an arm, the range of the seeds shaded."""
    columns = min(3, len(families))
    count = -(-len(families) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * count), layout="constrained")
    panels = figure.subplots(count, columns, squeeze=False)
    for axes in panels.flat[len(families) :]:
        axes.set_axis_off()
    for axes, family in zip(panels.flat, families, strict=False):
        for arm, colour in ARMS.items():
            if arm not in results[family]:
                continue
            runs = [run["curves"] for run in results[family][arm]["runs"]]
            steps = np.array(runs[0]["steps"]) / 1e6
            returns = np.array([run["interpolation"] for run in runs])
            axes.plot(steps, returns.mean(0), color=colour, label=arm)
            axes.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.set_title(family, fontsize=10)
        axes.set_xlabel("million environment steps", fontsize=8)
        axes.set_ylabel("mean return, unseen variants", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    if any(len(results[family]) > 1 for family in families):
        panels.flat[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    results = read()
    several = [family for family, arms in results.items() if len(arms) > 1]
    alone = [family for family in ("half_cheetah_velocity", "lunar_lander") if family in results]
    for name, families in (("arms", several), ("simulators", alone)):
        if families:
            curves(results, families, DOCS / "pictures" / f"{name}.png")
    page = DOCS / "results.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before.rstrip() + "\n", BEGIN, "", *rows(results), "", END]) + after)


if __name__ == "__main__":
    main()
