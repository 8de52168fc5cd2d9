"""Collecting the next rollout while an update computes.

The policy that acts is one update old, never more: the agent as it was before the update that runs meanwhile. The
rollout holds its probabilities, so that the objective's ratios are to the policy that acted (the policy lag of Espeholt
et al., "IMPALA", 2018). Which of both ends first changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch

from hyperrl.agents import Agent
from hyperrl.config import Config
from hyperrl.envs import Family
from hyperrl.play.rollout import Rollout


def collects_ahead(config: Config, family: Family) -> bool:
    """Whether a training collects ahead: as asked, or where the family's simulator runs outside the interpreter."""
    return config.ahead == "on" or (config.ahead == "auto" and family.outside)


class Ahead:
    """The agent that acts, the rollout that is collected ahead, and the thread that does it."""

    def __init__(self, agent: Agent) -> None:
        self.acting = copy.deepcopy(agent).requires_grad_(False)
        self._spare: Rollout | None = None
        self._next: Future[Rollout] | None = None
        self._thread = ThreadPoolExecutor(1, "collecting")

    def take(self) -> Rollout | None:
        """The rollout that was collected ahead, once.

        Raises:
            Exception: what went wrong while it was collected.
        """
        found, self._next = self._next, None
        return None if found is None else found.result()

    def other(self, rollout: Rollout) -> Rollout:
        """Buffers besides those of a rollout, which are still read; the two take turns."""
        spare = self._spare or Rollout(*(torch.empty_like(buffer) for buffer in rollout))
        self._spare = rollout
        return spare

    def follow(self, agent: Agent) -> None:
        """Let a copy of the agent as it is now act."""
        self.acting.load_state_dict(agent.state_dict())

    @contextmanager
    def collecting(self, agent: Agent, collect: Callable[[], Rollout]) -> Iterator[None]:
        """Collect with the agent as it is now; at the end, wait until the rollout is there."""
        self.follow(agent)
        self._next = self._thread.submit(collect)
        try:
            yield
        finally:
            wait([self._next])

    def drop(self) -> None:
        """Forget what was collected."""
        self._next = None

    def close(self) -> None:
        """Wait for the thread, and end it."""
        self._thread.shutdown()

    def state_dict(self) -> dict[str, torch.Tensor] | None:
        """The rollout that was collected; nothing where there is none, or where it failed."""
        if self._next is None or self._next.exception():
            return None
        return self._next.result()._asdict()

    def load_state_dict(self, state: dict[str, Any] | None, buffers: Rollout) -> None:
        """Go on from ``state_dict``'s answer, which is copied into the buffers."""
        self._next = None
        if state is None:
            return
        for name, buffer in buffers._asdict().items():
            buffer.copy_(state[name])
        self._next = Future()
        self._next.set_result(buffers)
