"""Results of an audit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Effect:
    """Effects of one parameter, changed alone across its wide range; numbers are for the value with the largest."""

    next_state: float
    """Median over states of the largest change of an entry of the next observation, in standard deviations of that
    entry over the states visited. If the parameter acts only at a reset, this and the next three are for the first step
    after one."""
    reward: float
    """Mean over states of the absolute change of the reward."""
    termination: float
    """Share of the states from which the episode terminates at another step, among those followed, in [0, 1]."""
    states: float
    """Share of the states where the next observation, the reward or the end of one step changes, in [0, 1]."""
    reset: float
    """As ``next_state``, for the first observation after a reset."""
    acts: bool
    """Whether anything changed, in one step or in the steps after it."""
    acts_only_at_reset: bool
    """Whether nothing changes until the next reset."""
    distractor: bool
    """Whether it is declared to have no effect."""

    @property
    def passed(self) -> bool:
        """A parameter acts, and a distractor does not."""
        return self.acts != self.distractor


@dataclass(frozen=True)
class Pair:
    """Two parameters that act as one: their sensitivities are collinear at every variant tried."""

    parameters: tuple[str, str]
    only: str
    """On what the motion depends: ``ratio``, ``product``, ``sum``, ``difference`` or another ``combination``."""
    expression: str
    """The same as a formula, such as ``force / mass``; empty if none was recognised."""


@dataclass(frozen=True)
class Audit:
    """Results of an audit."""

    family: str
    parameters: dict[str, Effect]
    pairs: tuple[Pair, ...]
    states: int
    """States at which each parameter was changed for one step."""
    variants: list[dict[str, float]]
    """Variants from which the parameters were changed."""
    deterministic: bool
    """Whether variants with equal parameters move equally. If not, the other results mean little."""
    not_finite: tuple[str, ...] = field(default=())
    """Parameters with an infinite or undefined observation or reward within their wide range."""

    @property
    def passed(self) -> bool:
        """Deterministic, finite, every parameter acts and no distractor does."""
        return self.deterministic and not self.not_finite and all(one.passed for one in self.parameters.values())

    def json(self) -> dict[str, Any]:
        """The audit as plain values, as ``hyperrl audit --json`` writes it."""
        content = asdict(self)
        return {"family": content.pop("family"), "passed": self.passed, **content}
