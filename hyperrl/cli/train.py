"""hyperrl train."""

from __future__ import annotations

import argparse
import ast
import inspect
import shlex
from dataclasses import fields
from typing import Any

from hyperrl.cli.console import Commands, path_of, whole_number


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("train", help="train an agent on a family")
    command.add_argument("family", metavar="FAMILY", help="registered name, module:attribute, or path to a .py file")
    command.add_argument("--run", type=path_of, help="folder to write (default: runs/FAMILY-AGENT-SEED)")
    command.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in the folder, bit for bit as if it had never stopped; where a Gymnasium environment "
        "does not repeat itself from seeds and actions, a line says so and new episodes begin",
    )
    command.add_argument(
        "--seeds",
        type=whole_number,
        help="train so many agents, of the seeds 0, 1, ..., into RUN/seed-0 ..., one on each processor at once",
    )
    command.add_argument(
        "--config",
        type=path_of,
        metavar="FILE.toml",
        help="settings of a table [training], as hyperrl tune writes them; options given here count before them",
    )
    _add_settings(command)
    command.set_defaults(command=_train)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """One option for each setting, with the docstring under the field as its help."""
    from hyperrl.config import Config

    group = command.add_argument_group("settings", "the family's tuned settings replace the defaults in brackets")
    docs = _field_docs(Config)
    for setting in fields(Config)[1:]:
        kind: dict[str, Any] = {"type": {"int": whole_number, "float": float}.get(str(setting.type), str)}
        if str(setting.type).startswith("tuple"):
            kind = {"type": whole_number, "nargs": "+"}
        default = setting.default
        group.add_argument(
            f"--{setting.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=f"{docs[setting.name]} [{default}]".replace("%", "%%"),
            **kind,
        )


def _field_docs(cls: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: doc.value.value
        for field, doc in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }


def _train(args: argparse.Namespace) -> None:
    from hyperrl.api import Interrupted, train, train_seeds
    from hyperrl.families import read_training
    from hyperrl.training.ranks import of_this_job

    given = ("command", "run", "resume", "family", "seeds", "config")
    settings = {name: value for name, value in vars(args).items() if name not in given}
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    settings = {**(read_training(args.config) if args.config else {}), **settings}
    try:
        if args.seeds is None:
            runs = [train(args.family, run=args.run, resume=args.resume, **settings)]
        else:
            runs = train_seeds(args.family, args.seeds, run=args.run, resume=args.resume, **settings)
    except (Interrupted, KeyboardInterrupt) as stop:
        words = ["hyperrl", "train", args.family, *(["--run", str(args.run)] if args.run else [])]
        words += ["--seeds", str(args.seeds)] if args.seeds is not None else []
        for name, value in settings.items():
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
        again = shlex.join([*words, "--resume"])
        raise KeyboardInterrupt(f"{str(stop) or 'stopped'}; go on with: {again}") from None
    if not of_this_job().first:
        return  # the first process of a training says it
    for run in runs:
        score, step = run.best["score"], run.best["step"]
        print(f"validation {score:.1f} after {step:,} of {run.steps:,} steps; kept in {run.folder}")
    if len(runs) > 1:
        scores = [run.best["score"] for run in runs]
        print(f"validation {sum(scores) / len(scores):.1f} on average, {min(scores):.1f} with the worst seed")
    evaluate = shlex.join(["hyperrl", "evaluate", str(runs[0].folder)])
    print(f"next: {evaluate}     {shlex.join(['tensorboard', '--logdir', str(runs[0].folder.parent)])}")
