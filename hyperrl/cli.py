"""The command line. Nothing heavy is imported before the arguments are read."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from hyperrl import __version__

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
SPLIT = "interpolation"
SEE = "hyperrl families explains splits"


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, and takes -1e-1 for the number that it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_MISTAKE, f"hyperrl: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 2 for a user's mistake, 130 after Ctrl-C."""
    parser = _build_parser()
    args = parser.parse_args(arguments)
    if "command" not in args:
        parser.print_help()
        return 0
    from hyperrl.envs import InputError

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            args.command(args)
        except InputError as error:
            print(f"hyperrl: {error}", file=sys.stderr)
            return EXIT_MISTAKE
        except OSError as error:
            print(f"hyperrl: {error.filename}: {error.strerror}; name another file or folder", file=sys.stderr)
            return EXIT_MISTAKE
        except KeyboardInterrupt as stop:
            print(f"hyperrl: {str(stop) or 'stopped'}", file=sys.stderr)
            return EXIT_INTERRUPTED
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hyperrl", description="Train once on a family of tasks; get an expert for any variant.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = commands.add_parser("families", help="every family with its parameters, units, ranges and splits")
    command.set_defaults(command=_families)

    command = commands.add_parser("train", help="train an agent on a family")
    command.add_argument("family", metavar="FAMILY", help="registered name, module:attribute, or path to a .py file")
    command.add_argument("--run", type=Path, help="folder to write (default: runs/FAMILY-AGENT-SEED)")
    command.add_argument("--resume", action="store_true", help="go on with the run in the folder, bit for bit")
    _add_settings(command)
    command.set_defaults(command=_train)

    command = commands.add_parser("evaluate", help="play a run zero-shot on variants that it never saw")
    _add_run_and_set(command)
    command.add_argument("--split", nargs="+", metavar="SPLIT", help=f"one or more (default: {SPLIT}); {SEE}")
    command.add_argument("--episodes", type=_count, default=10, help="greedy episodes a variant (default: 10)")
    command.add_argument("--variants", type=_count, help="variants of each split (default: 64)")
    command.add_argument("--experts", type=Path, metavar="DIR", help="where experts are cached (default: runs/experts)")
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the result there; a list for several splits"
    )
    command.set_defaults(command=_evaluate)

    command = commands.add_parser("experts", help="train Stable-Baselines3's PPO on single variants, cached")
    command.add_argument("family", metavar="FAMILY", help="as for train")
    command.add_argument("--variants", type=_count, required=True, metavar="N", help="the first N of the split")
    command.add_argument("--split", default=SPLIT, help=f"default: {SPLIT}; {SEE}")
    command.add_argument("--seed", type=_count, default=0, help="of the experts (default: 0)")
    command.add_argument("--workers", type=_count, help="parallel processes (default: one a core)")
    command.add_argument("--experts", type=Path, metavar="DIR", help="where they are cached (default: runs/experts)")
    command.set_defaults(command=_experts)

    command = commands.add_parser("play", help="watch a run's policy on one variant")
    _add_run_and_set(command)
    command.add_argument("--gif", type=Path, metavar="FILE", required=True, help="animation to write")
    command.add_argument("--seed", type=_count, default=0, help="of the start (default: 0)")
    command.set_defaults(command=_play)
    return parser


def _add_run_and_set(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", metavar="RUN", type=Path, help="folder that hyperrl train wrote")
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="one variant; the rest keep their defaults",
    )


def _add_settings(command: argparse.ArgumentParser) -> None:
    """One option for each setting, with the docstring under the field as its help."""
    from hyperrl.config import Config

    group = command.add_argument_group("settings", "defaults are the family's own tuned ones")
    docs = _field_docs(Config)
    for setting in fields(Config)[1:]:
        kind: dict[str, Any] = {"type": {"int": _count, "float": float}.get(str(setting.type), str)}
        if str(setting.type).startswith("tuple"):
            kind = {"type": int, "nargs": "+"}
        default = setting.default
        group.add_argument(
            f"--{setting.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=f"{docs[setting.name]} [{default}]".replace("%", "%%"),
            **kind,
        )


def _count(text: str) -> int:
    """Whole numbers, 4e5 among them."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number")
    return int(number)


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


def _parameters(words: Sequence[str] | None) -> dict[str, Any] | None:
    """``["gravity=12"]`` -> ``{"gravity": "12"}``; the family checks names and values."""
    from hyperrl.envs import InputError

    if words is None:
        return None
    pairs = [word.partition("=") for word in words]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise InputError(f"--set {name}{equals}{value}: must be NAME=VALUE, as in gravity=12")
        if sum(name == other for other, _, _ in pairs) > 1:
            raise InputError(f"--set {name}={value}: {name} is given more than once; give it one value")
    return {name: value for name, _, value in pairs}


def _given(args: argparse.Namespace, **options: str) -> dict[str, Any]:
    """Keyword -> value of the option, where it was given."""
    given = {keyword: getattr(args, option) for keyword, option in options.items()}
    return {keyword: value for keyword, value in given.items() if value is not None}


def _families(args: argparse.Namespace) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from hyperrl.envs import registry

    for name in registry.families():
        family = registry.get(name)
        table = Table(
            title=f"{name}   {family.env_id}",
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            caption=f"combination split: {family.region or 'none'}",
            caption_justify="left",
        )
        for column in ("parameter", "unit", "default", "training range", "wide range", "bounds", ""):
            table.add_column(column, no_wrap=True)
        for p in family.parameters:
            ranges = [f"{low:g} to {high:g}" for low, high in (p.train, p.wide)]
            table.add_row(p.name, p.unit, f"{p.default:g}", *ranges, p.bounds, p.note)
        console = Console()
        console.width = max(console.width, 120)  # wide enough that no number is cut
        console.print(table)
    print("splits: train, validation and interpolation within the training ranges and outside the combination split;")
    print("extrapolation within the wide ranges, at least one parameter outside its training range")


def _train(args: argparse.Namespace) -> None:
    from hyperrl.training import Interrupted, train

    settings = {name: value for name, value in vars(args).items() if name not in ("command", "run", "resume", "family")}
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    try:
        run = train(args.family, run=args.run, resume=args.resume, **settings)
    except (Interrupted, KeyboardInterrupt) as stop:
        words = ["hyperrl", "train", args.family, *(["--run", str(args.run)] if args.run else [])]
        for name, value in settings.items():
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
        again = shlex.join([*words, "--resume"])
        raise KeyboardInterrupt(f"{str(stop) or 'stopped'}; go on with: {again}") from None
    print(f"validation {run.best['score']:.1f} after {run.best['step']:,} of {run.steps:,} steps; kept in {run.folder}")
    evaluate = shlex.join(["hyperrl", "evaluate", str(run.folder)])
    print(f"next: {evaluate}     {shlex.join(['tensorboard', '--logdir', str(run.folder.parent)])}")


def _evaluate(args: argparse.Namespace) -> None:
    from hyperrl.checkpoint import write_json
    from hyperrl.evaluate import evaluate, save
    from hyperrl.run import Run

    if args.set is not None and (args.split, args.variants) != (None, None):
        print("warning: --set gives one variant; --split and --variants are left out", file=sys.stderr)
    run, parameters = Run(args.folder), _parameters(args.set)
    splits = [SPLIT] if args.set is not None or args.split is None else args.split
    chosen = _given(args, episodes="episodes", variants="variants", experts="experts")
    evaluations = [evaluate(run, split, parameters=parameters, **chosen) for split in splits]
    results = [evaluation.json() for evaluation in evaluations]
    _print_results(results)
    if any(result["experts"] for result in results):
        print("normalised: 0 is a random policy, 1 each variant's expert; mean over the variants that have one")
    else:
        where = ["--experts", str(args.experts)] if args.experts else []
        again = shlex.join(["hyperrl", "experts", run.config.family, "--variants", "8", *where])
        print(f"for the gap to experts: {again}")
    if args.json:
        write_json(args.json, results[0] if len(results) == 1 else results)
    for path in save(run, evaluations):
        print(f"figure: {path}")


def _print_results(results: Sequence[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    first = results[0]
    title = f"{first['family']}, {first['agent']}, seed {first['seed']}: zero-shot, {first['episodes']} greedy episodes"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("split", "variants", "mean", "worst", "worst 10 %", "IQM", "95 % interval", "normalised"):
        table.add_column(column, justify="left" if column == "split" else "right", no_wrap=True)
    for result in results:
        experts = result["experts"]
        scored = experts and experts["variants"]
        gap = f"{experts['normalised']:.3f} of {experts['variants']}" if scored else "no experts"
        low, high = result["ci95"]
        numbers = [f"{result[name]:.1f}" for name in ("mean", "worst", "worst_tenth", "iqm")]
        count = str(len(result["variants"]))
        table.add_row(result["split"] or "given", count, *numbers, f"{low:.1f} to {high:.1f}", gap)
    console = Console()
    console.width = max(console.width, 90)
    console.print(table)


def _experts(args: argparse.Namespace) -> None:
    from hyperrl.experts import train_experts
    from hyperrl.families import resolve

    table_TP = resolve(args.family).variants(args.split, args.variants)
    chosen = _given(args, seed="seed", workers="workers", root="experts")
    for record in train_experts(args.family, table_TP, **chosen):
        named = " ".join(f"{name}={value:.3g}" for name, value in record["parameters"].items())
        print(f"{named}: {record['mean']:.1f} after {record['steps']:,} steps (random {record['random']:.1f})")


def _play(args: argparse.Namespace) -> None:
    from hyperrl.checkpoint import write_atomically
    from hyperrl.figures import gif_bytes
    from hyperrl.play import play_episode
    from hyperrl.run import Run

    run = Run(args.folder)
    frames, fps, total = play_episode(run.policy(**(_parameters(args.set) or {})), args.seed)
    write_atomically(args.gif, lambda file: file.write_bytes(gif_bytes(frames, fps)))
    print(f"return {total:.1f}; animation: {args.gif}")


if __name__ == "__main__":
    sys.exit(main())
