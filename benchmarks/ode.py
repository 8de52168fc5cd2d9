"""ODE-1 and ODE-2: the average evaluation reward (AER) over the published grid, several seeds and arms.

    python benchmarks/ode.py [--seeds 3] [--agents hyper concat blind]

Published for ODE-2 (Beukman et al., NeurIPS 2023, SAC, 300k steps, 16 seeds): Decision Adapter 159, concatenation 109;
the ceiling is 199.5. Theirs is another algorithm, so that the arms here compare with each other first. Each arm trains
with the family's own settings, and its checkpoint is the best on the validation variants, none of which is on the grid.
Returns over the whole grid are saved in results/cells/grid-FAMILY-AGENT.npz: `variants` (T, P), `returns` (R seeds, T);
every judged episode starts at 1, so that there is one a variant. Resumable: finished runs in runs/benchmarks are kept.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from common import SETTINGS, parameter_count, save, save_cells
from families import trained

from hyperrl.agents import ARMS
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.tasks.ode import evaluation_grid, ode1, ode2
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play

FAMILIES = (ode1, ode2)
KEYS = {"": ("settings", "arms"), "arms": ("family", "agent", "seeds", "steps", "parameters")}
"""Keys of the result: of the whole, and of its parts."""


def cells_name(family: str, agent: str) -> str:
    """Name of an arm's cells."""
    return f"grid-{family}-{agent}"


def inside(variants_TP: np.ndarray) -> np.ndarray:
    """Whether each variant of a grid lies within the training range: (T,)."""
    return np.abs(variants_TP).max(1) <= ode1.parameters[0].train[1]


def measure(family: PhysicsFamily, agent: str, seeds: int, **changes: Any) -> dict[str, Any]:
    """Train one arm, play the grid, and save its cells."""
    grid_TP = evaluation_grid(family)
    runs = [trained(family.name, agent, seed, **changes) for seed in range(seeds)]
    returns_RT = np.stack([play(family, grid_TP, AgentActor(run.agent, family), 1).returns_TE[:, 0] for run in runs])
    save_cells(cells_name(family.name, agent), {"variants": grid_TP, "returns": returns_RT})
    print(family.name, agent, returns_RT.mean(1).round(1).tolist(), flush=True)
    return {
        "family": family.name,
        "agent": agent,
        "seeds": [run.config.seed for run in runs],
        "steps": runs[0].steps,
        "parameters": parameter_count(runs[0].agent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="AER of every arm on ODE-1 and ODE-2.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agents", nargs="+", default=["hyper", "concat", "blind"], choices=list(ARMS))
    args = parser.parse_args()
    arms = [measure(family, agent, args.seeds) for family in FAMILIES for agent in args.agents]
    save("ode", {"settings": SETTINGS, "arms": arms}, KEYS)


if __name__ == "__main__":
    main()
