"""Parameters that change within an episode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from hyperrl.envs.errors import InputError, number
from hyperrl.envs.parameter import Parameter


@dataclass(frozen=True)
class Walk:
    """A random walk: every step adds a normal draw, reflected at the ends of the training range and of its gap.

    A variant that starts outside the training range walks between its start and the range's far end. If there is a gap,
    a value keeps the sign of its start; a parameter that is -1 or 1 only does not change.

    Raises:
        InputError: the deviation is not above 0 and at most 1.
    """

    deviation: float
    """Standard deviation of one step, in half-ranges of the parameter's training range."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "deviation", number("drift", self.deviation))
        if not 0 < self.deviation <= 1:
            raise InputError(
                f"drift={self.deviation}: must be above 0 and at most 1 half-range a step; 0.01 is a slow one"
            )

    def __call__(
        self, now_T: Tensor, start_T: Tensor, step_T: Tensor, normal_T: Tensor, parameter: Parameter
    ) -> Tensor:
        """Values (T,) one step on."""
        low, high = parameter.train
        walked_T = now_T + self.deviation * (high - low) / 2 * normal_T
        if parameter.period:
            return low + (walked_T - low) % parameter.period
        low_T, high_T = start_T.clamp(max=low), start_T.clamp(min=high)
        if parameter.gap:
            low_T = torch.where(start_T < 0, low_T, start_T.clamp(max=parameter.gap))
            high_T = torch.where(start_T < 0, start_T.clamp(min=-parameter.gap), high_T)
        reflected_T = torch.where(walked_T < low_T, 2 * low_T - walked_T, walked_T)
        reflected_T = torch.where(reflected_T > high_T, 2 * high_T - reflected_T, reflected_T)
        return reflected_T.clamp(low_T, high_T)


@dataclass(frozen=True)
class Schedule:
    """A function of the start and of the steps since: ``Schedule(lambda start, step: start * 0.999**step)``.

    Steps count from 0 to ``max_episode_steps - 1`` and then from 0 again, also if copies start anew in between:
    ``Family.check`` therefore tries every step.

    Raises:
        InputError: it is not a function.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    """(values (T,) at the start, steps (T,) since then) -> values (T,), within the parameter's bounds."""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"drift={self.function!r}: must be a function (start, step) -> values")

    def __call__(
        self, now_T: Tensor, start_T: Tensor, step_T: Tensor, normal_T: Tensor, parameter: Parameter
    ) -> Tensor:
        """Values (T,) after so many steps."""
        return self.function(start_T, step_T)


Drift = Mapping[str, Walk | Schedule]
"""Parameter name -> how it changes from one step to the next."""


class Drifting(Protocol):
    """The part of a family that drift reads."""

    @property
    def name(self) -> str:
        """Name, for error messages."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the columns of (T, P)."""

    @property
    def changeable(self) -> tuple[str, ...]:
        """Names of the parameters that may change within an episode."""

    @property
    def drift(self) -> Drift:
        """Parameter name -> how it changes."""

    @property
    def max_episode_steps(self) -> int:
        """Steps after which schedules begin anew."""


AnyDrifting = TypeVar("AnyDrifting", bound=Drifting)


def drifted(family: Drifting, now_TP: Tensor, start_TP: Tensor, step_T: Tensor, normal_TP: Tensor) -> Tensor:
    """Parameters (T, P) one step on.

    Args:
        family: family with ``drift``.
        now_TP: parameters now.
        start_TP: parameters that the drift began with.
        step_T: steps since then, this one included; schedules begin anew every ``max_episode_steps``.
        normal_TP: standard normal draws.
    """
    columns, step_T = list(now_TP.unbind(1)), (step_T % family.max_episode_steps).to(now_TP.dtype)
    for i, parameter in enumerate(family.parameters):
        if parameter.name in family.drift:
            change = family.drift[parameter.name]
            columns[i] = change(now_TP[:, i], start_TP[:, i], step_T, normal_TP[:, i], parameter)
    return torch.stack(columns, dim=1)


def walking(family: AnyDrifting, deviation: float) -> AnyDrifting:
    """The family with a random walk of every parameter that can drift; with a deviation of 0, without drift.

    Args:
        family: any family; its ``drift`` is replaced.
        deviation: standard deviation of one step, in half-ranges of each parameter's training range.

    Raises:
        InputError: the deviation is below 0 or above 1, or no parameter can drift.
    """
    if deviation and not family.changeable:
        raise InputError(
            f"drift={deviation}: no parameter of family {family.name!r} can change within an episode; leave drift out"
        )
    drift = {name: Walk(deviation) for name in family.changeable} if deviation else {}
    return cast(AnyDrifting, replace(cast(Any, family), drift=drift))
