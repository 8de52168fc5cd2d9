"""This package's training loop beside its peers', on CartPole with one batch: steps/s, and seconds to compile.

    python benchmarks/peers.py [--rounds 5] [--iterations 40] [--envs FOLDER]

256 environments, rollouts of 64 steps, 4 epochs of 4 minibatches, policy and value networks of 64-64. The peers train
on one CartPole, this package on 32 variants of it, 8 copies each. Every peer has a virtual environment of its own in
FOLDER, which is made where it is missing, and its program in benchmarks/peers. A round runs each program once, in a
process that has the machine to itself; the next round begins with another one. What a peer computes with more threads
is measured with one thread and with one for each core. Resumable: rounds that are in results/peers.json are kept if
the machine and the numbers of iterations are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import RESULTS, hardware, save

from hyperrl.storage.device import cores

PROGRAMS = Path(__file__).parent / "peers"
KEYS = {"": ("iterations", "cells", "peers")}


class Peer(NamedTuple):
    """A program that trains and prints one line of JSON."""

    program: str
    arguments: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    """Of its own environment; of this package's where there are none."""
    more_threads: bool = False
    """Whether it takes ``--threads``."""


TORCH = "torch==2.13.0"
PEERS = {
    "hyperrl hyper, compiled": Peer("ours.py", ("--agent", "hyper"), more_threads=True),
    "hyperrl hyper": Peer("ours.py", ("--agent", "hyper", "--compile", "off"), more_threads=True),
    "hyperrl concat, compiled": Peer("ours.py", ("--agent", "concat"), more_threads=True),
    "rejax": Peer("rejax_ppo.py", (), ("rejax==0.1.3", "gymnax==0.0.9", "jax==0.10.2")),
    "sbx": Peer(
        "stable_baselines3_ppo.py",
        ("--package", "sbx", "--threads", "1"),
        (TORCH, "sbx-rl==0.28.0", "jax==0.10.2", "stable-baselines3==2.9.2", "gymnasium==1.4.0"),
    ),
    "stable-baselines3": Peer(
        "stable_baselines3_ppo.py",
        ("--package", "stable_baselines3"),
        (TORCH, "stable-baselines3==2.9.2", "gymnasium==1.4.0"),
        more_threads=True,
    ),
    "rsl-rl": Peer("rsl_rl_ppo.py", (), (TORCH, "rsl-rl-lib==5.5.1", "gymnasium==1.4.0"), more_threads=True),
    "pufferlib": Peer("", (), (TORCH, "pufferlib")),
}
"""pufferlib has no program: where its installer goes through, one is to be written."""


class Cell(NamedTuple):
    """One program with one number of threads."""

    peer: str
    threads: int

    @property
    def name(self) -> str:
        """What it is called in the result."""
        more = PEERS[self.peer].more_threads
        return f"{self.peer}, {self.threads} thread{'s' * (self.threads > 1)}" if more else self.peer


def cells_of(peers: Mapping[str, Peer], processors: int) -> list[Cell]:
    """Every peer, with one thread and with one for each processor where it can be told."""
    counts = sorted({1, processors})
    return [Cell(name, count) for name, peer in peers.items() for count in (counts if peer.more_threads else [1])]


def order(cells: Sequence[Cell], round_: int) -> list[Cell]:
    """The cells of a round: each round begins one further, so that none is always first."""
    first = round_ % len(cells)
    return [*cells[first:], *cells[:first]]


def python_of(name: str, peer: Peer, envs: Path) -> Path:
    """The Python of a peer's environment, made where it is missing.

    Raises:
        CalledProcessError: something of it cannot be installed; ``stdout`` says what.
    """
    if not peer.requirements:
        return Path(sys.executable)
    folder = envs / name
    python, installed = folder / "bin" / "python", folder / "installed"
    if not (installed.exists() and installed.read_text() == " ".join(peer.requirements)):
        print(f"installing {name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        words = [str(python), "-m", "pip", "install", "--quiet", *peer.requirements]
        subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        installed.write_text(" ".join(peer.requirements))
    return python


def measured(cell: Cell, python: Path, iterations: int) -> dict[str, Any]:
    """One run of a cell's program in a process of its own."""
    peer = PEERS[cell.peer]
    words = [str(python), str(PROGRAMS / peer.program), "--iterations", str(iterations), *peer.arguments]
    words += ["--threads", str(cell.threads)] if peer.more_threads else []
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"name": cell.name, **found}


def table(cells: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> dict[str, Any]:
    """Steps/s of each name over its runs: median, least and most; what could not be measured, with its reason."""
    names = dict.fromkeys(cell["name"] for cell in cells)
    found: dict[str, Any] = {}
    for name in names:
        runs = [cell for cell in cells if cell["name"] == name]
        speeds = np.array([run["steps"] / run["seconds"] for run in runs])
        compile_s = float(np.median([run["compile_s"] for run in runs]))
        million = 1e6 / float(np.median(speeds))
        found[name] = {
            "steps_per_second": {
                "median": round(float(np.median(speeds))),
                "least": round(float(speeds.min())),
                "most": round(float(speeds.max())),
            },
            "runs": len(runs),
            "compile_s": round(compile_s, 1),
            "seconds_of_a_million_steps": round(million + compile_s, 1),
            "versions": runs[-1]["versions"],
        }
    return found | {name: {"not_measured": reason} for name, reason in reasons.items()}


def kept(iterations: int) -> list[dict[str, Any]]:
    """The runs of a result that was measured on this machine with as many iterations."""
    path = RESULTS / "peers.json"
    if not path.exists():
        return []
    result = json.loads(path.read_text())
    same = result["hardware"] == hardware() and result["iterations"] == iterations
    return list(result["cells"]) if same else []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=40, help="of each run")
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperrl" / "peers"
    parser.add_argument("--envs", type=Path, default=default, help=f"folder of the peers' environments [{default}]")
    args = parser.parse_args()
    pythons, reasons = {}, {}
    for name, peer in PEERS.items():
        try:
            pythons[name] = python_of(name, peer, args.envs)
        except subprocess.CalledProcessError as error:
            lines = [line.strip() for line in (error.stdout or str(error)).splitlines() if "rror" in line]
            reasons[name] = f"pip install {' '.join(peer.requirements)}: {lines[0] if lines else 'failed'}"
    cells = [cell for cell in cells_of(PEERS, cores()) if cell.peer in pythons and PEERS[cell.peer].program]
    runs = kept(args.iterations)
    for round_ in range(args.rounds):
        for cell in order(cells, round_):
            if sum(run["name"] == cell.name for run in runs) > round_:
                continue
            runs.append(measured(cell, pythons[cell.peer], args.iterations))
            print(round_, cell.name, f"{runs[-1]['steps'] / runs[-1]['seconds']:,.0f} steps/s", flush=True)
            save("peers", {"iterations": args.iterations, "cells": runs, "peers": table(runs, reasons)})


if __name__ == "__main__":
    main()
