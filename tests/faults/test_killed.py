"""A training that is killed with SIGKILL, once or again and again, ends with the same weights as one that is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperrl.storage import checkpoint

COUNTS = Path(__file__).with_name("counts") / "killed.json"
TINY = "--steps 256 --variants 4 --copies 2 --rollout 8 --lifetime 1 --evaluations 2 --hidden 8 "
TINY += "--generator-hidden 8 --device cpu"
SHIPPED = """
from dataclasses import replace
from hyperrl.envs import registry
family = replace(registry.get("{name}"), max_episode_steps=20)
"""
CART = """
from hyperrl.envs import Attribute, GymnasiumFamily, Parameter, Walk
family = GymnasiumFamily(
    name="cart",
    make="CartPole-v1",
    parameters=(Parameter("length", "m", 0.5, (0.25, 1), (0.1, 2), "(0, 10]"),),
    apply={{"length": Attribute("length")}},
    max_episode_steps=20,
    {more}
)
"""
FAMILIES = {
    "cartpole": ("physics", SHIPPED.format(name="cartpole")),
    "pendulum": ("physics", SHIPPED.format(name="pendulum")),
    "cartpole_drift": ("physics", SHIPPED.format(name="cartpole_drift")),
    "half_cheetah": ("mujoco", SHIPPED.format(name="half_cheetah")),
    "reacher": ("mujoco", SHIPPED.format(name="reacher")),
    "cart": ("gymnasium", CART.format(more="")),
    "cart_drift": ("gymnasium", CART.format(more='drift={"length": Walk(0.02)},')),
    "cart_async": ("gymnasium", CART.format(more='vectorization="async",')),
    "lunar_lander_wind": ("box2d", SHIPPED.format(name="lunar_lander_wind")),
    "bipedal_walker": ("box2d", SHIPPED.format(name="bipedal_walker")),
}
"""Name -> kind and file."""
KILLED, ONCE, AGAIN = -9, 5, (2, 3)
"""Of each family, so many runs are killed once, at moments spread over the run, one after some time, and one each as
often in a row as ``AGAIN`` says."""
EVERY = "cartpole"
"""The family whose runs are killed at every moment."""


@pytest.fixture(scope="module")
def nursery():
    """A function that has ``killer.py`` train, and kill."""
    script = [sys.executable, Path(__file__).with_name("killer.py")]
    with subprocess.Popen(
        script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:

        def train(file, run, at=None, after=None):
            job = {"words": [str(file), *TINY.split()], "run": str(run), "at": at, "after": after}
            print(json.dumps(job), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield train


LEFT_OUT = ("run", "seconds", "elapsed")


def content(run):
    """What a run's folder holds, without what names the run and what a clock said."""
    return {
        file: {key: value for key, value in checkpoint.load(run / file).items() if key not in LEFT_OUT}
        for file in ("checkpoint.pt", "encoder.pt")
    }


def difference(left, right, where=""):
    """The first place in which two contents differ, ``None`` where they do not."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        found = (difference(left[key], right[key], f"{where}/{key}") for key in left)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        found = (difference(*pair, f"{where}/{i}") for i, pair in enumerate(zip(left, right, strict=True)))
    else:
        tensors = isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)
        same = torch.equal(left, right) if tensors else type(left) is type(right) and left == right
        return None if same else where
    return next(filter(None, found), None)


class Killer:
    """Kills runs of one family, and compares how they end with one that is left alone."""

    def __init__(self, train, name, folder):
        self.train, self.folder, self.kills = train, folder, 0
        self.file = folder / "family.py"
        self.file.write_text(FAMILIES[name][1])
        alone = train(self.file, folder / "alone")
        assert alone["status"] == 0, alone["said"]
        self.moments, self.seconds = alone["moments"], alone["seconds"]
        self.wanted = content(folder / "alone")

    def kill(self, **when):
        """Kill the run; where it has ended before, it is put back, and killed sooner."""
        run, kept = self.folder / "run", self.folder / "kept"
        while True:
            shutil.rmtree(kept, ignore_errors=True)
            if run.exists():
                shutil.copytree(run, kept)
            ended = self.train(self.file, run, **when)
            assert not ended["orphans"]
            if ended["status"] == KILLED:
                self.kills += 1
                return
            assert ended["status"] == 0, ended["said"]
            shutil.rmtree(run)
            if kept.exists():
                kept.rename(run)
            when = {name: type(value)(value / 2) for name, value in when.items()}

    def ends_alike(self, *moments):
        """Kill a run at each of the moments in turn, go on, and compare."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        for when in moments:
            self.kill(**when)
        last = self.train(self.file, self.folder / "run")
        assert last["status"] == 0, (moments, last["said"])
        assert "does not repeat itself" not in last["said"]
        assert difference(content(self.folder / "run"), self.wanted) is None, moments


@pytest.mark.parametrize("name", ["cartpole", "cart_drift"])
def test_killed_twice_and_resumed_ends_with_the_same_weights(name, nursery, tmp_path):
    killer = Killer(nursery, name, tmp_path)
    killer.ends_alike({"at": killer.moments // 2}, {"at": killer.moments // 4})
    assert killer.kills == 2


@pytest.mark.faults
@pytest.mark.parametrize("name", FAMILIES)
def test_killed_at_its_writes_and_at_random_moments(name, nursery, tmp_path):
    killer = Killer(nursery, name, tmp_path)
    rng = np.random.default_rng(list(FAMILIES).index(name))
    once = range(killer.moments) if name == EVERY else np.linspace(0, killer.moments - 1, ONCE)
    for at in once:
        killer.ends_alike({"at": round(at) + 1})
    some_time = [{"after": rng.uniform(0.05, 0.8) * killer.seconds} for _ in range(2)]
    killer.ends_alike(some_time[0])
    for times in AGAIN:
        early = rng.integers(1, killer.moments // times, times - 1).tolist()
        killer.ends_alike(some_time[1], *({"at": at} for at in early))
    assert killer.kills == len(once) + 1 + sum(AGAIN) == json.loads(COUNTS.read_text())[FAMILIES[name][0]][name]
