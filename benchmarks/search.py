"""The same small search of settings for every arm of a family: trials committed, settings written to the package.

    python benchmarks/search.py FAMILY ... [--agents hyper concat ...] [--trials 16] [--budget 2h]

Each arm gets what `hyperrl tune` does with so many trials: the family's own settings and 15 more of the same space, by
the same estimator, at the family's full steps, and three seeds for the best three and the family's own. All of it on
validation variants, with seeds that no report uses. Trials are saved in results/trials/FAMILY-ARM.json; the best
settings become `[arms.ARM]` of hyperrl/settings/FAMILY.toml. Arms that are done are left alone; a search that was cut
goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import RESULTS, hardware

from hyperrl.agents import ARMS
from hyperrl.cli.console import duration
from hyperrl.envs import InputError
from hyperrl.training.search import Found, tune

TRIALS = RESULTS / "trials"
SETTINGS = Path(__file__).parents[1] / "hyperrl" / "settings"
FOLDER = Path("runs/search")
MARK = "# searched, each arm alike: python benchmarks/search.py"
UNLIMITED = 1e9


def searched(found: Found, family: str, trials: int) -> dict[str, Any]:
    """What is committed of a search."""
    own = found.own
    return {
        "family": family,
        "agent": found.config.agent,
        "trials_asked": trials,
        "hardware": hardware(),
        "best": {"settings": found.best.changes, "validation": list(found.best.scores.values())},
        "own": {"settings": own.changes, "validation": list(own.scores.values())} if own else None,
        "importance": dict(found.importance),
        "trials": list(found.trials),
    }


def written(text: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """A family's TOML file with one table for each arm below the mark."""
    lines = [text.partition(MARK)[0].rstrip(), "", MARK]
    for agent, settings in tables.items():
        lines += [f"[arms.{agent}]", *(f"{name} = {value}" for name, value in sorted(settings.items())), ""]
    return "\n".join(lines).rstrip() + "\n"


def write_settings(family: str) -> None:
    """Write the best settings of every arm that was searched."""
    stored = {agent: TRIALS / f"{family}-{agent}.json" for agent in ARMS}
    tables = {
        agent: json.loads(path.read_text(encoding="utf-8"))["best"]["settings"]
        for agent, path in stored.items()
        if path.exists()
    }
    path = SETTINGS / f"{family}.toml"
    path.write_text(written(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Search the settings of every arm alike.")
    parser.add_argument("families", nargs="+", metavar="FAMILY")
    parser.add_argument("--agents", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--budget", type=duration, default=UNLIMITED, help="no arm begins later: 90s, 10m or 2h")
    args = parser.parse_args()
    deadline = time.monotonic() + args.budget
    TRIALS.mkdir(parents=True, exist_ok=True)
    for family in args.families:
        for agent in args.agents:
            path = TRIALS / f"{family}-{agent}.json"
            if path.exists() or time.monotonic() > deadline:
                continue
            folder = FOLDER / f"{family}-{agent}"
            try:
                with warnings.catch_warnings(action="ignore"):
                    found = tune(family, UNLIMITED, folder, args.trials, agent=agent, device="cpu")
            except InputError as error:
                print(f"{family} {agent}: {error}", flush=True)
                continue
            path.write_text(json.dumps(searched(found, family, args.trials), indent=1) + "\n", encoding="utf-8")
            own = f"{found.own.mean:.4g}" if found.own else "-"
            print(f"{family} {agent}: {found.best.mean:.4g}, own settings {own}", flush=True)
        write_settings(family)


if __name__ == "__main__":
    main()
