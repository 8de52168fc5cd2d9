"""docs/results.md's tables and the learning curves of the arms, from the results that are committed here.

    python benchmarks/results_page.py

Reads results/*.json and results/cells, plays nothing, and fills the page's marked blocks. Where a family or an arm has
only a result in results/earlier, its row says so and has no interval: there are no single episodes to compute it from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from cells import Row, read_matrix, rows_of
from common import (
    CELLS,
    EARLIER,
    RESULTS,
    SETTINGS,
    between,
    filled,
    number,
    percent,
    region_name,
    table,
    wrapped,
)
from experts import stored_experts
from matplotlib import colormaps
from matplotlib.figure import Figure
from published import GRID, inside_training_range
from search import TRIALS

from hyperrl.agents import ARMS
from hyperrl.envs import registry
from hyperrl.evaluation.statistics import interval, iqm, worst_tenth_of_variants
from hyperrl.experts.cache import normalised

DOCS = Path(__file__).parents[1] / "docs"
README = Path(__file__).parents[1] / "README.md"
MATRICES = Path(__file__).parent / "matrices"
COLOURS = dict(zip(ARMS, colormaps["tab10"].colors, strict=False))
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
README_ARMS = ("hyper", "concat", "film", "adapter", "blind")
SIMULATORS = ("half_cheetah_velocity", "lunar_lander")
"""Families whose learning curves have a figure of their own."""
NOTE = "earlier code, no interval"
CEILING = 199.5
"""Of ODE-2, by a greedy search over a fine grid of actions one step ahead."""


@dataclass(frozen=True)
class Arm:
    """One arm on one family."""

    family: str
    agent: str
    result: dict[str, Any]
    cells: Mapping[str, np.ndarray] | None
    """None: measured with an earlier version of the code."""

    @property
    def name(self) -> str:
        """The family as the tables show it."""
        return self.family if self.cells is not None else f"{self.family} ({NOTE})"

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What was saved of each seed."""
        return self.result["runs"] if self.cells is None else list(self.result["seeds"].values())

    @property
    def seeds(self) -> int:
        """How many agents."""
        return len(self.runs)

    @property
    def shown_seeds(self) -> str:
        """How many agents, and how many trainings failed."""
        failed = len(self.result.get("failed", {}))
        return f"{self.seeds} ({failed} failed)" if failed else str(self.seeds)

    @property
    def steps(self) -> int:
        """Environment steps of one training."""
        return self.result["steps"] if self.cells is not None else self.runs[0]["steps"]

    @property
    def parameters(self) -> str:
        """Numbers that training changes."""
        return f"{self.result['parameters']:,}" if self.cells is not None else "-"

    @cached_property
    def settings(self) -> str:
        """How its settings were found: in how many trials, or by hand."""
        path = TRIALS / f"{self.family}-{self.agent}.json"
        if self.cells is None or not self.result["settings"] or not path.exists():
            return "by hand"
        search = json.loads(path.read_text(encoding="utf-8"))
        used = self.result["settings"]
        best = search["best"]["settings"]
        return f"{search['trials_asked']} trials" if all(used[name] == best[name] for name in best) else "by hand"

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Learning curve of each seed."""
        return [run["curves"] for run in self.runs]

    def off(self, split: str) -> float | None:
        """|predicted - measured| / |measured| discounted return, mean over seeds."""
        if self.cells is None or any(split not in run["calibration"] for run in self.runs):
            return None
        found = np.array([run["calibration"][split] for run in self.runs])
        return float(np.mean(np.abs(found[:, 0] - found[:, 1]) / np.abs(found[:, 1])))

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

    def normalised_RTE(self, split: str) -> np.ndarray | None:
        """Returns of the variants that have an expert: 0 a random policy, 1 the expert."""
        returns_RTE, experts = self.returns_RTE(split), stored_experts(self.family, split)
        if returns_RTE is None or experts is None:
            return None
        count = len(experts.expert_T)
        return normalised(returns_RTE[:, :count], experts.random_T[:, None], experts.expert_T[:, None])

    def normalised(self, split: str = "interpolation") -> tuple[float, int, Any] | None:
        """Mean normalised return, of how many experts, and ends of its interval over seeds and starts."""
        if self.cells is None:
            scored = [run["normalised"] for run in self.runs if "normalised" in run]
            return (float(np.mean(scored)), self.runs[0]["experts"], None) if scored else None
        scores_RTE = self.normalised_RTE(split)
        if scores_RTE is None:
            return None
        found = interval(scores_RTE, np.mean)
        return float(scores_RTE.mean()), scores_RTE.shape[1], found.ends if found else None

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
    for path in EARLIER.glob("*.json"):
        found.setdefault(path.stem, {})["hyper"] = Arm(path.stem, "hyper", json.loads(path.read_text()), None)
    for folder in CELLS.iterdir():
        for agent in ARMS if folder.name in registry.families() else ():
            row = Row(folder.name, agent)
            if row.seeds:
                found.setdefault(folder.name, {})[agent] = Arm(folder.name, agent, row.read(), row.arrays())
    return {family: found[family] for family in sorted(found)}


def in_order(results: dict[str, dict[str, Arm]]) -> list[Arm]:
    """Family by family, arm by arm."""
    return [arms[agent] for arms in results.values() for agent in ARMS if agent in arms]


def with_splits(results: dict[str, dict[str, Arm]]) -> dict[str, dict[str, Arm]]:
    """The arms that played the family's splits, not only a published grid."""
    return {
        family: {agent: arm for agent, arm in arms.items() if arm.mean("interpolation") is not None}
        for family, arms in results.items()
    }


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
    head = ["family", "arm", "parameters of the arm", "settings", "seeds", "steps", "interpolation", "extrapolation"]
    rows = [
        [arm.name, arm.agent, arm.parameters, arm.settings, arm.shown_seeds, f"{arm.steps:,}"]
        + [mean_cell(arm, split) for split in SPLITS]
        for arm in in_order(with_splits(results))
    ]
    return table([*head, "combination or gap"], rows)


def detail_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """A row a family and arm: interpolation variants in detail, and how well the value network predicts."""
    head = ["family", "arm", "parameters of the arm", "IQM", "worst tenth", "worst interpolation variant", "solved"]
    head += ["normalised (of N experts)", "value network off by"]
    rows = []
    for arm in in_order(with_splits(results)):
        returns_RTE, known = arm.returns_RTE("interpolation"), arm.normalised()
        middle, tenth, off = "-", "-", "-"
        if returns_RTE is not None:
            found = [interval(returns_RTE, statistic) for statistic in (iqm, worst_tenth_of_variants)]
            ends = [each.ends if each else None for each in found]
            middle = with_interval(iqm(returns_RTE), ends[0])
            tenth = with_interval(float(worst_tenth_of_variants(returns_RTE[None], (1, 2, 3))[0]), ends[1])
            off = ", ".join(percent(arm.off(split)) for split in SPLITS if arm.off(split) is not None)
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
        "Settings: where a row says how many trials, every arm of that family got the same search on validation "
        "variants (`python benchmarks/search.py FAMILY`, trials in benchmarks/results/trials); where it says by hand: "
        f"{SETTINGS}.",
        f"The hypernetwork trains at {number(ratio, 2)} of concat's steps/s (`python benchmarks/speed.py`, rounds "
        f"{number(min(each), 2)} to {number(max(each), 2)}) and writes one variant's weights in "
        f"{number(speed['generate_one_variant_ms']['median'], 2)} ms.",
    ]
    return wrapped(" ".join(sentences))


def search_gains() -> list[str]:
    """What the search changed for each arm: validation return of the family's own settings and of the best ones."""
    found: dict[str, list[str]] = {}
    for path in sorted(TRIALS.glob("*.json")):
        search = json.loads(path.read_text(encoding="utf-8"))
        if search["own"] is not None:
            before, after = (number(float(np.mean(search[which]["validation"]))) for which in ("own", "best"))
            found.setdefault(search["family"], []).append(f"{search['agent']} {before} to {after}")
    each = "; ".join(f"{family}: {', '.join(arms)}" for family, arms in found.items())
    return wrapped(
        "What the search changed, as mean validation return of three seeds, from the family's own settings to the best "
        f"of those that were tried, which is a little too good as the best of several: {each}."
    )


def ode_ranking(results: dict[str, dict[str, Arm]]) -> list[str]:
    """The arms' means on the grid of ODE-2 in one sentence, the best first."""
    returns = {agent: arm.returns_RTE(GRID) for agent, arm in results["ode2"].items() if arm.settings != "by hand"}
    means = {agent: float(returns_RTE.mean()) for agent, returns_RTE in returns.items() if returns_RTE is not None}
    ranked = sorted(means, key=lambda agent: -means[agent])
    return wrapped(
        "On ODE-2, where factors of the action are extrapolated, the mean over the published grid is "
        f"{', '.join(f'{number(means[agent])} for {agent}' for agent in ranked)}, of {CEILING} that are possible "
        "([docs/results.md](docs/results.md#ode), [docs/choosing.md](docs/choosing.md))."
    )


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


def ode_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """Average evaluation reward of every arm on the published grids."""
    head = ["family", "arm", "parameters of the arm", "settings", "steps", "variants", "AER", "each seed"]
    head += ["within the training range", "outside"]
    rows, about = [], set()
    labelled = [row for row in rows_of(read_matrix(MATRICES / "ode.toml")) if row.label and row.seeds]
    shorter = [Arm(row.family, row.arm, row.read(), row.arrays()) for row in labelled]
    for arm in [*in_order(results), *shorter]:
        returns_RTE = arm.returns_RTE(GRID)
        if returns_RTE is None or arm.cells is None:
            continue
        inside_T = inside_training_range(arm.family, arm.cells[f"{GRID}_variants"])
        parts = []
        for chosen_T in (np.ones_like(inside_T), inside_T, ~inside_T):
            found = interval(returns_RTE[:, chosen_T], np.mean)
            parts.append(with_interval(float(returns_RTE[:, chosen_T].mean()), found.ends if found else None))
            about |= {found.about} if found and chosen_T.all() else set()
        seeds = ", ".join(number(aer, 0) for aer in returns_RTE.mean((1, 2)))
        counts = [arm.parameters, arm.settings, f"{arm.steps:,}", str(len(inside_T))]
        rows.append([arm.family, arm.agent, *counts, parts[0], seeds, *parts[1:]])
    sentence = f"Brackets: 95 % intervals; they are about {'; '.join(sorted(about))}." if about else ""
    return [*table(head, rows), "", *wrapped(sentence)]


def value_targets_table() -> list[str]:
    """Error of the value network and return on validation variants, a row a family and choice."""
    rows = []
    for row in rows_of(read_matrix(MATRICES / "value_targets.toml")):
        if not row.seeds:
            continue
        stored = row.read()["seeds"].values()
        found = np.array([seed["calibration"]["validation"] for seed in stored])
        off = np.abs(found[:, 0] - found[:, 1]) / np.abs(found[:, 1])
        returns = row.arrays()["validation_returns"].mean((1, 2))
        each = ", ".join(number(value) for value in returns)
        rows.append([row.family, row.label.replace("_", " "), percent(float(off.mean())), number(returns.mean()), each])
    order = ["before", "unit kept", "rollout returns", "longer rollouts"]
    rows.sort(key=lambda row: (row[0], order.index(row[1])))
    return table(["family", "choice", "value network off by", "mean return", "each seed"], rows)


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
        for agent, arm in results[family].items():
            colour, runs = COLOURS[agent], arm.curves
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
        labels = {}
        for axes in panels.flat:
            labels |= {label: line for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(labels.values(), labels, fontsize=8, frameon=False, loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=110)


def _of_readme(results: dict[str, dict[str, Arm]]) -> dict[str, dict[str, Arm]]:
    return {
        family: {agent: arm for agent, arm in results[family].items() if agent in README_ARMS}
        for family in WHAT_VARIES
        if family in results
    }


def readme_table(results: dict[str, dict[str, Arm]]) -> list[str]:
    """The families of README, a row a family and arm."""
    rows = [
        [arm.name, WHAT_VARIES[arm.family], arm.agent, arm.parameters, arm.settings]
        + [mean_cell(arm, split) for split in ("interpolation", "extrapolation")]
        + ["-" if arm.normalised() is None else "{:.2f} of {}".format(*arm.normalised()[:2])]
        for arm in in_order(_of_readme(results))
    ]
    head = ["family", "what varies", "arm", "parameters of the arm", "settings", "interpolation", "extrapolation"]
    return table([*head, "normalised (of N experts)"], rows)


def readme(text: str) -> str:
    """README with its blocks as the committed results have them."""
    results = read()
    about = what_intervals_are_about(_of_readme(results))
    blocks = {
        "results": [*readme_table(results), "", *about],
        "search": [*search_gains(), "", *ode_ranking(results)],
        "cartpole": cartpole(),
    }
    return filled(text, blocks)


def page(text: str) -> str:
    """docs/results.md with its blocks as the committed results have them."""
    results = read()
    blocks = {
        "sizes": sizes(results),
        "families": [*what_intervals_are_about(results), "", *means_table(results), "", *detail_table(results)],
        "cartpole": cartpole(),
        "value targets": value_targets_table(),
        "ode": ode_table(results),
        "mujoco": mujoco_table(),
    }
    return filled(text, blocks)


def main() -> None:
    results = read()
    several = [family for family, arms in with_splits(results).items() if len(arms) > 1]
    alone = [family for family in SIMULATORS if family in results]
    for name, families in (("arms", several), ("simulators", alone)):
        if families:
            curves(with_splits(results), families, DOCS / "pictures" / f"{name}.png")
    for path, fill in ((DOCS / "results.md", page), (README, readme)):
        path.write_text(fill(path.read_text()))


if __name__ == "__main__":
    main()
