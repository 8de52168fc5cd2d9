"""hyperrl adapt."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from hyperrl.cli.console import (
    SEE,
    Commands,
    add_force,
    add_run_and_set,
    given_options,
    path_of,
    print_table,
    read_parameters,
    whole_number,
)
from hyperrl.cli.export import print_exported
from hyperrl.streams import console

VARIANTS = 8
"""Of a split, to adapt to."""


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("adapt", help="learn from a few episodes on a variant")
    add_run_and_set(command)
    command.add_argument("--unknown", action="store_true", help="the agent is not given the parameters")
    command.add_argument(
        "--episodes", type=whole_number, default=5, help="episodes to learn from on each variant (default: 5)"
    )
    command.add_argument("--mode", default="all", help="infer, context, weights or all of them in turn (default: all)")
    command.add_argument("--seed", type=whole_number, default=0, help="seed of starts, actions and search (default: 0)")
    command.add_argument("--split", help=f"adapt to the first variants of a split, each separately; {SEE}")
    command.add_argument(
        "--variants", type=whole_number, metavar="N", help="number of variants of the split (default: 8)"
    )
    command.add_argument("--experts", type=path_of, metavar="DIR", help="cache of experts (default: runs/experts)")
    command.add_argument(
        "--json", type=path_of, metavar="FILE", help="also write the result to FILE; a list for a split"
    )
    group = command.add_argument_group("export of the adapted policy")
    group.add_argument("--format", metavar="FORMAT", help="sb3 (zip), onnx, or torch (pt2)")
    group.add_argument("--out", type=path_of, metavar="FILE", help="file to write")
    add_force(command)
    command.set_defaults(command=_adapt)


def _adapt(args: argparse.Namespace) -> None:
    from rich.progress import Progress

    from hyperrl import export
    from hyperrl.adaptation.result import EPISODES
    from hyperrl.adaptation.session import check
    from hyperrl.api import Run, adapt
    from hyperrl.play.episodes import require_room
    from hyperrl.reports.adaptation import save_adaptation
    from hyperrl.storage.files import require_output, require_writable, write_json

    _check_adapt(args)
    if args.json:
        require_output(args.json, (".json",), args.force)
    if args.out:
        export.check_files([args.out], args.format, args.force)
    run, parameters = Run(args.folder, args.family), read_parameters(args.set) or {}
    family, split = run.family, args.split
    count = VARIANTS if args.variants is None else args.variants
    require_room(run.agent, family, 1 if split is None else count, EPISODES)
    variants_TP = family.table([parameters]) if split is None else family.variants(split, count)
    check(args.mode, args.episodes, args.seed)
    if args.out:
        export.check(family, [args.out], args.format, args.force)
    for folder in (run.folder / "adaptations", run.folder / "figures"):
        require_writable(folder)
    shown_on = console()
    with Progress(console=shown_on, transient=True, disable=not shown_on.file.isatty()) as bar:
        task = bar.add_task("getting ready", total=None)

        def advance(played: int, episodes: int) -> None:
            bar.update(task, completed=played, total=episodes, description=f"{played} of {episodes} episodes")

        found = adapt(run, variants_TP, args.mode, args.episodes, args.unknown, args.seed, advance)
    results = found.json(**given_options(args, experts="experts"))
    _print_adaptation(found, results, split)
    if split is not None and not any(result["expert"] for result in results):
        where = ["--experts", str(args.experts)] if args.experts else []
        words = ["hyperrl", "experts", run.reference, "--variants", str(count), "--split", split, *where]
        print(f"for the gap to experts: {shlex.join(words)}")
    print(f"figure: {save_adaptation(found, results, split)}")
    if args.json:
        write_json(args.json, results[0] if split is None else results)
    if args.out:
        print_exported(args.out, export.export([found.policy], [args.out], args.format, args.force), family)


def _check_adapt(args: argparse.Namespace) -> None:
    """Which options of ``adapt`` go together."""
    from hyperrl.envs import InputError

    if args.split is not None and args.set is not None:
        given = f"--set {' '.join(args.set)}, --split {args.split}"
        raise InputError(f"{given}: one gives a variant, the other several; leave out either")
    if args.split is None and args.variants is not None:
        raise InputError(
            f"--variants {args.variants}: needs --split, which says of which variants; give it, or leave this out"
        )
    if args.split is not None and args.out is not None:
        raise InputError(f"--out {args.out}: takes the policy of one variant; leave out --split {args.split}")
    if (args.out is None) != (args.format is None):
        given, other = (f"--out {args.out}", "--format") if args.out else (f"--format {args.format}", "--out")
        raise InputError(f"{given}: needs {other} beside it; give both or neither")


def _print_adaptation(found: Any, results: Sequence[dict[str, Any]], split: str | None) -> None:
    import numpy as np

    from hyperrl.evaluation.statistics import interval

    several, rows = split is not None, []
    for k, seconds in enumerate(found.seconds_K):
        returns_T = found.returns_KT[k]
        counts = [f"{played_T.mean():,.0f}" for played_T in (found.played_KT[k], found.learned_KT[k])]
        steps = f"{found.played_steps_KT[k].mean():,.0f}"
        over_variants = interval(returns_T[None, :, None], np.mean, over=("variants",))
        ends = f"{over_variants.low:.1f} to {over_variants.high:.1f}" if over_variants else "-"
        cells = [f"{returns_T.min():.1f}", ends] if several else []
        rows.append([*counts, steps, f"{returns_T.mean():.1f}", *cells, f"{seconds:.1f}"])
    first = results[0]
    known = "unknown" if found.unknown else "known"
    where = f"{split}, {len(results)} variants" if several else "one variant"
    agent = f"{first['family']}, {first['agent']}, seed {first['seed']}"
    title = f"{agent}: adapted to {where}; mode {found.mode}, parameters {known}"
    spread = ("worst", "95 % interval, over variants") if several else ()
    columns = ("episodes", "of them learned from", "steps", "mean return", *spread, "seconds")
    print_table(title, columns, rows, right=columns)
    if several:
        print("episodes, steps: of each variant, those that judge included; seconds: of all variants together")
    print(f"area under the curve over episodes: {found.area_T.mean():.1f} as a mean return")
    _print_gap(found, np.array([np.nan if result["expert"] is None else result["expert"] for result in results]))
    _print_judgement(found)
    if found.mean_TP is not None:
        _print_inferred(found)


def _print_gap(found: Any, expert_T: Any) -> None:
    """How far from the experts, and the share of that gap closed where they are better than the first policy."""
    import numpy as np

    known_T = np.isfinite(expert_T)
    if not known_T.any():
        return
    first_T, last_T, episodes = found.returns_KT[0], found.returns_KT[-1], round(found.played_KT[-1].mean())
    # 0.0 takes the sign from a rounded 0
    before, after = (round((expert_T - returns_T)[known_T].mean(), 1) + 0.0 for returns_T in (first_T, last_T))
    whose = "expert" if len(expert_T) == 1 else f"experts of {known_T.sum()} of {len(expert_T)} variants"
    print(f"{whose}: {expert_T[known_T].mean():.1f}; gap {before:.1f} at first, {after:.1f} after {episodes} episodes")
    room_T = known_T & (expert_T > first_T)
    if room_T.any():
        closed = (last_T - first_T)[room_T].sum() / (expert_T - first_T)[room_T].sum()
        of = f", of the {room_T.sum()} variants whose experts are better than the first policy"
        print(f"share of the gap closed: {100 * closed:.0f} %{of if len(expert_T) > 1 else ''}")


def _print_judgement(found: Any) -> None:
    """Whether anything was gained, and on which episodes that was judged."""
    from hyperrl.adaptation.result import EPISODES
    from hyperrl.adaptation.selection import JUDGED

    same_T, steps_T = found.returns_KT[-1] <= found.returns_KT[0], found.judged_steps_KT[-1]
    if same_T.any():
        who = "the policy" if len(same_T) == 1 else f"{same_T.sum()} of {len(same_T)} policies"
        print(f"no better than at first, on the {EPISODES} greedy episodes that the curve rests on: {who}")
    if steps_T.any():
        each = " a variant" if len(same_T) > 1 else ""
        print(f"judgements, {JUDGED} episodes each, took {steps_T.mean():,.0f} of the steps{each};")
        print("by them, what is kept is never worse than the first policy")


def _print_inferred(found: Any) -> None:
    """Inferred values beside the true ones: a row a parameter, or of several variants a row a variant."""
    family = found.run.family
    known = [family.names.index(name) for name in family.changeable]
    cells = [
        [[f"{value:.3g}" for value in (row[i] for row in rows)] for i in known]
        for rows in zip(found.mean_TP, found.std_TP, found.variants_TP, strict=True)
    ]
    units = [family.parameters[i].unit for i in known]
    title = "Inferred parameters: posterior mean and standard deviation, and the true values"
    if len(cells) == 1:
        rows = [[name, unit, *cell] for name, unit, cell in zip(family.changeable, units, cells[0], strict=True)]
        print_table(
            title, ("parameter", "unit", "inferred", "spread", "true"), rows, right=("inferred", "spread", "true")
        )
        return
    columns = [f"{name} ({unit})" for name, unit in zip(family.changeable, units, strict=True)]
    rows = [[str(t), *(f"{mean} ± {std} ({true})" for mean, std, true in row)] for t, row in enumerate(cells, 1)]
    print_table(f"{title} (in brackets)", ("variant", *columns), rows, right=columns)
