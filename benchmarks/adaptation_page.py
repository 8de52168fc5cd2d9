"""docs/adaptation.md's tables and curves, from the results that are committed here.

    python benchmarks/adaptation_page.py

Reads ``results/adaptation*.json``, plays nothing, and replaces what stands between the page's two marks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- from here on written by python benchmarks/adaptation_page.py -->", "<!-- from here on by hand -->"
LOOKS = {
    ("hyper", "all", False): ("all, told", "#0072B2", "-", "o"),
    ("hyper", "all", True): ("all, unknown", "#56B4E9", "-", "s"),
    ("hyper", "weights", False): ("weights, told", "#009E73", "--", "^"),
    ("hyper", "context", False): ("context, told", "#CC79A7", "--", "v"),
    ("hyper", "infer", True): ("infer, unknown", "#E69F00", "--", "D"),
    ("blind", "weights", False): ("blind arm, weights", "#8C8C8C", "-", "P"),
}
SCRATCH = ("SB3 from scratch", "#D55E00", ":", "x")
LOWEST = 0.0
"""Normalised return at which the axis ends: a random policy's."""


def label(row: dict[str, Any]) -> str:
    """The cell's name in tables and legends."""
    return LOOKS[row["agent"], row["mode"], row["unknown"]][0]


def shown(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def at(row: dict[str, Any], name: str, episodes: int) -> float | None:
    """A curve's value after so many episodes."""
    return row[name][row["episodes"].index(episodes)] if episodes in row["episodes"] else None


def told_table(rows: list[dict[str, Any]]) -> list[str]:
    """What not being told costs."""
    lines = [
        "| family | split | variants | 0 episodes | 1 | 2 | 5 | worst seed after 1 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        shares = [shown(at(row, "share_of_told", episodes), 3) for episodes in (0, 1, 2, 5)]
        worst = min(share[row["episodes"].index(1)] for share in row["each_seed"])
        lines.append(f"| {' | '.join([row['family'], row['split'], str(row['variants']), *shares, shown(worst, 3)])} |")
    return lines


def curves_table(rows: list[dict[str, Any]], rivals: list[dict[str, Any]]) -> list[str]:
    """Normalised returns, the gap to the experts and the steps that it took, family by family and split by split."""
    lines = [
        "| family, split | what | 0 episodes | 1 | 2 | 5 | 10 | 20 | 50 | gap closed after 5 | after 50 "
        "| there at once | steps to 0.95, of SB3's | of those not there at once | with judging |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rival in rivals:
        here = [row for row in rows if (row["family"], row["split"]) == (rival["family"], rival["split"])]
        where = f"{rival['family']}, {rival['split']}"
        lines += [f"| {' | '.join([where, *row_of(row)])} |" for row in here]
        scores = [shown(score, 3) for score in rival["normalised"]]
        lines.append(f"| {' | '.join([where, SCRATCH[0], *scores, *'------'])} |")
    return lines


def row_of(row: dict[str, Any]) -> list[str]:
    """A cell's columns."""
    scores = [shown(at(row, "normalised", episodes), 3) for episodes in (0, 1, 2, 5, 10, 20, 50)]
    closed = [shown(at(row, "gap_closed", episodes)) if row["gap_closed"] else "no gap" for episodes in (5, 50)]
    steps, judged = row["steps"], row["steps_with_judged"]
    there = steps["there_at_once"]
    rest = [shown(found["median_of_those_not_there_at_once"]) for found in (steps, judged)]
    rest = ["never" if share == "-" and there < 1 else share for share in rest]
    median = "never" if steps["median"] is None else shown(steps["median"])
    return [label(row), *scores, *closed, f"{there:.0%}".replace("%", " %"), median, *rest]


def experts_table(rivals: list[dict[str, Any]]) -> list[str]:
    """What the experts came to."""
    lines = [
        "| family, split | experts | sound | their returns | random | median steps to 0.95 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rivals:
        returns, random = (
            ", ".join(f"{value:.0f}" for value in row[f"{name}_returns"]) for name in ("expert", "random")
        )
        where, steps = f"{row['family']}, {row['split']}", f"{row['median_steps_to_95']:,.0f}"
        lines.append(f"| {where} | {row['experts']} | {row['sound']} | {returns} | {random} | {steps} |")
    return lines


def draw(rows: list[dict[str, Any]], rivals: list[dict[str, Any]], path: Path) -> None:
    """Normalised return over episodes: a row a family, a column a split, the expert as a line at 1."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    splits = list(dict.fromkeys(row["split"] for row in rows))
    figure = Figure(figsize=(3.9 * len(splits), 2.8 * len(families)), layout="constrained")
    panels = figure.subplots(len(families), len(splits), squeeze=False)
    handles: dict[str, Any] = {}
    for axes, (family, split) in zip(panels.flat, [(f, s) for f in families for s in splits], strict=True):
        curves = [(row, *LOOKS[row["agent"], row["mode"], row["unknown"]]) for row in rows]
        curves += [(row, *SCRATCH) for row in rivals]
        curves = [curve for curve in curves if (curve[0]["family"], curve[0]["split"]) == (family, split)]
        if not curves:
            axes.set_axis_off()
            continue
        for row, name, colour, line, marker in curves:
            x = np.arange(len(row["episodes"]))
            looks = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1.4}
            handles[name] = axes.plot(x, row["normalised"], **looks)[0]
            if "normalised_ci95" in row:
                axes.fill_between(x, *np.transpose(row["normalised_ci95"]), color=colour, alpha=0.15, linewidth=0)
        handles["expert"] = axes.axhline(1, color="#222222", linewidth=1, linestyle=(0, (5, 2)))
        top = max(max(row["normalised"]) for row, *_ in curves)
        axes.set_ylim(LOWEST, max(1.05, top + 0.05))
        longest = max((row["episodes"] for row, *_ in curves), key=len)
        axes.set_xticks(np.arange(len(longest)), [str(episodes) for episodes in longest])
        axes.set_title(f"{family}, {split}", fontsize=10)
        axes.set_xlabel("episodes on the variant", fontsize=8)
        axes.set_ylabel("normalised return", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    found = json.loads((RESULTS / "adaptation.json").read_text())
    rows, rivals = found["adaptation"], found["from_scratch"]
    draw(rows, rivals, DOCS / "pictures" / "adaptation.png")
    calls = json.loads((RESULTS / "adaptation_latency.json").read_text())["calls"]
    times = ", ".join(f"{call['family']} {call['median_ms']:.1f} ms ({call['ms_95']:.1f})" for call in calls)
    page = DOCS / "adaptation.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    body = [
        *told_table(found["unknown"]),
        "",
        f"One call of inference and generation on one thread of the CPU (16 new transitions), median (95 %): {times}.",
        "",
        "![Normalised return over the episodes played on a variant](pictures/adaptation.png)",
        "",
        *curves_table(rows, rivals),
        "",
        *experts_table(rivals),
    ]
    page.write_text("\n".join([before.rstrip() + "\n", BEGIN, "", *body, "", END]) + after)


if __name__ == "__main__":
    main()
