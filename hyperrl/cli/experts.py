"""hyperrl experts."""

from __future__ import annotations

import argparse

from hyperrl.cli.console import SEE, SPLIT, WHERE, Commands, add_workers, given_options, path_of, whole_number


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("experts", help="train Stable-Baselines3's PPO on single variants, and cache it")
    command.add_argument("family", metavar="FAMILY", help="as for train")
    command.add_argument("--variants", type=whole_number, required=True, metavar="N", help="the first N of the split")
    command.add_argument("--split", default=SPLIT, help=f"default: {SPLIT}; {SEE}")
    command.add_argument("--seed", type=whole_number, default=0, help="seed of the experts (default: 0)")
    add_workers(command)
    command.add_argument("--experts", type=path_of, metavar="DIR", help="cache of experts (default: runs/experts)")
    command.set_defaults(command=_experts)


def _experts(args: argparse.Namespace) -> None:
    from hyperrl.experts.pool import require_count, train_experts
    from hyperrl.families import resolve

    require_count(args.variants)
    table_TP = resolve(args.family).variants(args.split, args.variants)
    chosen = given_options(args, seed="seed", root="experts", **WHERE)
    for record in train_experts(args.family, table_TP, **chosen):
        named = " ".join(f"{name}={value:.3g}" for name, value in record["parameters"].items())
        print(f"{named}: {record['mean']:.1f} after {record['steps']:,} steps (random {record['random']:.1f})")
