"""hyperrl evaluate, hyperrl map: zero-shot returns of an agent, and its value network's predictions."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from hyperrl.cli.console import (
    SEE,
    SPLIT,
    Commands,
    add_force,
    add_run,
    add_run_and_set,
    given_options,
    path_of,
    print_table,
    read_parameters,
    whole_number,
)


def add(commands: Commands) -> None:
    """Declare the commands."""
    command = commands.add_parser("evaluate", help="zero-shot returns on unseen variants")
    add_run_and_set(command)
    command.add_argument("--split", nargs="+", metavar="SPLIT", help=f"one or more (default: {SPLIT}); {SEE}")
    command.add_argument("--episodes", type=whole_number, default=10, help="greedy episodes a variant (default: 10)")
    command.add_argument("--variants", type=whole_number, help="variants of each split (default: 64)")
    command.add_argument(
        "--drift",
        type=float,
        metavar="D",
        help="random walk of all parameters, with a standard deviation of D half-ranges of training a step; 0: none",
    )
    command.add_argument(
        "--sweep",
        action="store_true",
        help="also play further episodes over each parameter alone and over a grid of two, and draw the returns",
    )
    command.add_argument("--experts", type=path_of, metavar="DIR", help="cache of experts (default: runs/experts)")
    command.add_argument(
        "--json", type=path_of, metavar="FILE", help="also write the result to FILE; a list for several splits"
    )
    add_force(command)
    command.set_defaults(command=_evaluate)

    command = commands.add_parser("map", help="the value network's prediction over two parameters, without episodes")
    add_run(command)
    command.add_argument(
        "--over",
        nargs=2,
        metavar="NAME",
        help="two parameters (default: those with the largest effect on the prediction)",
    )
    command.add_argument("--png", type=path_of, metavar="FILE", help="heat map (default: figures/map-NAME-NAME.png)")
    command.add_argument("--json", type=path_of, metavar="FILE", help="also write the predictions to FILE")
    add_force(command)
    command.set_defaults(command=_map)


def _evaluate(args: argparse.Namespace) -> None:
    from hyperrl.api import Run
    from hyperrl.evaluation.evaluate import evaluate
    from hyperrl.reports.evaluation import save_evaluations
    from hyperrl.storage.files import require_output, write_json

    if args.json:
        require_output(args.json, (".json",), args.force)
    if args.set is not None and (args.split, args.variants) != (None, None):
        print("warning: --set gives one variant; --split and --variants are left out", file=sys.stderr)
    run, parameters = Run(args.folder, args.family), read_parameters(args.set)
    splits = [SPLIT] if args.set is not None or args.split is None else list(dict.fromkeys(args.split))
    require_output(run.folder / "evaluations" / f"{SPLIT}.json", (".json",), force=True)
    chosen = given_options(args, episodes="episodes", variants="variants", experts="experts", drift="drift")
    evaluations = [evaluate(run, split, parameters=parameters, **chosen) for split in splits]
    results = [evaluation.json() for evaluation in evaluations]
    _print_results(results)
    _print_calibration(results)
    if any(result["experts"] for result in results):
        print("normalised: 0 is a random policy, 1 each variant's expert; mean over the variants that have one")
    else:
        where = ["--experts", str(args.experts)] if args.experts else []
        again = shlex.join(["hyperrl", "experts", run.reference, "--variants", "8", *where])
        print(f"for the gap to experts: {again}")
    if args.json:
        write_json(args.json, results[0] if len(results) == 1 else results)
    for path in save_evaluations(run, evaluations, args.sweep):
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
        ends = "{:.1f} to {:.1f}".format(*result["ci95"]) if result["ci95"] else "-"
        numbers = [f"{result[name]:.1f}" for name in ("mean", "worst", "worst_tenth", "iqm")]
        count = str(len(result["variants"]))
        rows.append([result["split"] or "given", count, *numbers, ends, gap])
    columns = ("split", "variants", "mean", "worst", "worst 10 %", "IQM", "95 % interval", "normalised")
    print_table(title, columns, rows, right=columns[1:])
    if first["ci95"]:
        print(f"interval of the IQM: {first['ci95_method']}; it is about this agent on these variants, from any start")
    else:
        print("one start: no interval")


def _print_calibration(results: Sequence[dict[str, Any]]) -> None:
    rows = []
    for result in results:
        found = result["calibration"]
        means = [f"{found[name]:.1f}" for name in ("predicted", "measured", "mean_absolute_error")]
        numbers = [found[name] for name in ("slope", "spearman", "spearman_return")]
        shown = ["-" if number is None else f"{number:.2f}" for number in numbers]
        rows.append([result["split"] or "given", *means, *shown])
    title = f"Discounted return (gamma {results[0]['calibration']['gamma']:g}), as the value networks predicted it"
    columns = ("split", "predicted", "measured", "mean error", "slope", "rank corr.", "with the return")
    print_table(title, columns, rows, right=columns[1:])
    print("measured: the same episodes, as if those at the time limit went on as in their last tenth; slope: of")
    print(
        "measured over predicted; rank corr.: of predicted with measured and with the mean return; -: one never varies"
    )


def _map(args: argparse.Namespace) -> None:
    from hyperrl.api import Run
    from hyperrl.evaluation.calibration import predicted_map
    from hyperrl.reports.figures import heat_map, save
    from hyperrl.storage.files import require_output, write_json

    for file, suffix in ((args.png, ".png"), (args.json, ".json")):
        if file:
            require_output(file, (suffix,), args.force)
    run = Run(args.folder, args.family)
    require_output(run.folder / "figures" / "map.png", (".png",), force=True)
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
