"""docs/adaptation.md's tables and curves, from the results that are committed here.

    python benchmarks/adaptation_page.py

Reads results/adaptation*.json and results/cells/adaptation-*.npz, plays nothing, and fills the page's marked blocks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import ARMS, KNOWN, UNKNOWN
from adaptation_scores import BUDGETS, Ceiling, Cells, Row, Scores, ceiling_of, inferred, rows_of, scores_of, scratch_B
from common import RESULTS, between, filled, load_cells, number, percent, region_name, table, wrapped
from matplotlib.figure import Figure

from hyperrl.envs import registry

DOCS = Path(__file__).parents[1] / "docs"
LOOKS = {
    ("hyper", "all", KNOWN): ("#0072B2", "-", "o"),
    ("hyper", "all", UNKNOWN): ("#56B4E9", "-", "s"),
    ("hyper", "weights", KNOWN): ("#009E73", "--", "^"),
    ("hyper", "context", KNOWN): ("#CC79A7", "--", "v"),
    ("hyper", "infer", UNKNOWN): ("#E69F00", "--", "D"),
    ("concat", "all", KNOWN): ("#8C564B", "-", "o"),
    ("concat", "weights", KNOWN): ("#8C564B", "--", "^"),
    ("blind", "weights", KNOWN): ("#8C8C8C", "--", "P"),
}
"""What is drawn: colour, line and marker; the tables hold the rest."""
SCRATCH = ("SB3 from scratch", "#D55E00", ":", "x")
LOWEST = 0.0
"""Normalised return at which the axis ends: a random policy's."""
ABSENT = "Not measured with this version of the code yet."
CLOSED = (5, 50)
"""Budgets at which the share of the gap that is closed is shown."""


class Found:
    """One family's part of the results."""

    def __init__(self, name: str, result: dict[str, Any]) -> None:
        self.name = name
        self.cells: Cells = load_cells(f"adaptation-{name}")
        self.counts = {arm["agent"]: arm["parameters"] for arm in result["arms"] if arm["family"] == name}
        self.rivals = {rival["split"]: rival for rival in result["experts"] if rival["family"] == name}
        self.rows = rows_of(self.cells)
        self.ceilings: dict[str, Ceiling] = {split: ceiling_of(self.cells, split) for split in self.rivals}
        self.scores: dict[Row, Scores] = {
            row: scores_of(self.cells, row, self.ceilings[row.split])
            for row in self.rows
            if self.ceilings[row.split].sound_T.any()
        }

    def where(self, split: str) -> str:
        """Family and split in words: a combination of one parameter is a gap."""
        family = registry.get(self.name)
        return f"{self.name}, {region_name(list(family.held_out)) if split == 'combination' else split}"


def read() -> tuple[dict[str, Any], list[Found]]:
    """The result and its families."""
    result = json.loads((RESULTS / "adaptation.json").read_text())
    return result, [Found(name, result) for name in dict.fromkeys(arm["family"] for arm in result["arms"])]


def label(row: Row) -> str:
    """The cell's name in tables and legends."""
    return f"{row.agent}: {row.mode}, {row.parameters}"


def ratio(value: float | None) -> str:
    """Steps over SB3's; "never" where half or more are not there after the last point."""
    return "-" if value is None else "never" if np.isinf(value) else number(value, 2)


def unknown_table(found: list[Found]) -> list[str]:
    """What unknown parameters cost."""
    head = ["family, split", "arm", "parameters of the arm", "variants", "0 episodes", "1", "95 % interval"]
    rows = []
    for family in found:
        for row in (row for row in family.rows if row.mode == "infer"):
            cost = inferred(family.cells, row)
            share_K = [number(share, 3) for share in cost.share_RK.mean(0)]
            ends = between(cost.after_one.ends if cost.after_one else None, 2)
            start = [family.where(row.split), row.agent, f"{family.counts[row.agent]:,}", str(cost.variants)]
            worst = number(cost.share_RK[:, 1].min(), 3)
            rows.append([*start, *share_K[:2], ends, *share_K[2:], worst])
    return table([*head, "2", "5", "worst seed after 1"], rows)


def curves_table(found: list[Found]) -> list[str]:
    """Normalised returns, the gap to the experts and the steps that it took, family by family and split by split."""
    head = ["family, split", "what", "parameters of the arm", "0 episodes played", *map(str, BUDGETS[1:])]
    head += [f"95 % interval at {BUDGETS[-1]}", "played in all", *(f"gap closed at {budget}" for budget in CLOSED)]
    head += ["there at once", "steps to 0.95, of SB3's", "of those not there at once"]
    rows = []
    for family in found:
        for split, ceiling in family.ceilings.items():
            for row, scores in family.scores.items():
                if row.split == split:
                    rows.append([family.where(split), label(row), f"{family.counts[row.agent]:,}", *columns(scores)])
            if ceiling.sound_T.any():
                scores_B = scratch_B(ceiling, registry.get(family.name).max_episode_steps)
                shown = [number(score, 3) for score in scores_B]
                rows.append([family.where(split), SCRATCH[0], "-", *shown, *["-"] * 7])
    return table(head, rows)


def columns(scores: Scores) -> list[str]:
    """A cell's columns."""
    shown = [number(score, 3) for score in scores.normalised_B]
    places = [BUDGETS.index(budget) for budget in CLOSED]
    closed_B = scores.gap_closed_B
    closed = ["no gap" if closed_B is None else number(closed_B[place], 2) for place in places]
    shares = [percent(scores.there_at_once), ratio(scores.share_of_scratch), ratio(scores.share_of_the_rest)]
    return [*shown, between(scores.ends_B2[-1], 2), number(scores.played, 0), *closed, *shares]


def experts_table(found: list[Found]) -> list[str]:
    """What the experts came to."""
    head = ["family, split", "first variant", "experts", "sound", "their returns", "random", "median steps to 0.95"]
    rows = []
    for family in found:
        for split, rival in family.rivals.items():
            ceiling, cells = family.ceilings[split], family.cells
            expert_T = cells[f"expert-{split}-returns"].mean(1)
            lists = [expert_T, cells[f"random-{split}"][: len(expert_T)]]
            returns, random = (", ".join(number(value, 0) for value in values) for values in lists)
            steps = f"{np.median(ceiling.scratch_T):,.0f}" if len(ceiling.scratch_T) else "-"
            counts = [str(rival["first_variant"]), str(rival["variants"]), str(ceiling.sound_T.sum())]
            rows.append([family.where(split), *counts, returns, random, steps])
    return table(head, rows)


def what_it_is_about(result: dict[str, Any], found: list[Found]) -> list[str]:
    """The sentences above the tables."""
    seeds = sorted({len(arm["seeds"]) for arm in result["arms"]})
    offsets = {family.where(s): r["first_variant"] for family in found for s, r in family.rivals.items()}
    other = {where: first for where, first in offsets.items() if first != result["offset"]}
    exceptions = "".join(f"; {where} from index {first}, because its list is short" for where, first in other.items())
    counts = {agent: [family.counts[agent] for family in found] for agent in ARMS}
    sizes = ", ".join(f"{agent} {min(several):,} to {max(several):,}" for agent, several in counts.items())
    lines = [
        f"- Seeds of each arm: {' or '.join(map(str, seeds))}; of Stable-Baselines3 from scratch: 1 a variant.",
        f"- Variants: from index {result['offset']} of each split on{exceptions}.",
        f"- Parameters: {sizes}. Settings: {result['settings']}.",
        "- Intervals: 95 %, over seeds, of the mean: agents of any seed, on these variants, from these starts.",
    ]
    return [piece for line in lines for piece in wrapped(line)]


def findings(found: list[Found]) -> list[str]:
    """What the tables say in sentences, number by number."""
    lines = []
    for family in found:
        for agent in ("hyper", "concat"):
            costs = {r.split: inferred(family.cells, r) for r in family.rows if (r.agent, r.mode) == (agent, "infer")}
            shares = [f"{number(cost.share_RK[:, 1].mean(), 2)} on {family.where(s)}" for s, cost in costs.items()]
            of = "of what it has above a random policy with known parameters"
            lines.append(f"- After one episode of `infer`, {agent} has {'; '.join(shares)}, {of}.")
    place = BUDGETS.index(50)
    for family in found:
        rows = {row: scores for row, scores in family.scores.items() if row.split == "extrapolation"}
        if not rows:
            continue
        ends = [f"{label(row)} {number(scores.normalised_B[place], 2)}" for row, scores in rows.items()]
        lines.append(f"- {family.where('extrapolation')}, 50 episodes played, normalised: {'; '.join(ends)}.")
        shares_of = {row: scores.share_of_the_rest for row, scores in rows.items()}
        rest = [f"{label(row)} {ratio(share)}" for row, share in shares_of.items() if share is not None]
        if rest:
            what = "steps to 0.95 over SB3's, of those not there at once"
            lines.append(f"- {family.where('extrapolation')}, {what}: {'; '.join(rest)}.")
    return [piece for line in lines for piece in wrapped(line)]


def draw(found: list[Found], path: Path) -> None:
    """Normalised return over episodes played: a row a family, a column a split, the expert as a line at 1."""
    splits = list(dict.fromkeys(split for family in found for split in family.rivals))
    figure = Figure(figsize=(3.9 * len(splits), 2.8 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), len(splits), squeeze=False)
    handles: dict[str, Any] = {}
    for axes, (family, split) in zip(panels.flat, [(f, s) for f in found for s in splits], strict=True):
        if split not in family.rivals or not family.ceilings[split].sound_T.any():
            axes.set_axis_off()
            continue
        x, top = np.arange(len(BUDGETS)), 1.0
        for (agent, mode, parameters), (colour, line, marker) in LOOKS.items():
            row = Row(agent, mode, parameters, split)
            if row not in family.scores:
                continue
            scores = family.scores[row]
            looks = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1.4}
            handles[label(row)] = axes.plot(x, scores.normalised_B, **looks)[0]
            axes.fill_between(x, *scores.ends_B2.T, color=colour, alpha=0.12, linewidth=0)
            top = max(top, scores.normalised_B.max())
        scratch = scratch_B(family.ceilings[split], registry.get(family.name).max_episode_steps)
        name, colour, line, marker = SCRATCH
        handles[name] = axes.plot(x, scratch, color=colour, linestyle=line, marker=marker, markersize=4)[0]
        handles["expert"] = axes.axhline(1, color="#222222", linewidth=1, linestyle=(0, (5, 2)))
        axes.set_ylim(LOWEST, max(1.05, top + 0.05))
        axes.set_xticks(x, [str(budget) for budget in BUDGETS])
        axes.set_title(family.where(split), fontsize=10)
        axes.set_xlabel("episodes played on the variant", fontsize=8)
        axes.set_ylabel("normalised return", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    figure.savefig(path, dpi=110)


def page(text: str) -> str:
    """docs/adaptation.md with its blocks as the committed results have them."""
    calls = json.loads((RESULTS / "adaptation_latency.json").read_text())["calls"]
    times = ", ".join(f"{call['family']} {call['median_ms']:.1f} ms ({call['ms_95']:.1f})" for call in calls)
    what = "One call of inference and generation on one thread of the CPU (16 new transitions)"
    sentence = wrapped(f"{what}, median (95th percentile): {times}.")
    if not (RESULTS / "adaptation.json").exists():
        absent = {name: [ABSENT] for name in ("about", "curves", "experts", "findings")}
        return filled(text, absent | {"unknown parameters": [ABSENT, "", *sentence]})
    result, found = read()
    picture = "![Normalised return over the episodes played on a variant](pictures/adaptation.png)"
    blocks = {
        "about": what_it_is_about(result, found),
        "unknown parameters": [*unknown_table(found), "", *sentence],
        "curves": [picture, "", *curves_table(found)],
        "experts": experts_table(found),
        "findings": findings(found),
    }
    return filled(text, blocks)


def main() -> None:
    if (RESULTS / "adaptation.json").exists():
        draw(read()[1], DOCS / "pictures" / "adaptation.png")
    path = DOCS / "adaptation.md"
    path.write_text(page(path.read_text()))


if __name__ == "__main__":
    main()
