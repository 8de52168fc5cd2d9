"""hyperrl families, hyperrl audit: the families, and whether their parameters act."""

from __future__ import annotations

import argparse
import re
from math import isfinite
from pathlib import Path
from typing import Any

from hyperrl.cli.console import (
    EXIT_FAILED,
    WHERE,
    Commands,
    add_force,
    add_workers,
    given_options,
    path_of,
    print_table,
    whole_number,
)
from hyperrl.streams import console

CONFLICT = ("variants", "png", "steps", "seed", "experts", *WHERE)
"""Options of audit that need --conflict."""


def add(commands: Commands) -> None:
    """Declare the commands."""
    command = commands.add_parser("families", help="all families with their parameters, units, ranges and splits")
    command.set_defaults(command=_families)

    command = commands.add_parser("audit", help="test whether every declared parameter changes the task")
    command.add_argument("family", metavar="FAMILY", help="as for train")
    command.add_argument("--json", type=path_of, metavar="FILE", help="also write the result to FILE")
    add_force(command)
    command.add_argument(
        "--conflict", action="store_true", help="also play each variant's expert on the other variants"
    )
    group = command.add_argument_group("with --conflict")
    group.add_argument("--variants", type=whole_number, metavar="N", help="number of validation variants (default: 4)")
    group.add_argument("--png", type=path_of, metavar="FILE", help="heat map (default: runs/audit/FAMILY-conflict.png)")
    group.add_argument(
        "--steps", type=whole_number, metavar="N", help="steps of each expert (default: the family's setting)"
    )
    group.add_argument("--seed", type=whole_number, help="seed of the experts (default: 0)")
    add_workers(group)
    group.add_argument("--experts", type=path_of, metavar="DIR", help="cache of experts (default: runs/experts)")
    command.set_defaults(command=_audit)


def _families(args: argparse.Namespace) -> None:
    from hyperrl.envs import InputError, registry
    from hyperrl.reports.tables import PARAMETER_COLUMNS, parameter_rows, split_notes

    for name in registry.families():
        try:
            family = registry.get(name)
        except InputError as error:
            print(f"{name}   {registry.env_id(name)}\n{error}\n")
            continue
        title = f"{name}   {family.env_id}"
        print_table(title, PARAMETER_COLUMNS, parameter_rows(family), "\n".join(split_notes(family)))
    print("splits: train, validation and interpolation within the training ranges and outside the combination split;")
    print("extrapolation within the wide ranges, at least one parameter outside its training range")


def _audit(args: argparse.Namespace) -> int:
    from rich.progress import Progress

    from hyperrl.envs import InputError
    from hyperrl.envs.audit import audit
    from hyperrl.families import resolve
    from hyperrl.storage.files import require_output, write_json

    for file, suffix in ((args.json, ".json"), (args.png, ".png")):
        if file:
            require_output(file, (suffix,), args.force)
    chosen = given_options(args, variants="variants", seed="seed", root="experts", **WHERE)
    if not args.conflict and any(getattr(args, name) is not None for name in CONFLICT):
        given = next(f"--{name}" for name in CONFLICT if getattr(args, name) is not None)
        raise InputError(f"{given}: needs --conflict; add it, or leave {given} out")
    family = resolve(args.family)
    if args.conflict:
        from hyperrl.experts.conflict import check

        check(family, overrides=_overrides(args), **chosen)
    shown_on = console()
    with Progress(console=shown_on, transient=True, disable=not shown_on.file.isatty()) as bar:
        task = bar.add_task("audit", total=1.0)
        found = audit(family, lambda share: bar.update(task, completed=share))
    _print_audit(family, found)
    result = found.json()
    if args.conflict and found.passed:
        result["conflict"] = _conflict(args, chosen)
    elif args.conflict:
        print("no experts are trained for --conflict before the audit passes")
    if args.json:
        write_json(args.json, result)
    return 0 if found.passed else EXIT_FAILED


def _print_audit(family: Any, found: Any) -> None:
    from hyperrl.reports.tables import AUDIT_COLUMNS, audit_pairs, audit_rows

    title = f"{family.name}: each parameter alone, across its wide range, at {found.states} states"
    print_table(title, AUDIT_COLUMNS, audit_rows(family, found))
    print("next state, at reset: median change, in standard deviations of what is observed; reward: mean change;")
    print("termination: share of the states from which the episode ends at another step")
    for sentence in audit_pairs(found):
        print(sentence)
    for name in found.not_finite:
        print(f"{name}: an observation or a reward is not finite within its wide range")
    print(f"passed: {family.name}" if found.passed else f"failed: {_remedy(family, found)}")


def _remedy(family: Any, found: Any) -> str:
    """The remedy after a failed audit."""
    if not found.deterministic and family.own_statistics:
        return (
            f"{' and '.join(family.own_statistics)} within `make` of {family.name} keeps statistics of its own, so "
            "that the same state is observed differently and the audit cannot measure anything; take it out: "
            "observations and returns are normalised in training"
        )
    if not found.deterministic:
        return (
            f"variants of {family.name} with equal parameters, seeds and actions move differently, so the audit cannot "
            "measure anything; draw all randomness from the seed of reset"
        )
    idle = [name for name, effect in found.parameters.items() if not (effect.acts or effect.distractor)]
    acting = [name for name, effect in found.parameters.items() if effect.acts and effect.distractor]
    says = []
    if idle:
        says.append(
            f"{', '.join(idle)} changes nothing; apply it and all that is derived from it in the physics, remove it, "
            "or declare it distractor=True"
        )
    if acting:
        says.append(f"{', '.join(acting)} is declared a distractor and acts; remove distractor=True")
    if found.not_finite:
        says.append(f"narrow the wide range of {', '.join(found.not_finite)}, or mend the physics there")
    return "; ".join(says)


def _overrides(args: argparse.Namespace) -> dict[str, Any] | None:
    return None if args.steps is None else {"total_timesteps": args.steps}


def _conflict(args: argparse.Namespace, chosen: dict[str, Any]) -> dict[str, Any]:
    from hyperrl.experts.conflict import SPLIT as PICKED_FROM
    from hyperrl.experts.conflict import conflict
    from hyperrl.reports.figures import conflict_matrix, in_words, letters, save

    found = conflict(args.family, overrides=_overrides(args), **chosen)
    names = letters(len(found.variants_TP))
    rows = [
        [f"expert of {name}", *(f"{value:.2f}" if isfinite(value) else "-" for value in values), words]
        for name, values, words in zip(
            names, found.normalised_TT, in_words(found.family, found.variants_TP), strict=True
        )
    ]
    title = f"{found.family.name}: experts on each other's variants, of the {PICKED_FROM} split"
    print_table(title, ("", *(f"on {name}" for name in names), "variant"), rows)
    print("normalised: 0 is a random policy, 1 the best of the experts on that variant")
    print(found.verdict)
    matrices = found.normalised_TT, found.returns_TT
    figure = conflict_matrix(found.family, found.variants_TP, *matrices, found.verdict)
    file_name = re.sub(r"[^\w-]", "_", found.family.name)
    print(f"figure: {save(figure, args.png or Path('runs') / 'audit' / f'{file_name}-conflict.png')}")
    return found.json()
