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
LOWEST = 0.5
"""Normalised return at which the axis ends: what learns from nothing is far below for long."""


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
    """Normalised returns, the gap to the expert and the steps that it took."""
    lines = [
        "| family | split | what | 0 episodes | 1 | 2 | 5 | 10 | 20 | 50 | gap closed after 5 | after 50 "
        "| there at once | steps to 0.95, of SB3's | of the rest | with judging |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        scores = [shown(at(row, "normalised", episodes), 3) for episodes in (0, 1, 2, 5, 10, 20, 50)]
        closed = [shown(at(row, "gap_closed", episodes)) for episodes in (5, 50)]
        steps, judged = row["steps_to_95"]["learning"], row["steps_to_95"]["with_judged"]
        share = f"{steps['there_at_once']:.0%}".replace("%", " %")
        ratios = [
            "never" if ratio is None and share != "100 %" else shown(ratio)
            for ratio in (
                steps["median_ratio"],
                steps["median_ratio_of_the_others"],
                judged["median_ratio_of_the_others"],
            )
        ]
        cells = [row["family"], row["split"], label(row), *scores, *closed, share, *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    for row in rivals:
        scores = [shown(score, 3) for score in row["normalised"]]
        cells = [row["family"], row["split"], SCRATCH[0], *scores, *"------"]
        lines.append(f"| {' | '.join(cells)} |")
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
    times = ", ".join(f"{call['family']} {call['median_ms']:.1f} ms" for call in calls)
    page = DOCS / "adaptation.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    body = [
        *told_table(found["unknown"]),
        "",
        f"One call of inference and generation, median: {times}.",
        "",
        *curves_table(rows, rivals),
    ]
    page.write_text("\n".join([before.rstrip() + "\n", BEGIN, "", *body, "", END]) + after)


if __name__ == "__main__":
    main()
