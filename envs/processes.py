"""Processes of environments: Ctrl-C, which reaches all of them, ends none; one that dies ends all of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gymnasium.vector import AsyncVectorEnv

from hyperrl.envs.errors import InputError


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C; processes started meanwhile go on ignoring it, so that this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Processes(AsyncVectorEnv):
    """A process for each copy. One that has been killed is an error of one line, where Gymnasium may wait for ever."""

    def step(self, actions: Any) -> Any:
        """As every vector environment."""
        with self._all_alive():
            return super().step(actions)

    def reset(self, **settings: Any) -> Any:
        """As every vector environment."""
        with self._all_alive():
            return super().reset(**settings)

    def set_attr(self, name: str, values: Any) -> None:
        """As every vector environment."""
        with self._all_alive():
            super().set_attr(name, values)

    @contextmanager
    def _all_alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError):
            for process in self.processes:
                process.terminate()
                process.join()
            self.closed = True
            raise InputError(
                f"processes={self.num_envs}: that of an environment died; free memory if it ran out, and resume"
            ) from None
