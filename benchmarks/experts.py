"""Experts of single variants, and their returns as the tables need them.

    python benchmarks/experts.py FAMILY ... [--variants 8] [--splits interpolation extrapolation]

Trains Stable-Baselines3's PPO on the first variants of the splits, as `hyperrl experts` does, with the family's own
settings, and keeps in results/cells/FAMILY/experts-SPLIT.npz what each expert and a random policy reach there.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from common import CELLS

from hyperrl.envs import registry
from hyperrl.experts.pool import train_experts


class Experts(NamedTuple):
    """Of the first variants of a split."""

    variants_TP: np.ndarray
    expert_T: np.ndarray
    """Mean return of 10 greedy episodes."""
    random_T: np.ndarray
    """Mean return of random actions."""


def stored_experts(family: str, split: str) -> Experts | None:
    """What is kept of a split's experts."""
    path = CELLS / family / f"experts-{split}.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        return Experts(*(stored[name].astype(np.float64) for name in ("variants", "expert", "random")))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train experts, and keep their returns.")
    parser.add_argument("families", nargs="+", metavar="FAMILY")
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--splits", nargs="+", default=["interpolation", "extrapolation"])
    args = parser.parse_args()
    for family in args.families:
        for split in args.splits:
            table_TP = registry.get(family).variants(split, args.variants)
            records = train_experts(family, table_TP)
            arrays = {"variants": table_TP} | {
                name: np.array([record[key] for record in records])
                for name, key in (("expert", "mean"), ("random", "random"))
            }
            path = CELLS / family / f"experts-{split}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **{name: np.float32(array) for name, array in arrays.items()})
            print(f"{family} {split}: experts {arrays['expert'].mean():.1f}, random {arrays['random'].mean():.1f}")


if __name__ == "__main__":
    main()
