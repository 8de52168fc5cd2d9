"""A short training equals the one that was written down: whatever changes a number on the way shows here.

``curve.json`` holds two trainings of eight iterations with seed 0, every metric of each and the held-out curves. The
numbers are the code's own; whether they are right is checked in the other tests. CPUs round differently (PyTorch's
kernels with and without AVX end 2e-7 apart, relative to numbers of size 1), so they are compared to six digits.

Where a change of the numbers is meant, the failing test says where it has left the new file.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.training.held_out import HeldOut, Progressed
from hyperrl.training.trainer import Trainer

WRITTEN = Path(__file__).with_name("curve.json")
SETTINGS = {
    "variants": 8,
    "copies": 2,
    "rollout": 32,
    "steps": 8 * 2 * 32 * 8,
    "epochs": 2,
    "gamma": 0.95,
    "entropy_coef": 1e-3,
    "weight_norm_coef": 1e-5,
    "hidden": [16],
    "generator_hidden": [16],
    "log_std": -0.5,
    "device": "cpu",
}
EVERY = 2
"""Iterations between two looks at the held-out variants."""


def curve(family):
    """Metrics of every iteration, and held-out curves."""
    trainer = Trainer(family, Config(family=family.name, **SETTINGS))
    held_out, progressed, metrics = HeldOut(family), Progressed(), {}
    for iteration in range(1, trainer.config.iterations + 1):
        found = trainer.iterate()
        if iteration % EVERY == 0:
            held_out.play(trainer, progressed)
        for name, value in found.items():
            metrics.setdefault(name, []).append(value)
    return {"metrics": metrics, "held_out": progressed.curves}


@pytest.mark.parametrize("name", ["ticks", "point"])
def test_a_training_gives_the_numbers_that_were_written_down(ticks, tmp_path, name):
    family = ticks if name == "ticks" else dataclasses.replace(registry.get(name), max_episode_steps=20)
    written = json.loads(WRITTEN.read_text())
    found = curve(family)
    new = tmp_path / WRITTEN.name
    new.write_text(json.dumps({**written, name: found}, indent=1) + "\n")
    expected, told = written.get(name, {}), f"other numbers than written down; the new ones are in {new}"
    for kind, curves in found.items():
        assert curves.keys() == expected[kind].keys(), told
        for tag, numbers in curves.items():
            assert numbers == pytest.approx(expected[kind][tag], rel=2e-6, abs=1e-6), f"{tag}: {told}"
