"""The one place where seeds come from: named streams of random numbers, no two of them alike.

A stream is known by a name, a run's seed and further numbers such as an iteration. ``numpy.random.SeedSequence`` makes
of them states that are as good as independent, so that seed s of one stream has nothing in common with seed s + 1 of
another (https://numpy.org/doc/stable/reference/random/parallel.html).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

STREAMS = (
    "weights",
    "variants",
    "starts",
    "actions",
    "minibatches",
    "encoder weights",
    "encoder variants",
    "encoder starts",
    "encoder actions",
    "encoder minibatches",
    "encoder play",
    "encoder played variants",
    "adaptation starts",
    "adaptation search",
    "adaptation judgement",
    "held-out starts",
    "judged starts",
    "random policy",
    "policy actions",
    "exported observations",
)
"""Every stream there is. New ones go to the end: a stream's place is part of its seed."""


def stream(name: str, seed: int = 0, *numbers: int) -> np.random.SeedSequence:
    """The stream of a name, a run's seed, and further numbers.

    Args:
        name: one of ``STREAMS``.
        seed: of the run; 0 for what is the same in all runs, such as the starts that judge.
        numbers: indices that separate streams of the same name, 0 or more each.

    Raises:
        ValueError: there is no stream of that name.
    """
    return np.random.SeedSequence(seed, spawn_key=(STREAMS.index(name), *numbers))


def seed_of(name: str, seed: int = 0, *numbers: int) -> int:
    """A seed within [0, 2**31) for whatever takes one number: environments, Stable-Baselines3."""
    return int(stream(name, seed, *numbers).generate_state(1)[0] >> 1)


def next_seed(seed: int, number: int) -> int:
    """The seed after another one, ``number`` times; the seed itself for 0."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0] >> 1) if number else seed


def numpy_generator(name: str, seed: int = 0, *numbers: int) -> np.random.Generator:
    """A NumPy generator of the stream."""
    return np.random.default_rng(stream(name, seed, *numbers))


def torch_generator(name: str, seed: int = 0, *numbers: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A PyTorch generator of the stream, on a device."""
    state = int(stream(name, seed, *numbers).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(state >> 1)


_one_at_a_time = threading.Lock()


@contextmanager
def drawing(name: str, seed: int = 0) -> Iterator[None]:
    """Let modules draw their first weights from a stream: PyTorch gives them its global generator only.

    That is as before afterwards. Threads take turns.
    """
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(name, seed))
        yield
