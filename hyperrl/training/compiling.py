"""Compiling the functions in which a training spends its time, where that pays."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import torch

from hyperrl.agents import Agent
from hyperrl.config import Config
from hyperrl.envs import Family
from hyperrl.envs.errors import one_line
from hyperrl.play.collect import at_once

EARNED = 100_000
"""Environment steps of all copies at once and minibatches together, from which on compiling takes less time than it
saves, with a margin of a third over what benchmarks/compile.py found on one core."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def reason_against(config: Config, family: Family, device: torch.device, agent: Agent) -> str:
    """Why the functions of a training on a device are not compiled, in a few words; empty where they are."""
    if config.compile == "off":
        return "as asked"
    if agent.state_size:
        return "the agent has a state"
    if not shutil.which(os.environ.get("CXX", "g++")):
        return "there is no C++ compiler here"
    calls = config.iterations * (config.epochs * config.minibatches + config.rollout * of_tensors(family))
    if config.compile == "auto" and calls < EARNED:
        return "the run is too short to earn it"
    return ""


def of_tensors(family: Family) -> bool:
    """Whether a family is played by functions of tensors, which can be compiled."""
    return at_once(family) and not family.simulated


class Compiled(Generic[Given, Answer]):
    """A function of tensors that is compiled when it is first called, and stays as it is where that fails."""

    def __init__(self, function: Callable[Given, Answer]) -> None:
        self._function = function
        self._compiled: Callable[Given, Answer] | None = None

    @property
    def compiled(self) -> bool:
        """Whether it has been called, and compiled."""
        return self._compiled not in (None, self._function)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """The function's answer, within float tolerance."""
        try:
            if self._compiled is not None:
                return self._compiled(*args, **kwargs)
            self._compiled = _compile(self._function)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"torch\._inductor")  # advice to its developers
                return self._compiled(*args, **kwargs)
        except Exception as error:
            if self._compiled is self._function:
                raise
            self._compiled = self._function
            warnings.warn(f"not compiled: {one_line(error)}", stacklevel=2)
            return self._function(*args, **kwargs)


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperrl" / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes that outlive an interrupted run
    return torch.compile(function, fullgraph=True, dynamic=False)
