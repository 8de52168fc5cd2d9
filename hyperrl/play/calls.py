"""What a training asks to be computed, and who computes it: its own driver, or one for many trainings at once.

A training is a generator that yields calls of pure functions and is sent their answers. All else it does itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.agents.adam import gradient_of
from hyperrl.agents.losses.objective import Terms

Answer = TypeVar("Answer")


class Call(NamedTuple):
    """A function of an agent and of tensors, which changes neither."""

    function: Callable[..., Any]
    agent: Agent
    arguments: tuple[Any, ...]
    """After the agent; tensors, in nested tuples and dictionaries or not, and what is the same in every run."""
    learns: bool = False
    """Whether the answer is ``Learned``: the function's are the terms of a loss, and its gradient is wanted too."""


class Learned(NamedTuple):
    """The terms of a loss and its gradient."""

    terms: Terms
    gradient: list[Tensor]
    """For each of the agent's parameters."""
    norm: Tensor
    """Of the whole gradient, a scalar."""


Asking = Generator[Call, Any, Answer]
"""What yields calls and is sent their answers, and returns something at its end."""


def computed(call: Call) -> Any:
    """The answer to a call."""
    with torch.set_grad_enabled(call.learns):
        found = call.function(call.agent, *call.arguments)
        return Learned(found, *gradient_of(found.loss, list(call.agent.parameters()))) if call.learns else found


def alone(asking: Asking[Answer]) -> Answer:
    """Answer each call by itself, up to the end."""
    answer: Any = None
    try:
        while True:
            call = asking.send(answer)
            try:
                answer = computed(call)
            except Exception as error:
                call = asking.throw(error)
                raise AssertionError("a call that failed was followed by another") from error
    except StopIteration as end:
        result: Answer = end.value
        return result
