"""Every setting of a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

from hyperrl.envs import InputError


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    if not _number(value).is_integer():
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _widths(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return tuple(map(_whole, value))


KINDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "str": ("a string", _text),
    "tuple[int, ...]": ("a list of whole numbers", _widths),
}
"""Annotation -> what it asks for, and what makes such a value of equal ones: 4e5 counts as whole, 1 as a number."""


MOST: Mapping[str, int] = {
    "steps": 10**12,
    "variants": 10**6,
    "copies": 10**6,
    "rollout": 10**6,
    "epochs": 1000,
    "minibatches": 10**6,
    "evaluations": 10**6,
    "threads": 1024,
}
"""Of each count: more than that is years."""
LARGEST = 1e6
"""Of rates and coefficients: far from where float32 overflows."""
MOST_LAYERS, MOST_WIDTH = 64, 2**16
NUMBERS = 2**29
"""Held at once of one kind at the most: 2 GiB of float32, which optimiser and gradients multiply."""


def _weights(widths: tuple[int, ...]) -> int:
    """Weights and biases between layers of these widths, behind one input."""
    return sum(width * (before + 1) for before, width in zip((1, *widths), widths, strict=False))


@dataclass(frozen=True)
class Config:
    """Settings of one run; a family's tuned ones replace these defaults, and a user's replace both.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    family: str
    """Registered name, module:attribute, or path to a Python file that defines `family`."""
    agent: str = "hyper"
    """Name of an arm, see hyperrl.agents.ARMS."""
    seed: int = 0
    """Of everything random."""
    steps: int = 500_000
    """Environment steps in all, rounded up to whole iterations; the encoder takes further ones."""
    variants: int = 32
    """T, variants trained on at a time."""
    copies: int = 8
    """E, copies of each variant."""
    rollout: int = 32
    """S, steps of each copy between two updates."""
    lifetime: float = 2.0
    """Episodes' worth of steps after which a variant gives way to a freshly drawn one."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Updates a pass, a divisor of copies x rollout; every one holds the same number of samples of every variant."""
    gamma: float = 0.99
    """Discount a step."""
    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation."""
    learning_rate: float = 1e-3
    """Of Adam at the beginning; falls linearly to 0, and below that where the policy changes too fast."""
    clip: float = 0.2
    """Largest change of an action's probability ratio that pays."""
    target_kl: float = 0.01
    """KL divergence from the rollout's policy that an update is held near by a lower learning rate; beyond 4 times
    this, the rest of the update is void."""
    value_coef: float = 0.5
    """Weight of the value error."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    weight_norm_coef: float = 0.0
    """Weight of the mean squared norm of the generated weights."""
    diversity_coef: float = 0.0
    """Weight of a bonus on the variance of the generated weights across variants; of several processes, across those of
    each."""
    max_grad_norm: float = 0.5
    """Largest norm of a gradient."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of policy and value network."""
    activation: str = "tanh"
    """Of policy and value network: tanh, relu, silu or elu."""
    generator_hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers of the network that reads the context."""
    log_std: float = 0.0
    """Initial logarithm of the deviation of continuous actions, in half-ranges of the action space."""
    evaluations: int = 10
    """How often the held-out variants are played during training; the last time is at its end."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    ahead: str = "auto"
    """on, off, or auto: whether the next rollout is collected while an update computes, by the policy as it was before
    that update; auto, where the family is simulated outside Python's interpreter."""
    compile: str = "auto"
    """on, off, or auto: whether the functions of training are compiled, which takes up to a minute and makes the rest
    of a run faster; auto, where the run is long enough to earn that back."""
    threads: int = 1
    """Of PyTorch on the CPU. More speed up a run that is alone, by a third on two cores, and slow down everything on a
    machine that is busy, since they wait actively for each other."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            kind, convert = KINDS[str(setting.type)]
            try:
                object.__setattr__(self, setting.name, convert(getattr(self, setting.name)))
            except (TypeError, ValueError, OverflowError):
                self._require(setting.name, kind, False)
        for name, most in MOST.items():
            self._require(name, f"1 or more, at most {most}", 1 <= getattr(self, name) <= most)
        for name in ("gamma", "gae_lambda"):
            self._require(name, "within [0, 1]", 0 <= getattr(self, name) <= 1)
        self._require("lifetime", "above 0 and at most 1000000", 0 < self.lifetime <= 1e6)
        for name in ("learning_rate", "clip", "target_kl", "max_grad_norm"):
            self._require(name, f"finite, above 0 and at most {LARGEST:.0e}", 0 < getattr(self, name) <= LARGEST)
        for name in ("value_coef", "entropy_coef", "weight_norm_coef", "diversity_coef"):
            self._require(name, f"finite, 0 or more and at most {LARGEST:.0e}", 0 <= getattr(self, name) <= LARGEST)
        self._require("log_std", "finite, within [-20, 20]", -20 <= self.log_std <= 20)
        for name in ("ahead", "compile"):
            self._require(name, "auto, on or off", getattr(self, name) in ("auto", "on", "off"))
        self._require("seed", "within [0, 2**32)", 0 <= self.seed < 2**32)
        for name in ("hidden", "generator_hidden"):
            widths = getattr(self, name)
            bound = f"one or more widths of 1 or more, at most {MOST_WIDTH} each and {MOST_LAYERS} of them"
            within = min(widths, default=0) > 0 and max(widths, default=0) <= MOST_WIDTH
            self._require(name, bound, within and len(widths) <= MOST_LAYERS)
        self._check_memory()
        samples = self.copies * self.rollout
        even = samples % self.minibatches == 0
        self._require("minibatches", f"a divisor of copies x rollout = {samples}, for even minibatches", even)

    def _check_memory(self) -> None:
        """Whether one iteration's steps, the generator and what it generates can be held in memory."""
        bound = f"at most {NUMBERS // 4} steps an iteration, variants x copies x rollout"
        largest = max(("variants", "copies", "rollout"), key=lambda name: getattr(self, name))
        self._require(largest, bound, self.iteration_steps <= NUMBERS // 4)
        self._require(
            "generator_hidden", f"layers of at most {NUMBERS} weights", _weights(self.generator_hidden) <= NUMBERS
        )
        columns = self.generator_hidden[-1] + self.variants
        most = f"layers of at most {NUMBERS // columns} weights for {self.variants} variants"
        self._require("hidden", most, 2 * _weights(self.hidden) * columns <= NUMBERS)

    def _require(self, name: str, bound: str, holds: bool) -> None:
        if not holds:
            raise InputError(f"{name}={getattr(self, name)!r}: must be {bound}; choose another value")

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration."""
        return self.variants * self.copies * self.rollout

    @property
    def iterations(self) -> int:
        """Iterations in all."""
        return -(-self.steps // self.iteration_steps)

    @property
    def evaluated(self) -> set[int]:
        """Iterations after which the held-out variants are played."""
        return {round((i + 1) * self.iterations / self.evaluations) for i in range(self.evaluations)}

    @property
    def longest(self) -> int:
        """Steps of a held-out episode at most: as many as each copy plays in all of the training, or 1,000."""
        return max(1000, self.steps // (self.variants * self.copies))

    def updated(self, changes: Mapping[str, Any]) -> Config:
        """The same settings with some of them changed.

        Raises:
            InputError: a setting is unknown.
        """
        known = {setting.name for setting in fields(self)}
        for name in changes:
            if name not in known:
                raise InputError(f"{name}: unknown setting; choose from {', '.join(sorted(known))}")
        return replace(self, **changes)
