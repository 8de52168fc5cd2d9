"""docs/results.md's tables and the learning curves of the arms, from the results that are committed here.

    python benchmarks/results_page.py

Reads results/*.json and results/cells, plays nothing, and fills the page's marked blocks. Where a family or an arm has
only a result in results/earlier, its row says so and has no interval: there are no single episodes to compute it from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ode
from common import (
    EARLIER,
    RESULTS,
    SETTINGS,
    between,
    filled,
    load_cells,
    number,
    percent,
    region_name,
    table,
    wrapped,
)
from families import normalised_RT
from matplotlib.figure import Figure

from hyperrl.envs import registry
from hyperrl.evaluation.statistics import interval, iqm, worst_tenth_of_variants

DOCS = Path(__file__).parents[1] / "docs"
README = Path(__file__).parents[1] / "README.md"
COLOURS = {"hyper": "#4C72B0", "concat": "#DD8452", "blind": "#8C8C8C"}
SPLITS = ("interpolation", "extrapolation", "combination")
WHAT_VARIES = {
    "point": "direction and strength of the actuators, mass, goal",
    "pendulum_signed": "gravity, mass, length, torque and its sign",
    "cartpole_continuous_d100": "sign of the force, length, 100 distractors that shift",
    "mountain_car_continuous_signed": "sign of the engine, gravity",
    "pendulum_spin": "gravity, mass, length, torque, speed to spin at",
    "pendulum": "gravity, mass, length, torque",
    "acrobot": "masses, lengths, gravity",
    "half_cheetah_velocity": "target speed",
    "lunar_lander": "gravity",
}
"""Families of README's table."""
SIMULATORS = ("half_cheetah_velocity", "lunar_lander")
"""Families whose learning curves have a figure of their own."""
NOTE = "earlier code, no interval"


@dataclass(frozen=True)
class Arm:
    """One arm on one family."""

    family: str
    agent: str
    result: dict[str, Any]
    cells: dict[str, np.ndarray] | None
    """None: measured with an earlier version of the code."""

    @property
    def name(self) -> str:
        """The family as the tables show it."""
        return self.family if self.cells is not None else f"{self.family} ({NOTE})"

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What an earlier version saved of each seed."""
        return self.result["runs"]

    @property
    def seeds(self) -> int:
        """How many agents."""
        return len(self.result["seeds"] if self.cells is not None else self.runs)

    @property
    def steps(self) -> int:
        """Environment steps of one training."""
        return self.result["steps"] if self.cells is not None else self.runs[0]["steps"]

    @property
    def parameters(self) -> str:
        """Numbers that training changes."""
        return f"{self.result['parameters']:,}" if self.cells is not None else "-"

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Learning curve of each seed."""
        return self.result["curves"] if self.cells is not None else [run["curves"] for run in self.runs]

    def returns_RTE(self, split: str) -> np.ndarray | None:
        """Return of each seed, variant and start."""
        return None if self.cells is None else self.cells.get(f"{split}_returns")

    def mean(self, split: str) -> float | None:
        """Mean over seeds, variants and starts."""
        returns_RTE = self.returns_RTE(split)
        if returns_RTE is not None:
            return float(returns_RTE.mean())
        means = (
            [] if self.cells is not None else [r["splits"][split]["mean"] for r in self.runs if split in r["splits"]]
        )
        return float(np.mean(means)) if means else None

    def normalised(self) -> tuple[float, int, Any] | None:
        """Mean normalised return, of how many experts, and ends of its interval over seeds."""
        if self.cells is None:
            scored = [run["normalised"] for run in self.runs if "normalised" in run]
            return (float(np.mean(scored)), self.runs[0]["experts"], None) if scored else None
        scores_RT = normalised_RT(self.cells)
        if scores_RT is None:
            return None
        found = interval(scores_RT[..., None], np.mean, ("seeds",))
        return float(scores_RT.mean()), scores_RT.shape[1], found.ends if found else None

    def solved(self) -> float | None:
        """Share of interpolation variants at the task's own threshold."""
        threshold, returns_RTE = registry.get(self.family).solved, self.returns_RTE("interpolation")
        if threshold is None:
            return None
        if returns_RTE is None:
            return float(np.mean([run["splits"]["interpolation"]["solved"] for run in self.runs]))
        return float((returns_RTE.mean(2) >= threshold).mean())

    def worst(self) -> float:
        """Lowest return of an interpolation variant, mean over seeds."""
        returns_RTE = self.returns_RTE("interpolation")
        if returns_RTE is None:
            return float(np.mean([run["splits"]["interpolation"]["worst"] for run in self.runs]))
        return float(returns_RTE.mean(2).min(1).mean())


def read() -> dict[str, dict[str, Arm]]:
    """Family -> arm -> what was measured last."""
    found: dict[str, dict[str, Arm]] = {}
    for folder in (EARLIER, RESULTS):
        for path in folder.glob("*.json"):
            result = json.loads(path.read_text())
            if "families.py" in result["command"]:
                agent = result["agent"]
                family = result.get("family", path.stem.removesuffix(f"-{agent}"))
                cells = load_cells(f"{family}-{agent}") if folder == RESULTS else None
                found.setdefault(family, {})[agent] = Arm(family, agent, result, cells)
    return {family: found[family] for family in sorted(found)}


def in_order(results: dict[str, dict[str, Arm]]) -> list[Arm]:
    """Family by family, arm by arm."""
    return [arms[agent] for arms in results.values() for agent in COLOURS if agent in arms]


def with_interval(value: float | None, ends: Any, digits: int | None = None) -> str:
    """A number and its interval in brackets."""
    interval_text = between(ends, digits)
    return number(value, digits) + (f" ({interval_text})" if interval_text != "-" else "")


def mean_cell(arm: Arm, split: str) -> str:
    """Mean of a split with its interval; whether the region held out is a gap."""
    value, returns_RTE = arm.mean(split), arm.returns_RTE(split)
    if value is None:
        return "-"
    found = interval(returns_RTE, np.mean) if returns_RTE is not None else None
    kind = region_name(list(registry.get(arm.family).held_out)) if split == "combination" else ""
    return f"{kind + ': ' if kind else ''}{with_interval(value, found.ends if found else None)}"


def means_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """A row a family and arm: means of the splits."""
    head = ["family", "arm", "parameters of the arm", "seeds", "steps", "interpolation", "extrapolation"]
    rows = [
        [arm.name, arm.agent, arm.parameters, str(arm.seeds), f"{arm.steps:,}", *(mean_cell(arm, s) for s in SPLITS)]
        for arm in in_order(results)
    ]
    return table([*head, "combination or gap"], rows)


def detail_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """A row a family and arm: interpolation variants in detail, and how well the value network predicts."""
    head = ["family", "arm", "parameters of the arm", "IQM", "worst tenth", "worst interpolation variant", "solved"]
    head += ["normalised (of N experts)", "value network off by"]
    rows = []
    for arm in in_order(results):
        returns_RTE, known = arm.returns_RTE("interpolation"), arm.normalised()
        middle, tenth, off = "-", "-", "-"
        if returns_RTE is not None:
            found = [interval(returns_RTE, statistic) for statistic in (iqm, worst_tenth_of_variants)]
            ends = [each.ends if each else None for each in found]
            middle = with_interval(iqm(returns_RTE), ends[0])
            tenth = with_interval(float(worst_tenth_of_variants(returns_RTE[None], (1, 2, 3))[0]), ends[1])
            errors = [arm.result["calibration"][s]["relative_error"] for s in SPLITS if s in arm.result["calibration"]]
            off = ", ".join(percent(float(np.mean(error))) for error in errors)
        share = "-" if known is None else f"{with_interval(known[0], known[2], 3)} of {known[1]}"
        detail = [middle, tenth, number(arm.worst()), percent(arm.solved()), share, off]
        rows.append([arm.name, arm.agent, arm.parameters, *detail])
    return table(head, rows)


def what_intervals_are_about(results: dict[str, dict[str, Arm]]) -> list[str]:
    """One sentence of what the intervals are about, in the words of ``interval``."""
    words: dict[str, list[str]] = {}
    for arm in in_order(results):
        returns_RTE = arm.returns_RTE("interpolation")
        found = None if returns_RTE is None else interval(returns_RTE, np.mean)
        if found:
            words.setdefault(f"{found.about} ({found.method})", []).append(arm.family)
    if not words:
        return ["No row has single episodes, and so no interval."]
    if len(words) == 1:
        return wrapped(f"Brackets: 95 % intervals; they are about {next(iter(words))}.")
    each = [f"- {', '.join(dict.fromkeys(families))}: {about}." for about, families in words.items()]
    return ["Brackets: 95 % intervals; they are about", "", *(line for item in each for line in wrapped(item))]


def sizes(results: dict[str, dict[str, Arm]]) -> list[str]:
    """Parameters of the arms, and how their settings were found."""
    counts: dict[str, list[int]] = {}
    for arm in in_order(results):
        if arm.cells is not None:
            counts.setdefault(arm.agent, []).append(arm.result["parameters"])
    text = ", ".join(f"{agent} {min(found):,} to {max(found):,}" for agent, found in counts.items())
    speed = json.loads((RESULTS / "speed.json").read_text())
    ratio, each = speed["hyper_over_concat"]["median"], speed["hyper_over_concat"]["each_round"]
    sentences = [
        "The arms have target networks of the same sizes, not the same number of parameters"
        + (f": {text} in the tables below." if text else "."),
        "A concat arm as large as the hypernetwork was not run.",
        f"Settings: {SETTINGS}.",
        f"The hypernetwork trains at {number(ratio, 2)} of concat's steps/s (`python benchmarks/speed.py`, rounds "
        f"{number(min(each), 2)} to {number(max(each), 2)}) and writes one variant's weights in "
        f"{number(speed['generate_one_variant_ms']['median'], 2)} ms.",
    ]
    return wrapped(" ".join(sentences))


def latest(name: str) -> tuple[dict[str, Any], str]:
    """A result and a note where it is an earlier version's."""
    path = RESULTS / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text()), ""
    return json.loads((EARLIER / path.name).read_text()), f" ({NOTE.partition(',')[0]})"


def cartpole() -> list[str]:
    """CartPole beside Stable-Baselines3, in sentences."""
    result, note = latest("cartpole")
    summary, runs, singles = result["summary"], result["hyperrl"], result["sb3"]
    worst = {split: [run["splits"][split]["worst"] for run in runs] for split in ("interpolation", "extrapolation")}
    sentences = [
        f"`{result['command'].strip()}`{note}, {len(runs)} seeds: "
        f"in {summary['seeds_with_all_64_at_475']} of them each of 64 interpolation variants reaches 475 "
        f"(worst variant {number(min(worst['interpolation']))}).",
        f'`hyperrl.train("cartpole")` takes {number(summary["median_seconds_of_training"])} s in the median, set-up, '
        "held-out curves and files included, imports and the encoder not.",
        f"The loop alone has all 64 validation variants at 475 after "
        f"{number(summary['median_seconds_to_475_family'])} s; "
        f"Stable-Baselines3's PPO with rl-zoo's settings has **one** variant there after "
        f"{number(summary['median_seconds_to_475_sb3_one_variant'])} s (seeds: "
        f"{', '.join(number(run['seconds_to_475']) for run in singles)}): a ratio of {number(summary['ratio'], 2)}.",
        f"Extrapolation, worst variant of each seed: {', '.join(number(value) for value in worst['extrapolation'])}.",
    ]
    return wrapped(" ".join(sentences))


def ode_table() -> list[str]:
    """Average evaluation reward of every arm."""
    head = ["family", "arm", "parameters of the arm", "variants", "AER", "each seed"]
    head += ["within the training range", "outside"]
    result, note = latest("ode")
    if note:
        rows = [
            [f"{family} ({NOTE})", agent, "-", str(found["variants"]), number(found["aer"])]
            + [", ".join(number(aer, 0) for aer in found["aer_of_each_seed"])]
            + [number(found[part]) for part in ("inside_training_range", "outside")]
            for family in ("ode1", "ode2")
            for agent, found in result[family].items()
        ]
        return table(head, rows)
    rows, about = [], set()
    for arm in result["arms"]:
        cells = load_cells(ode.cells_name(arm["family"], arm["agent"]))
        inside_T, returns_RT1 = ode.inside(cells["variants"]), cells["returns"][..., None]
        parts = []
        for chosen_T in (np.ones_like(inside_T), inside_T, ~inside_T):
            found = interval(returns_RT1[:, chosen_T], np.mean)
            parts.append(with_interval(float(returns_RT1[:, chosen_T].mean()), found.ends if found else None))
            about |= {found.about} if found and chosen_T.all() else set()
        seeds = ", ".join(number(aer, 0) for aer in cells["returns"].mean(1))
        counts = [f"{arm['parameters']:,}", str(len(inside_T))]
        rows.append([arm["family"], arm["agent"], *counts, parts[0], seeds, *parts[1:]])
    sentence = f"Brackets: 95 % intervals; they are about {'; '.join(sorted(about))}." if about else ""
    return [*table(head, rows), "", *wrapped(f"{sentence} Settings: {result['settings']}.")]


def mujoco_table() -> list[str]:
    """Steps per second beside Gymnasium's."""
    result = json.loads((RESULTS / "mujoco_speed.json").read_text())
    speeds = ("hyperrl_steps_per_second", "gymnasium_sync_steps_per_second")
    rows = [
        [name, *(f"{found[speed]:,.0f}" for speed in speeds), number(found["ratio"], 2)]
        for name, found in result["tasks"].items()
    ]
    return table(["task", "here", "Gymnasium", "ratio"], rows)


def curves(results: dict[str, dict[str, Arm]], families: list[str], path: Path) -> None:
    """Return on interpolation variants over steps: a panel a family, a line an arm, the range of the seeds shaded."""
    columns = min(3, len(families))
    count = -(-len(families) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * count), layout="constrained")
    panels = figure.subplots(count, columns, squeeze=False)
    for axes in panels.flat[len(families) :]:
        axes.set_axis_off()
    for axes, family in zip(panels.flat, families, strict=False):
        for agent, colour in COLOURS.items():
            if agent not in results[family]:
                continue
            runs = results[family][agent].curves
            steps = np.array(runs[0]["steps"]) / 1e6
            returns = np.array([run["interpolation"] for run in runs])
            axes.plot(steps, returns.mean(0), color=colour, label=agent)
            axes.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.set_title(family, fontsize=10)
        axes.set_xlabel("million environment steps", fontsize=8)
        axes.set_ylabel("mean return, unseen variants", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    if any(len(results[family]) > 1 for family in families):
        panels.flat[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def readme_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """The families of README, a row a family and arm."""
    rows = [
        [arm.name, WHAT_VARIES[arm.family], arm.agent, arm.parameters]
        + [mean_cell(arm, split) for split in ("interpolation", "extrapolation")]
        + ["-" if arm.normalised() is None else "{:.2f} of {}".format(*arm.normalised()[:2])]
        for arm in in_order({family: results[family] for family in WHAT_VARIES if family in results})
    ]
    head = ["family", "what varies", "arm", "parameters of the arm", "interpolation", "extrapolation"]
    return table([*head, "normalised (of N experts)"], rows)


def readme(text: str) -> str:
    """README with its blocks as the committed results have them."""
    results = read()
    about = [*what_intervals_are_about({family: results[family] for family in WHAT_VARIES if family in results})]
    return filled(text, {"results": [*readme_table(results), "", *about], "cartpole": cartpole()})


def page(text: str) -> str:
    """docs/results.md with its blocks as the committed results have them."""
    results = read()
    blocks = {
        "sizes": sizes(results),
        "families": [*what_intervals_are_about(results), "", *means_table(results), "", *detail_table(results)],
        "cartpole": cartpole(),
        "ode": ode_table(),
        "mujoco": mujoco_table(),
    }
    return filled(text, blocks)


def main() -> None:
    results = read()
    several = [family for family, arms in results.items() if len(arms) > 1]
    alone = [family for family in SIMULATORS if family in results]
    for name, families in (("arms", several), ("simulators", alone)):
        if families:
            curves(results, families, DOCS / "pictures" / f"{name}.png")
    for path, fill in ((DOCS / "results.md", page), (README, readme)):
        path.write_text(fill(path.read_text()))


if __name__ == "__main__":
    main()
