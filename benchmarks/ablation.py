"""What may lift a generator further, each as a change of the shipped package for as long as one training lasts.

    python benchmarks/runner.py benchmarks/matrices/ablation.toml

A row's ``variation`` names one of the functions here; regularisers and the generator's widths are settings. Families
are those of encoded.py: trained on the inner half of their ranges and judged on the whole of them, so that nothing that
is reported elsewhere decides here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from hyperrl.agents import ARMS
from hyperrl.agents.arms.hyper import HyperAgent
from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, value_layers
from hyperrl.config import Config
from hyperrl.training import trainer as training
from hyperrl.training.held_out import HeldOut, Progressed
from hyperrl.training.sampler import UniformSampler
from hyperrl.training.trainer import Trainer

NOISE = 0.05
"""Deviation of what is added to every feature of a context, which is about [-1, 1]."""
DECAY = 0.95
"""Share of an average of weights that is kept at each iteration."""
FAR_ABOVE_ANY = 1e6
REHEARSED = 0.5
"""Share of fresh slots that get a hard variant of before."""
REMEMBERED = 256
"""Variants to choose them from."""


@contextmanager
def context_noise() -> Iterator[None]:
    """Gaussian noise on the contexts from which each minibatch generates."""
    minibatches = Trainer.minibatches

    def noisy(self: Trainer, *args: Any) -> Iterator[tuple[Any, Tensor]]:
        for batch, context_TC in minibatches(self, *args):
            drawn_TC = torch.randn(context_TC.shape, generator=self.generators["minibatches"])
            yield batch, context_TC + NOISE * drawn_TC

    with patch.object(Trainer, "minibatches", noisy):
        yield


class SharedTrunk(HyperAgent):
    """Hyper with one trunk that reads the context for both networks."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.policy = Hypernetwork(spec.context, policy_layers(spec, spec.observation), spec.generator_hidden)
        self.value = Hypernetwork(spec.context, value_layers(spec, spec.observation), spec.generator_hidden)
        self.value.trunk = self.policy.trunk


def shared_trunk() -> AbstractContextManager[Any]:
    """One trunk for the generators of policy and value network."""
    return patch.dict(ARMS, {"hyper": SharedTrunk})


def _moving() -> AbstractContextManager[Any]:
    """Values move with the scale of returns: no PopArt."""
    return patch.object(HyperAgent, "scale_values", lambda agent, factor: None)


def lambda_targets() -> AbstractContextManager[Any]:
    """Values learn the returns with the advantages' lambda, not those of the rollout."""
    return patch.object(training, "VALUE_LAMBDA", Config("").gae_lambda)


@contextmanager
def before() -> Iterator[None]:
    """Both, as it was before."""
    with _moving(), lambda_targets():
        yield


@contextmanager
def averaging() -> Iterator[None]:
    """Held-out variants are played, and the checkpoint is, an exponential average of the weights over iterations."""
    iterate, play = Trainer.iterate, HeldOut.play
    averages: dict[int, nn.Module] = {}

    def averaged(self: Trainer) -> dict[str, float]:
        metrics = iterate(self)
        average = averages.setdefault(id(self), copy.deepcopy(self.agent))
        with torch.no_grad():
            for kept, now in zip(average.parameters(), self.agent.parameters(), strict=True):
                kept.lerp_(now, 1 - DECAY)
            for kept, now in zip(average.buffers(), self.agent.buffers(), strict=True):
                kept.copy_(now)
        return metrics

    def played(self: HeldOut, trainer: Trainer, progressed: Progressed) -> dict[str, float]:
        with patch.object(trainer, "agent", averages[id(trainer)]):
            return play(self, trainer, progressed)

    with patch.object(Trainer, "iterate", averaged), patch.object(HeldOut, "play", played):
        yield


def each_variant_scaled() -> AbstractContextManager[Any]:
    """Advantages scaled by the variant's deviation alone."""
    return patch.object(training, "FAMILY_SHARE", 0.0)


@contextmanager
def family_scaled() -> Iterator[None]:
    """Advantages scaled by the family's mean deviation, the same for every variant."""
    estimate = Trainer.estimate

    def scaled(self: Trainer, rollout: Any) -> Any:
        batch, shown = estimate(self, rollout)
        return batch._replace(advantage_TN=batch.advantage_TN * FAR_ABOVE_ANY**0.5), shown

    with patch.object(training, "FAMILY_SHARE", FAR_ABOVE_ANY), patch.object(Trainer, "estimate", scaled):
        yield


class Rehearsal(UniformSampler):
    """Some of the fresh slots get the variants on which the mean absolute advantage was largest."""

    def __init__(self, family: Any, seed: int) -> None:
        super().__init__(family, seed)
        self._seen: dict[tuple[float, ...], float] = {}

    def draw(self, n: int, iteration: int) -> np.ndarray:
        """Variants (n, P)."""
        drawn_TP = super().draw(n, iteration)
        hardest = sorted(self._seen, key=lambda variant: -self._seen[variant])[: int(REHEARSED * n)]
        if hardest:
            drawn_TP[np.linspace(0, n - 1, len(hardest)).astype(int)] = hardest
        return drawn_TP

    def tell(self, variants_TP: Tensor, scores_T: Tensor) -> None:
        """Remember the last variants and what was told of them."""
        for variant, score in zip(variants_TP.tolist(), scores_T.tolist(), strict=True):
            self._seen.pop(tuple(variant), None)
            self._seen[tuple(variant)] = score
        self._seen = dict(list(self._seen.items())[-REMEMBERED:])


def rehearsal() -> AbstractContextManager[Any]:
    """Hard variants are trained on again."""
    return patch.object(training, "UniformSampler", Rehearsal)
