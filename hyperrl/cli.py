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
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from hyperrl import __version__

EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
SPLIT = "interpolation"
VARIANTS = 8
"""Of a split, to adapt to."""
SEE = "hyperrl families explains splits"


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, and takes -1e-1 for the number that it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_MISTAKE, f"hyperrl: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 for a failed audit, 2 for a user's mistake, 130 after Ctrl-C."""
    parser = _build_parser()
    args = parser.parse_args(arguments)
    if "command" not in args:
        parser.print_help()
        return 0
    from hyperrl.envs import InputError

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            return args.command(args) or 0
        except InputError as error:
            print(f"hyperrl: {error}", file=sys.stderr)
            return EXIT_MISTAKE
        except OSError as error:
            print(f"hyperrl: {error.filename}: {error.strerror}; name another file or folder", file=sys.stderr)
            return EXIT_MISTAKE
        except KeyboardInterrupt as stop:
            print(f"hyperrl: {str(stop) or 'stopped'}", file=sys.stderr)
            return EXIT_INTERRUPTED


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
    command.add_argument(
        "--drift",
        type=float,
        metavar="D",
        help="let parameters walk at random within the episodes, D half-ranges of training a step; 0 holds them still",
    )
    command.add_argument("--experts", type=Path, metavar="DIR", help="where experts are cached (default: runs/experts)")
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the result there; a list for several splits"
    )
    command.set_defaults(command=_evaluate)

    command = commands.add_parser("adapt", help="learn from a few episodes on a variant itself")
    _add_run_and_set(command)
    command.add_argument("--unknown", action="store_true", help="the agent is not told the parameters")
    command.add_argument("--episodes", type=_count, default=5, help="to play on each variant (default: 5)")
    command.add_argument("--mode", default="all", help="infer, context, weights or all of them in turn (default: all)")
    command.add_argument("--seed", type=_count, default=0, help="of starts, actions and search (default: 0)")
    command.add_argument("--split", help=f"the first variants of a split, each by itself; {SEE}")
    command.add_argument("--variants", type=_count, metavar="N", help="how many of the split (default: 8)")
    command.add_argument("--experts", type=Path, metavar="DIR", help="where experts are cached (default: runs/experts)")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the result there; a list for a split")
    group = command.add_argument_group("export of the adapted policy")
    group.add_argument("--format", metavar="FORMAT", help="sb3 (zip), onnx, or torch (pt2)")
    group.add_argument("--out", type=Path, metavar="FILE", help="to write")
    group.add_argument("--force", action="store_true", help="overwrite what is there")
    command.set_defaults(command=_adapt)

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

    command = commands.add_parser("map", help="what the value network predicts over two parameters, without play")
    command.add_argument("folder", metavar="RUN", type=Path, help="folder that hyperrl train wrote")
    command.add_argument(
        "--over", nargs=2, metavar="NAME", help="two parameters (default: those that change the prediction most)"
    )
    command.add_argument("--png", type=Path, metavar="FILE", help="heat map (default: RUN/figures/map-NAME-NAME.png)")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the predictions there")
    command.set_defaults(command=_map)

    command = commands.add_parser("export", help="write policies as files that need no hyperrl")
    _add_run_and_set(command)
    command.add_argument("--all", type=_count, metavar="N", help="the first N variants of a split, a file each")
    command.add_argument("--split", help=f"with --all (default: {SPLIT}); {SEE}")
    command.add_argument("--format", required=True, metavar="FORMAT", help="sb3 (zip), onnx, or torch (pt2)")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="to write; with --all, a folder")
    command.add_argument("--force", action="store_true", help="overwrite what is there")
    command.set_defaults(command=_export)

    command = commands.add_parser("audit", help="does every declared parameter change the task?")
    command.add_argument("family", metavar="FAMILY", help="as for train")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    command.add_argument("--conflict", action="store_true", help="also: how each variant's expert does on the others")
    group = command.add_argument_group("with --conflict")
    group.add_argument("--variants", type=_count, metavar="N", help="of the validation split (default: 4)")
    group.add_argument("--png", type=Path, metavar="FILE", help="heat map (default: runs/audit/FAMILY-conflict.png)")
    group.add_argument("--steps", type=_count, metavar="N", help="of each expert (default: the family's own)")
    group.add_argument("--seed", type=_count, help="of the experts (default: 0)")
    group.add_argument("--workers", type=_count, help="parallel processes (default: one a core)")
    group.add_argument("--experts", type=Path, metavar="DIR", help="where they are cached (default: runs/experts)")
    command.set_defaults(command=_audit)
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


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", right: Sequence[str] = ()
) -> None:
    """Print a table as wide as it needs to be, so that no number is cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    looks: dict[str, Any] = {
        "title_justify": "left",
        "caption_justify": "left",
        "padding": (0, 1, 0, 0),
        "min_width": len(title),
    }
    table = Table(title=title, caption=caption or None, box=SIMPLE_HEAD, **looks)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _families(args: argparse.Namespace) -> None:
    from hyperrl.envs import InputError, registry
    from hyperrl.tables import PARAMETER_COLUMNS, parameter_rows, split_notes

    for name in registry.families():
        try:
            family = registry.get(name)
        except InputError as error:
            print(f"{name}   {registry.env_id(name)}\n{error}\n")
            continue
        title = f"{name}   {family.env_id}"
        _table(title, PARAMETER_COLUMNS, parameter_rows(family), "\n".join(split_notes(family)))
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
    chosen = _given(args, episodes="episodes", variants="variants", experts="experts", drift="drift")
    evaluations = [evaluate(run, split, parameters=parameters, **chosen) for split in splits]
    results = [evaluation.json() for evaluation in evaluations]
    _print_results(results)
    _print_calibration(results)
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
    first, rows = results[0], []
    title = f"{first['family']}, {first['agent']}, seed {first['seed']}: zero-shot, {first['episodes']} greedy episodes"
    if first["drift"] is not None:
        title += f", drift {first['drift']:g} a step"
    for result in results:
        experts = result["experts"]
        scored = experts and experts["variants"]
        gap = f"{experts['normalised']:.3f} of {experts['variants']}" if scored else "no experts"
        low, high = result["ci95"]
        numbers = [f"{result[name]:.1f}" for name in ("mean", "worst", "worst_tenth", "iqm")]
        count = str(len(result["variants"]))
        rows.append([result["split"] or "given", count, *numbers, f"{low:.1f} to {high:.1f}", gap])
    columns = ("split", "variants", "mean", "worst", "worst 10 %", "IQM", "95 % interval", "normalised")
    _table(title, columns, rows, right=columns[1:])


def _print_calibration(results: Sequence[dict[str, Any]]) -> None:
    rows = []
    for result in results:
        found = result["calibration"]
        means = [f"{found[name]:.1f}" for name in ("predicted", "measured", "mean_absolute_error")]
        told = [found[name] for name in ("slope", "spearman", "spearman_return")]
        shown = ["-" if number is None else f"{number:.2f}" for number in told]
        rows.append([result["split"] or "given", *means, *shown])
    title = f"Discounted return (gamma {results[0]['calibration']['gamma']:g}), as the value networks predicted it"
    columns = ("split", "predicted", "measured", "mean error", "slope", "rank corr.", "with the return")
    _table(title, columns, rows, right=columns[1:])
    print("measured: the same episodes, as if those at the time limit went on as in their last tenth; slope: of")
    print(
        "measured over predicted; rank corr.: of predicted with measured and with the mean return; -: one never varies"
    )


def _adapt(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from hyperrl import export
    from hyperrl.adapt import adapt, save
    from hyperrl.checkpoint import require_writable, write_json
    from hyperrl.run import Run

    _check_adapt(args)
    run, parameters = Run(args.folder), _parameters(args.set) or {}
    family, split = run.family, args.split
    count = VARIANTS if args.variants is None else args.variants
    variants_TP = family.table([parameters]) if split is None else family.variants(split, count)
    if args.out:
        export.check(family, [args.out], args.format, args.force)
    for folder in (*([args.json.parent] if args.json else []), run.folder / "adaptations", run.folder / "figures"):
        require_writable(folder)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("getting ready", total=None)

        def advance(played: int, episodes: int) -> None:
            bar.update(task, completed=played, total=episodes, description=f"{played} of {episodes} episodes")

        found = adapt(run, variants_TP, args.mode, args.episodes, args.unknown, args.seed, advance)
    results = found.json(**_given(args, experts="experts"))
    _print_adaptation(found, results, split)
    if split is not None and not any(result["expert"] for result in results):
        where = ["--experts", str(args.experts)] if args.experts else []
        words = ["hyperrl", "experts", run.config.family, "--variants", str(count), "--split", split, *where]
        print(f"for the gap to experts: {shlex.join(words)}")
    print(f"figure: {save(found, results, split)}")
    if args.json:
        write_json(args.json, results[0] if split is None else results)
    if args.out:
        _print_exported(args.out, export.export([found.policy], [args.out], args.format, args.force), family)


def _check_adapt(args: argparse.Namespace) -> None:
    """Which options of ``adapt`` go together."""
    from hyperrl.envs import InputError

    if args.split is not None and args.set is not None:
        given = f"--set {' '.join(args.set)}, --split {args.split}"
        raise InputError(f"{given}: one gives a variant, the other several; leave out either")
    if args.split is None and args.variants is not None:
        raise InputError(f"--variants {args.variants}: needs --split, which says of which variants")
    if args.split is not None and args.out is not None:
        raise InputError(f"--out {args.out}: takes the policy of one variant; leave out --split {args.split}")
    if (args.out is None) != (args.format is None):
        given, other = (f"--out {args.out}", "--format") if args.out else (f"--format {args.format}", "--out")
        raise InputError(f"{given}: needs {other} beside it")
    if args.json is not None and args.json.is_dir():
        raise InputError(f"--json {args.json}: is a folder; name a file")


def _print_adaptation(found: Any, results: Sequence[dict[str, Any]], split: str | None) -> None:
    import numpy as np

    from hyperrl.statistics import stratified_bootstrap

    several, rows = split is not None, []
    for episodes, steps_T, returns_T, seconds in zip(
        found.episodes_K, found.steps_KT, found.returns_KT, found.seconds_K, strict=True
    ):
        low, high = stratified_bootstrap(returns_T[:, None], np.mean)
        spread = [f"{returns_T.min():.1f}", f"{low:.1f} to {high:.1f}"] if several else []
        rows.append([str(episodes), f"{steps_T.mean():,.0f}", f"{returns_T.mean():.1f}", *spread, f"{seconds:.1f}"])
    first = results[0]
    told = "parameters unknown" if found.unknown else "parameters known"
    where = f"{split}, {len(results)} variants" if several else "one variant"
    title = f"{first['family']}, {first['agent']}, seed {first['seed']}: adapted to {where}; mode {found.mode}, {told}"
    columns = ("episodes", "steps", "mean return", *(("worst", "95 % interval") if several else ()), "seconds")
    _table(title, columns, rows, right=columns)
    if several:
        print("episodes, steps: of each variant; interval: over variants; seconds: of all variants together")
    print(f"area under the curve over episodes: {found.area_T.mean():.1f} as a mean return")
    _print_gap(found, np.array([np.nan if result["expert"] is None else result["expert"] for result in results]))
    _print_judgement(found)
    if found.mean_TP is not None:
        _print_inferred(found)


def _print_gap(found: Any, expert_T: Any) -> None:
    """How far from the experts, and how much of that is closed where they are better than what there was."""
    import numpy as np

    known_T = np.isfinite(expert_T)
    if not known_T.any():
        return
    first_T, last_T, episodes = found.returns_KT[0], found.returns_KT[-1], found.episodes_K[-1]
    # 0.0 takes the sign from a rounded 0
    before, after = (round((expert_T - returns_T)[known_T].mean(), 1) + 0.0 for returns_T in (first_T, last_T))
    whose = "expert" if len(expert_T) == 1 else f"experts of {known_T.sum()} of {len(expert_T)} variants"
    print(f"{whose}: {expert_T[known_T].mean():.1f}; gap {before:.1f} at first, {after:.1f} after {episodes} episodes")
    room_T = known_T & (expert_T > first_T)
    if room_T.any():
        closed = (last_T - first_T)[room_T].sum() / (expert_T - first_T)[room_T].sum()
        of = f", of the {room_T.sum()} variants whose experts are better than what there was at first"
        print(f"share of the gap closed: {100 * closed:.0f} %{of if len(expert_T) > 1 else ''}")


def _print_judgement(found: Any) -> None:
    """Whether anything was gained, and on which episodes that was judged."""
    from hyperrl.adapt import EPISODES, JUDGED

    same_T, steps_T = found.returns_KT[-1] <= found.returns_KT[0], found.judged_steps_KT[-1]
    if same_T.any():
        who = "the policy" if len(same_T) == 1 else f"{same_T.sum()} of {len(same_T)} policies"
        print(f"no better than at first, on the {EPISODES} greedy episodes that the curve rests on: {who}")
    if steps_T.any():
        each = " a variant" if len(same_T) > 1 else ""
        print(f"What is kept was judged on {JUDGED} further episodes each time, of its own: {steps_T.mean():,.0f}")
        print(f"environment steps{each} beside those above. By that judgement it is never worse than at first.")


def _print_inferred(found: Any) -> None:
    """Inferred values beside the true ones: a row a parameter, or of several variants a row a variant."""
    family = found.run.family
    known = [family.names.index(name) for name in family.changeable]
    cells = [
        [[f"{value:.3g}" for value in (row[i] for row in rows)] for i in known]
        for rows in zip(found.mean_TP, found.std_TP, found.variants_TP, strict=True)
    ]
    units = [family.parameters[i].unit for i in known]
    title = "Inferred parameters: mean and spread of what is believed, and what the simulator was given"
    if len(cells) == 1:
        rows = [[name, unit, *cell] for name, unit, cell in zip(family.changeable, units, cells[0], strict=True)]
        _table(title, ("parameter", "unit", "inferred", "spread", "true"), rows, right=("inferred", "spread", "true"))
        return
    columns = [f"{name} ({unit})" for name, unit in zip(family.changeable, units, strict=True)]
    rows = [[str(t), *(f"{mean} ± {std} ({true})" for mean, std, true in row)] for t, row in enumerate(cells, 1)]
    _table(f"{title} (in brackets)", ("variant", *columns), rows, right=columns)


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


def _map(args: argparse.Namespace) -> None:
    from hyperrl.calibration import predicted_map
    from hyperrl.checkpoint import write_json
    from hyperrl.figures import heat_map, save
    from hyperrl.run import Run

    run = Run(args.folder)
    found = predicted_map(run, args.over)
    what = f"predicted discounted return (gamma {found.gamma:g})"
    figure = heat_map(run.family, found.names, found.values, found.predicted_XY, what)
    path = args.png or run.folder / "figures" / f"map-{'-'.join(found.names)}.png"
    save(figure, path)
    if args.json:
        write_json(args.json, {"agent": run.config.agent, "seed": run.config.seed, **found.json()})
    variants, (low, high) = found.predicted_XY.size, (found.predicted_XY.min(), found.predicted_XY.max())
    print(f"{what} of {variants} variants: {low:.1f} to {high:.1f}; in {found.seconds:.2f} s, without play")
    print(f"how well that holds: {shlex.join(['hyperrl', 'evaluate', str(args.folder)])}")
    print(f"figure: {path}")


def _export(args: argparse.Namespace) -> None:
    from hyperrl.envs import InputError
    from hyperrl.export import INDEX, export, export_all
    from hyperrl.run import Run

    if args.all is not None and args.set is not None:
        raise InputError(f"--all {args.all}: takes variants of a split, --set gives one; leave out either")
    if args.all is None and args.split is not None:
        raise InputError(f"--split {args.split}: needs --all, which says how many of its variants")
    run = Run(args.folder)
    given = args.format, args.force
    if args.all is None:
        found = export([run.policy(**(_parameters(args.set) or {}))], [args.out], *given)
        written = str(args.out)
    else:
        split = args.split or SPLIT
        policies = run.policies(run.family.untable(run.family.variants(split, args.all)))
        about = {"family": run.family.name, "agent": run.config.agent, "seed": run.config.seed, "split": split}
        found = export_all(policies, args.out, *given, about)
        written = f"{len(found)} files and {INDEX} in {args.out}"
    _print_exported(written, found, run.family)


def _print_exported(written: Any, found: Sequence[float], family: Any) -> None:
    unit = "in log-probability" if family.action_space.shape == () else "of a half-range"
    print(f"written: {written}")
    print(f"checked against the policy: actions differ by {max(found):.2g} {unit} at the most")


def _audit(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from hyperrl.checkpoint import write_json
    from hyperrl.envs.audit import audit
    from hyperrl.families import resolve

    chosen = _given(args, variants="variants", seed="seed", workers="workers", root="experts")
    if not args.conflict and (chosen or (args.steps, args.png) != (None, None)):
        print("warning: --variants, --png, --steps, --seed, --workers and --experts need --conflict", file=sys.stderr)
    family = resolve(args.family)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
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
    from hyperrl.tables import AUDIT_COLUMNS, audit_pairs, audit_rows

    title = f"{family.name}: each parameter alone, across its wide range, at {found.states} states"
    _table(title, AUDIT_COLUMNS, audit_rows(family, found))
    print("next state, at reset: median change, in standard deviations of what is observed; reward: mean change;")
    print("termination: share of the states from which the episode ends at another step")
    for sentence in audit_pairs(found):
        print(sentence)
    for name in found.not_finite:
        print(f"{name}: an observation or a reward is not finite within its wide range")
    print(f"passed: {family.name}" if found.passed else f"failed: {_remedy(family, found)}")


def _remedy(family: Any, found: Any) -> str:
    """What a failed audit asks for."""
    if not found.deterministic:
        return (
            f"variants of {family.name} with equal parameters, seeds and actions move unalike, so that nothing can be "
            "told; draw all randomness from what reset is given"
        )
    idle = [name for name, effect in found.parameters.items() if not (effect.acts or effect.distractor)]
    acting = [name for name, effect in found.parameters.items() if effect.acts and effect.distractor]
    says = []
    if idle:
        says.append(
            f"{', '.join(idle)} changes nothing; apply it, and what is derived from it, in the physics, take it out, "
            "or declare it distractor=True"
        )
    if acting:
        says.append(f"{', '.join(acting)} is declared a distractor and acts; take distractor=True away")
    if found.not_finite:
        says.append(f"narrow the wide range of {', '.join(found.not_finite)}, or mend the physics there")
    return "; ".join(says)


def _conflict(args: argparse.Namespace, chosen: dict[str, Any]) -> dict[str, Any]:
    from hyperrl.conflict import SPLIT as PICKED_FROM
    from hyperrl.conflict import conflict
    from hyperrl.figures import conflict_matrix, in_words, letters, save

    overrides = None if args.steps is None else {"total_timesteps": args.steps}
    found = conflict(args.family, overrides=overrides, **chosen)
    names = letters(len(found.variants_TP))
    rows = [
        [f"expert of {name}", *(f"{value:.2f}" if isfinite(value) else "-" for value in values), words]
        for name, values, words in zip(
            names, found.normalised_TT, in_words(found.family, found.variants_TP), strict=True
        )
    ]
    title = f"{found.family.name}: experts on each other's variants, of the {PICKED_FROM} split"
    _table(title, ("", *(f"on {name}" for name in names), "variant"), rows)
    print("normalised: 0 is a random policy, 1 the best of the experts on that variant")
    print(found.verdict)
    matrices = found.normalised_TT, found.returns_TT
    figure = conflict_matrix(found.family, found.variants_TP, *matrices, found.verdict)
    file_name = re.sub(r"[^\w-]", "_", found.family.name)
    print(f"figure: {save(figure, args.png or Path('runs') / 'audit' / f'{file_name}-conflict.png')}")
    return found.json()


if __name__ == "__main__":
    sys.exit(main())
