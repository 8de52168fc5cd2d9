"""The pages of the shipped families, docs/families/*.md, and the table in docs/families.md that leads to them.

python benchmarks/family_pages.py [FAMILY ...]

A page is written by hand, except for the part between its two marks: spaces, parameters, splits, audit and settings,
all read from the family. ``benchmarks/family_pictures.py`` draws the pictures.
"""

from __future__ import annotations

import sys
import textwrap
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from family_pictures import STRIPS
from gymnasium.spaces import Box

from hyperrl.config import Config
from hyperrl.envs import Family, InputError, registry
from hyperrl.envs.audit import audit
from hyperrl.envs.drift import Walk
from hyperrl.families import configured
from hyperrl.reports.tables import (
    AUDIT_COLUMNS,
    PARAMETER_COLUMNS,
    audit_pairs,
    audit_rows,
    parameter_rows,
    split_notes,
)

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- from here on written by python benchmarks/family_pages.py -->", "<!-- from here on by hand -->"
SIMULATORS = {"": "PyTorch", "box2d": "Box2D", "mujoco": "MuJoCo", "dmc": "MuJoCo with dm_control"}
DM_CONTROL = "DeepMind Control Suite"
CONFLICTING = "Where one policy cannot serve all variants"
GROUPS = {"box2d": "Box2D", "mujoco": "MuJoCo", "dmc": DM_CONTROL}
CONFLICT = (
    "mountain_car_continuous_signed",
    "pendulum_signed",
    "pendulum_spin",
    "cartpole_continuous",
    "cartpole_continuous_d20",
    "cartpole_continuous_d100",
    "ode1",
    "ode2",
    "ode2_weak",
    "point",
    "double_integrator_signed",
)
"""Families of PyTorch functions whose variants ask for opposite actions."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column, names of parameters or settings, as code."""
    lines = [columns, ["---"] * len(columns), *([code(row[0]), *row[1:]] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def code(names: str) -> str:
    """Parameter names as code, ``distractor_0 ... distractor_19`` too."""
    return " ... ".join(f"`{name}`" for name in names.split(" ... "))


def install(name: str) -> str:
    """The simulator, and the command that installs it."""
    extra = registry.extra(name)
    return f"{SIMULATORS[extra]}: `pip install 'hyperrl[{extra}]'`" if extra else SIMULATORS[extra]


def spaces(name: str, family: Family) -> str:
    """Observations, actions, context, and length of an episode."""
    space = family.action_space
    if isinstance(space, Box):
        low, high = (" ".join(f"{end:g}" for end in np.unique(ends)) for ends in (space.low, space.high))
        action = f"continuous {space.shape}, each {low} to {high}"
    else:
        action = f"{space.n}, discrete"
    solved = "" if family.solved is None else f"; solved at a return of {family.solved:g}"
    rows = [
        ("single environment", f"`{family.env_id}`"),
        ("simulator", install(name)),
        ("source of the physics", family.source),
        ("observations", str(family.observation_space.shape)),
        ("actions", action),
        ("episode", f"{family.max_episode_steps} steps at most{solved}"),
        ("context", f"({family.context_size},)"),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {what} | {said} |" for what, said in rows)])


def splits(family: Family) -> str:
    """The held-out splits, with held-out ranges and drift."""
    notes = [f"- held-out splits: {', '.join(family.splits)}", *(f"- {note}" for note in split_notes(family))]
    if len(family.held_out) == 1 and not family.fixed:
        notes.append("- one parameter is held out, so the combination split is a gap in its range")
    walks = {change.deviation for change in family.drift.values() if isinstance(change, Walk)}
    notes += [f"- a random walk of {deviation:g} half-ranges of training a step" for deviation in walks]
    return "\n".join(notes)


def settings(family: Family) -> str:
    """The family's settings that differ from the defaults of ``hyperrl train``."""
    defaults, ours = asdict(Config("")), {**asdict(configured(family, {})[1]), "family": ""}
    rows = [(name, plain(value), plain(defaults[name])) for name, value in ours.items() if value != defaults[name]]
    return table(("setting", "here", "default"), rows)


def plain(value: object) -> str:
    """A setting as it is typed."""
    if isinstance(value, list | tuple):
        return " ".join(map(plain, value))
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)


def picture(name: str, family: Family) -> str:
    """The strip of variants, and its caption."""
    strip = STRIPS[name]
    shown = f"{len(strip.variants)} variants of {name} side by side"
    start = "episodes" if len(set(strip.seeds)) > 1 else "variants from one start"
    above = "the parameters at that step" if family.drift else "the parameters that are not at their defaults"
    paragraphs = (
        f"![{shown}: {strip.caption}](../pictures/families/{name}.png)",
        f"*{len(strip.variants)} {start}: {strip.caption}. Above: {above}. Below: the return so far, or how the "
        "episode ended.*",
    )
    return "\n\n".join(map(wrapped, paragraphs))


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of at most 120 characters."""
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def written(name: str, family: Family) -> str:
    """The part between the marks of a family's page."""
    found = audit(family)
    pairs = audit_pairs(found)
    verdict = "It passes." if found.passed else "It fails."
    no_pairs = "No two parameters act as one." if len(family.parameters) > 1 else ""
    columns = "[what the columns mean](../families.md#auditing-a-family)"
    paragraphs = [
        picture(name, family),
        spaces(name, family),
        "## Parameters",
        table(PARAMETER_COLUMNS, parameter_rows(family)),
        "## Splits",
        splits(family),
        "## What the audit says",
        wrapped(f"`hyperrl audit {name}` tried {found.states} states ({columns})."),
        table(AUDIT_COLUMNS, audit_rows(family, found)),
        wrapped(" ".join(filter(None, [verdict, *(f"{pair}." for pair in pairs)] if pairs else [verdict, no_pairs]))),
        "## Settings",
        f"`hyperrl train {name}` uses these in place of the defaults:",
        settings(family),
    ]
    return "\n\n".join(paragraphs)


def replaced(page: str, content: str) -> str:
    """A page with other content between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{rest.partition(END)[2]}"


def index(families: dict[str, Family]) -> str:
    """Tables of all families, with links to their pages."""
    groups: dict[str, list[list[str]]] = {
        "Classic control": [],
        CONFLICTING: [],
        "Box2D": [],
        "MuJoCo": [],
        DM_CONTROL: [],
    }
    for name, family in families.items():
        extra = registry.extra(name)
        group = GROUPS[extra] if extra else CONFLICTING if name in CONFLICT else "Classic control"
        varied = ", ".join(code(row[0]) for row in parameter_rows(family))
        drifts = ", within an episode too" if family.drift else ""
        groups[group].append([name, varied + drifts, install(name), f"[{name}.md](families/{name}.md)"])
    columns = ("family", "what varies", "simulator", "page")
    return "\n\n".join(f"### {group}\n\n{table(columns, rows)}" for group, rows in groups.items())


def rewrite(path: Path, content: str, empty: str = "") -> None:
    page = path.read_text(encoding="utf-8") if path.exists() else empty
    path.write_text(replaced(page, content), encoding="utf-8")
    print(f"written: {path.relative_to(DOCS.parent)}")


def main() -> int:
    parser = ArgumentParser()
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="all by default")
    given = parser.parse_args().families
    try:
        families = {name: registry.get(name) for name in STRIPS}
        chosen = {name: registry.get(name) for name in given} or families
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for name, family in chosen.items():
        rewrite(DOCS / "families" / f"{name}.md", written(name, family), f"# {name}\n\n{BEGIN}{END}\n")
    rewrite(DOCS / "families.md", index(families))
    return 0


if __name__ == "__main__":
    sys.exit(main())
