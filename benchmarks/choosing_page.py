"""docs/choosing.md: which arm to choose on which family, and how its context is encoded, from the committed cells.

python benchmarks/choosing_page.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from cells import Row, read_matrix, rows_of
from common import between, filled, number, percent, table, wrapped
from encoded import POSITIVE, SIGNED
from matplotlib.figure import Figure
from results_page import COLOURS, DOCS, MATRICES, SPLITS, Arm, read, with_interval, with_splits

from hyperrl.config import Config
from hyperrl.evaluation.statistics import improvement, interval

PAGE = DOCS / "choosing.md"
DEFAULT = Config("").agent
FACTORS = tuple(family for family in SIGNED if family != "pendulum_spin")
"""Families with a parameter of both signs that multiplies the action."""
Probability = tuple[float, tuple[float, float] | None]


def over(arms: dict[str, Arm], split: str) -> dict[tuple[str, str], Probability]:
    """Probability of improvement of each arm over each other one that played the same variants and starts."""
    found = {}
    for a, first in arms.items():
        for b, second in arms.items():
            returns = first.returns_RTE(split), second.returns_RTE(split)
            if a != b and returns[0] is not None and returns[1] is not None:
                found[a, b] = improvement(returns[0], returns[1])
    return found


def best_of(probabilities: dict[tuple[str, str], Probability]) -> tuple[str, list[str]]:
    """The arm whose least probability of improvement is the highest, and the arms that it may not be better than."""
    arms = list(dict.fromkeys(a for a, _ in probabilities))
    least = {a: min(value for (first, _), (value, _) in probabilities.items() if first == a) for a in arms}
    best = max(arms, key=lambda a: least[a])
    tied = [b for b in arms if b != best and not _above_half(probabilities[best, b])]
    return best, tied


def _above_half(found: Probability) -> bool:
    return found[1] is not None and found[1][0] > 0.5


def comparable(results: dict[str, dict[str, Arm]]) -> dict[str, dict[str, Arm]]:
    """Families with several arms whose settings were found alike."""
    found = {}
    for family, arms in with_splits(results).items():
        alike = {agent: arm for agent, arm in arms.items() if arm.cells is not None}
        searched = {agent: arm for agent, arm in alike.items() if arm.settings != "by hand"}
        chosen = searched if len(searched) > 1 else alike
        if len(chosen) > 1:
            found[family] = chosen
    return found


def choice_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """A row a family and split: which arm, and which others cannot be told from it."""
    rows = []
    for family, arms in comparable(results).items():
        for split in SPLITS:
            probabilities = over(arms, split)
            if not probabilities:
                continue
            best, tied = best_of(probabilities)
            seeds = "-".join(map(str, sorted({min(arm.seeds for arm in arms.values()), arms[best].seeds})))
            settings = ", ".join(sorted({arm.settings for arm in arms.values()}))
            means = {agent: arm.mean(split) or 0.0 for agent, arm in arms.items()}
            highest = max(means, key=lambda agent: means[agent])
            rows.append([family, split, best, ", ".join(tied) or "-", highest, seeds, settings])
    head = ["family", "split", "mostly better", "not told apart from it", "highest mean", "seeds"]
    return table([*head, "settings of all arms"], rows)


def probability_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """A row a family and split: the default arm over each other arm."""
    families = comparable(results)
    others = [agent for agent in COLOURS if agent != DEFAULT and any(agent in arms for arms in families.values())]
    rows = []
    for family, arms in families.items():
        for split in SPLITS:
            probabilities = over(arms, split)
            if any(a == DEFAULT for a, _ in probabilities):
                cells = [_shown(probabilities.get((DEFAULT, other))) for other in others]
                rows.append([family, split, *cells])
    return table(["family", "split", *(f"over {other}" for other in others)], rows)


def _shown(found: Probability | None) -> str:
    return "-" if found is None else with_interval(found[0], found[1], 2)


def encoding_table(matrix: str) -> list[str]:
    """A row a family and encoding: returns inside and outside the ranges trained on, for each arm."""
    by_family: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows_of(read_matrix(MATRICES / f"{matrix}.toml")):
        family, _, label = row.family.partition(".")
        by_family.setdefault((family, label), {})[row.arm] = row
    arms = list(dict.fromkeys(arm for rows in by_family.values() for arm in rows))
    lines = []
    for (family, label), rows in by_family.items():
        shown = [_mean(rows[arm], part) for part in ("interpolation", "extrapolation") for arm in arms]
        lines.append([family, label.replace("_", ", ").replace("as, shipped", "as shipped"), *shown])
    head = [f"{arm} {place}" for place in ("inside", "outside") for arm in arms]
    return table(["family", "features", *head], lines)


def losses(matrix: str) -> list[str]:
    """How much each encoding loses outside against the best one of the family and arm, in the mean over these."""
    kinds = {"both signs of a factor of the action": FACTORS, "ranges of one sign": POSITIVE}
    sentences = []
    for kind, families in kinds.items():
        outside: dict[tuple[str, str], dict[str, float]] = {}
        for row in rows_of(read_matrix(MATRICES / f"{matrix}.toml")):
            family, _, label = row.family.partition(".")
            if family in families:
                named = label.replace("_", ", ").replace("as, shipped", "as shipped")
                outside.setdefault((family, row.arm), {})[named] = float(row.arrays()["extrapolation_returns"].mean())
        labels = list(next(iter(outside.values())))
        each = [f"*{label}* {percent(_lost(outside.values(), label), 1)}" for label in labels]
        sentences.append(f"With {kind} ({', '.join(families)}): {', '.join(each)}.")
    first = (
        "What an encoding loses outside against the best one of the same family and arm, in the mean over families and "
        "arms, as a share of that one's return."
    )
    return wrapped(" ".join([first, *sentences]))


def _lost(outside: Iterable[Mapping[str, float]], label: str) -> float:
    return float(np.mean([(max(own.values()) - own[label]) / abs(max(own.values())) for own in outside]))


def _mean(row: Row, part: str) -> str:
    if not row.seeds:
        return "-"
    returns_RTE = row.arrays()[f"{part}_returns"]
    found = interval(returns_RTE, np.mean)
    return f"{number(float(returns_RTE.mean()))} ({between(found.ends if found else None)})"


def ablation_table() -> list[str]:
    """A row a variation and split: on each family its mean, and the probability that it is better than without it."""
    rows = rows_of(read_matrix(MATRICES / "ablation.toml"))
    plain = {row.family: row for row in rows if row.name == DEFAULT}
    names = list(dict.fromkeys(row.name for row in rows))
    lines = []
    for part, place in (("interpolation", "inside"), ("extrapolation", "outside")):
        for name in names:
            cells = []
            for family, base in plain.items():
                returns_RTE, of_plain_RTE = (
                    row.arrays()[f"{part}_returns"] for row in (Row(family, *name.split("-", 1)), base)
                )
                found = improvement(returns_RTE, of_plain_RTE)
                mean = number(float(returns_RTE.mean()))
                cells.append(mean if name == DEFAULT else f"{mean}, {with_interval(*found, 2)}")
            lines.append([name.removeprefix(f"{DEFAULT}-").replace("_", " "), place, *cells])
    return table(["variation", "where", *(family.partition(".")[0] for family in plain)], lines)


def ablation_sentence() -> list[str]:
    """Whether any variation is sure to be better or worse than without it somewhere."""
    rows = rows_of(read_matrix(MATRICES / "ablation.toml"))
    plain = {row.family: row for row in rows if row.name == DEFAULT}
    better, worse = [], []
    for row in rows:
        for part in ("interpolation", "extrapolation") if row.name != DEFAULT else ():
            returns = (found.arrays()[f"{part}_returns"] for found in (row, plain[row.family]))
            ends = improvement(*returns)[1]
            said = (
                f"{row.name.removeprefix(f'{DEFAULT}-').replace('_', ' ')} on {row.family.partition('.')[0]} ({part})"
            )
            better += [said] if ends and ends[0] > 0.5 else []
            worse += [said] if ends and ends[1] < 0.5 else []
    return wrapped(
        f"Better than without it, with the whole interval above 0.5: {', '.join(better) or 'nothing, nowhere'}. Worse, "
        f"with the whole interval below: {', '.join(worse) or 'nothing, nowhere'}."
    )


def figure(results: dict[str, dict[str, Arm]]) -> Figure:
    """Probability that the default arm is better than each other one, with its interval: a panel a split."""
    families = {family: arms for family, arms in comparable(results).items() if DEFAULT in arms}
    shown = Figure(figsize=(10, 0.8 + 0.42 * len(families)), layout="constrained")
    panels = shown.subplots(1, 2, sharey=True)
    for axes, split in zip(panels, SPLITS[:2], strict=True):
        for place, arms in enumerate(families.values()):
            others = [agent for agent in arms if agent != DEFAULT]
            for offset, other in enumerate(others):
                found = over({agent: arms[agent] for agent in (DEFAULT, other)}, split).get((DEFAULT, other))
                if found is None:
                    continue
                height = place + 0.7 * ((offset + 0.5) / len(others) - 0.5)
                if found[1]:
                    axes.plot(found[1], [height, height], color=COLOURS[other], linewidth=2, alpha=0.6)
                axes.plot(found[0], height, "o", color=COLOURS[other], markersize=4)
        axes.axvline(0.5, color="0.6", linewidth=0.8)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"probability that {DEFAULT} is better, {split} variants")
        axes.set_yticks(range(len(families)), list(families))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    used = [agent for agent in COLOURS if any(agent in arms for arms in families.values()) and agent != DEFAULT]
    marks = [panels[0].plot([], [], "o-", color=COLOURS[agent])[0] for agent in used]
    shown.legend(marks, [f"than {agent}" for agent in used], loc="outside lower center", ncols=5, frameon=False)
    return shown


def sentences(results: dict[str, dict[str, Arm]]) -> list[str]:
    """What the table says at a glance."""
    families = {family: arms for family, arms in comparable(results).items() if DEFAULT in arms}
    pairs = [
        (family, split, other, found)
        for family, arms in families.items()
        for split in SPLITS
        for (a, other), found in over(arms, split).items()
        if a == DEFAULT
    ]
    worse = [f"{family} {split}: {other} ({found[0]:.2f})" for family, split, other, found in pairs if found[0] < 0.5]
    text = (
        f"Of {len(pairs)} comparisons of {DEFAULT} with another arm on a family and split, its probability of "
        f"improvement is 0.5 or more in {len(pairs) - len(worse)}."
    )
    return wrapped(text + (f" Below that: {'; '.join(worse)}." if worse else ""))


def page(text: str) -> str:
    """docs/choosing.md with its blocks as the committed cells have them."""
    results = read()
    blocks = {
        "choice": choice_table(results),
        "probabilities": [*sentences(results), "", *probability_table(results)],
        "encodings": encoding_table("encodings"),
        "losses": losses("encodings"),
        "ablation": [*ablation_sentence(), "", *ablation_table()],
    }
    return filled(text, blocks)


def main() -> None:
    figure(read()).savefig(DOCS / "pictures" / "choosing.png", dpi=110)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
