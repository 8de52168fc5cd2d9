"""What repeats the running episodes of simulators whose state cannot be read."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch

MOST_BYTES = 2**26
"""Of actions, 64 MiB: so much is in a checkpoint at the most."""


class Journal:
    """The seeds of N copies' running episodes, and the actions of all copies since the oldest of these began.

    No more than ``MOST_BYTES`` of actions are kept: episodes that began before these cannot be repeated.

    A copy's first episode has the copy's own seed, the k-th after that one a seed derived from it and k: what a copy
    plays does not depend on the others.
    """

    def __init__(self, copies: int) -> None:
        self.seed_N, self.episode_N = np.zeros(copies, dtype=np.int64), np.zeros(copies, dtype=np.int64)
        self.length_N, self.return_N = np.zeros(copies, dtype=np.int64), np.zeros(copies)
        self.steps: deque[tuple[np.ndarray, np.ndarray]] = deque()
        """Of each step, the actions (N, ...) and the variants (T, P) that they were taken in."""

    def begin(self, seeds: list[int]) -> None:
        """Begin the first episode of every copy."""
        self.seed_N[:], self.episode_N[:] = seeds, -1
        self.begin_next(np.ones(len(seeds), dtype=bool))

    def begin_next(self, mask_N: np.ndarray) -> None:
        """Begin the next episode of the copies in the mask (N,)."""
        self.episode_N += mask_N
        self.length_N *= ~mask_N
        self.return_N[mask_N] = 0

    def seeds(self, mask_N: np.ndarray) -> list[int | None]:
        """Seeds of the running episodes, ``None`` for copies that are not in the mask (N,)."""
        given = zip(self.seed_N.tolist(), self.episode_N.tolist(), mask_N, strict=True)
        return [_derived(seed, episode) if asked else None for seed, episode, asked in given]

    def add(self, given_N: np.ndarray, variants_TP: np.ndarray) -> None:
        """Take down actions (N, ...), and the variants that they are taken in where these drift, else (0,)."""
        self._forget()
        self.steps.append((given_N.copy(), variants_TP))
        while len(self.steps) * (given_N.nbytes + variants_TP.nbytes) > MOST_BYTES:
            self.steps.popleft()

    def _forget(self) -> None:
        """Leave out what is older than the oldest running episode."""
        while len(self.steps) > self.length_N.max():
            self.steps.popleft()

    @property
    def too_long_N(self) -> np.ndarray:
        """Which running episodes (N,) began before the actions that are kept."""
        return self.length_N > len(self.steps)

    def count(self, reward_N: np.ndarray, playing_N: np.ndarray) -> None:
        """Count the step that was added last: its rewards (N,), and which copies (N,) took it."""
        self.length_N += playing_N
        self.return_N += reward_N

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors."""
        self._forget()
        columns = list(zip(*self.steps, strict=True)) or [(), ()]
        counted = {name: torch.tensor(value) for name, value in vars(self).items() if name != "steps"}
        given, variants = (torch.from_numpy(np.array(column)) for column in columns)
        return {**counted, "given": given, "variants": variants}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``'s answer."""
        for name in vars(self).keys() - {"steps"}:
            getattr(self, name)[:] = state[name].numpy()
        self.steps = deque(zip(state["given"].numpy(), state["variants"].numpy(), strict=True))


def _derived(seed: int, number: int) -> int:
    """The seed itself for 0, else another one within [0, 2**31)."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0] >> 1) if number else seed
