import dataclasses

import pytest
import torch
from gymnasium.spaces import Box

import hyperrl
from hyperrl.cli import main
from hyperrl.config import Config
from hyperrl.envs import Parameter, PhysicsFamily, registry
from hyperrl.training.trainer import Trainer

TINY = {"variants": 4, "copies": 2, "rollout": 16, "steps": 4 * 2 * 16 * 6, "evaluations": 2, "device": "cpu"}

OWN_FAMILY = """
import torch
from gymnasium.spaces import Box
from hyperrl.envs import Parameter, PhysicsFamily


def step(state, action, p):
    after = (state + 0.2 * p["gain"].unsqueeze(-1) * action).clamp(-2, 2)
    return after, -state.squeeze(-1).square(), torch.zeros_like(state[..., 0], dtype=torch.bool)


family = PhysicsFamily(
    name="plant",
    parameters=(Parameter("gain", "1/s", 1.0, (-2, 2), (-3, 3), note="sign and strength of the actuator"),),
    observation_space=Box(-2, 2, shape=(1,)),
    action_space=Box(-1, 1, shape=(1,)),
    max_episode_steps=30,
    draws=1,
    start=lambda draws, p: 2 * draws - 1,
    step=step,
)
"""


def tick(state, action, p):
    """Count steps; each pays ``pay - cost (action - target)^2``, and ``ends`` of them are an episode."""
    after = state + 1
    return after, p["pay"] - p["cost"] * (action[..., 0] - p["target"]).square(), after[..., 0] >= p["ends"]


TICKS = PhysicsFamily(
    name="ticks",
    parameters=(
        Parameter("target", "1", 0.5, (-1, 1), (-2, 2)),
        Parameter("ends", "1", 4.0, (2, 6), (2, 8), bounds="[1, 8]"),
        Parameter("pay", "1", 0.0, (-1, 1), (-2, 2)),
        Parameter("cost", "1", 1.0, (0, 2), (0, 4)),
    ),
    observation_space=Box(0, 8, shape=(1,)),
    action_space=Box(-1, 1, shape=(1,)),
    max_episode_steps=8,
    draws=1,
    start=lambda draws, p: 0 * draws,
    step=tick,
)
"""Whose returns, lengths and values can be computed by hand, whatever is played."""


@pytest.fixture(scope="session")
def ticks():
    """That family."""
    return TICKS


@pytest.fixture(scope="session")
def ticks_run(tmp_path_factory):
    """A run of six short iterations on it, with an encoder."""
    settings = {**TINY, "hidden": (16,), "gamma": 0.9, "gae_lambda": 1.0, "log_std": -1.0}
    return hyperrl.train(TICKS, run=tmp_path_factory.mktemp("runs") / "ticks", quiet=True, **settings)


@pytest.fixture(scope="session")
def tiny():
    """Settings of six short iterations."""
    return TINY


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run of six short iterations."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return hyperrl.train("cartpole", run=folder, quiet=True, **TINY)


@pytest.fixture
def own_family(tmp_path):
    """A file with a family of its own: a first-order plant whose actuator has an unknown sign."""
    path = tmp_path / "plant.py"
    path.write_text(OWN_FAMILY)
    return path


@pytest.fixture
def cli(capsys):
    """Run a command in this process: exit status, what it printed, what it complained about."""

    def run(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def shaken():
    """A function that moves an agent away from its start, so that variants differ and nothing is normal."""

    @torch.no_grad()
    def shake(agent, scale=0.1, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for parameter in agent.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
        agent.normaliser.mean.add_(0.1 * torch.randn(agent.normaliser.mean.shape, generator=generator))
        agent.normaliser.var.mul_(0.5 + torch.rand(agent.normaliser.var.shape, generator=generator))
        agent.normaliser.return_var.fill_(7.0)
        return agent

    return shake


@pytest.fixture
def make_trainer():
    """A trainer on a family with tiny settings, and shorter episodes where ``limit`` says so."""

    def make(family="cartpole", limit=None, **settings):
        known = registry.get(family) if isinstance(family, str) else family
        if limit is not None:
            known = dataclasses.replace(known, max_episode_steps=limit)
        return Trainer(known, Config(family=known.name, **{**TINY, **settings}))

    return make
