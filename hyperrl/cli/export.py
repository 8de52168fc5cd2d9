"""hyperrl export."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from hyperrl.cli.console import SEE, SPLIT, Commands, add_force, add_run_and_set, path_of, read_parameters, whole_number

MOST_FILES = 10_000
"""Each of them is written, loaded and compared with its policy."""


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("export", help="write policies as files that are used without hyperrl")
    add_run_and_set(command)
    command.add_argument("--all", type=whole_number, metavar="N", help="the first N variants of a split, one file each")
    command.add_argument("--split", help=f"with --all (default: {SPLIT}); {SEE}")
    command.add_argument("--format", required=True, metavar="FORMAT", help="sb3 (zip), onnx, or torch (pt2)")
    command.add_argument(
        "--out", type=path_of, required=True, metavar="FILE", help="file to write; with --all, a folder"
    )
    add_force(command)
    command.set_defaults(command=_export)


def _export(args: argparse.Namespace) -> None:
    from hyperrl.api import Run
    from hyperrl.envs import InputError
    from hyperrl.export import INDEX, check_files, export, export_all
    from hyperrl.play.episodes import require_room

    if args.all is not None and args.set is not None:
        raise InputError(f"--all {args.all}: takes variants of a split, --set gives one; leave out either")
    if args.all is None and args.split is not None:
        raise InputError(
            f"--split {args.split}: needs --all, which says how many of its variants; give it, or leave this out"
        )
    check_files([args.out] if args.all is None else [], args.format, args.force)
    run = Run(args.folder, args.family)
    given = args.format, args.force
    if args.all is None:
        found = export([run.policy(**(read_parameters(args.set) or {}))], [args.out], *given)
        written = str(args.out)
    else:
        split = args.split or SPLIT
        if args.all > MOST_FILES:
            raise InputError(f"--all {args.all}: at most {MOST_FILES} files are written in a call; ask for fewer")
        require_room(run.agent, run.family, args.all)
        policies = run.policies(run.family.untable(run.family.variants(split, args.all)))
        about = {"family": run.family.name, "agent": run.config.agent, "seed": run.config.seed, "split": split}
        found = export_all(policies, args.out, *given, about)
        written = f"{len(found)} files and {INDEX} in {args.out}"
    print_exported(written, found, run.family)


def print_exported(written: Any, found: Sequence[float], family: Any) -> None:
    """Say what was written, and how far its actions are from the policy's."""
    unit = "in log-probability" if family.action_space.shape == () else "of a half-range"
    print(f"written: {written}")
    print(f"checked against the policy: actions differ by {max(found):.2g} {unit} at the most")
