"""Ten seeds at once: seconds of `hyperrl train FAMILY --seeds 10` beside those of one seed.

    python benchmarks/seeds.py [cartpole] [--seeds 10] [--rounds 2]

Whole commands with the family's own settings, as a user starts them, in turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from common import save

KEYS = {"": ("family", "seeds", "one_s", "all_s", "ratio")}


def seconds(family: str, *words: str) -> float:
    """Of one command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hyperrl", "train", family, "--run", f"{folder}/run", *words]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("family", nargs="?", default="cartpole")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    one, many = [], []
    for _ in range(args.rounds):
        one.append(seconds(args.family))
        many.append(seconds(args.family, "--seeds", str(args.seeds)))
        print(one[-1], many[-1], flush=True)
    found = {"one_s": float(np.median(one)), "all_s": float(np.median(many))}
    torch.set_num_threads(1)
    ratio = found["all_s"] / found["one_s"]
    rounded = {name: round(value, 2) for name, value in {**found, "ratio": ratio}.items()}
    save("seeds", {"family": args.family, "seeds": args.seeds, **rounded}, KEYS)


if __name__ == "__main__":
    main()
