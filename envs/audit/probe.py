"""Rows of variants that differ in one parameter each, and the changes observed in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from hyperrl.envs.audit.findings import Effect
from hyperrl.envs.audit.playing import TOLERANCE, Step, actions_of, apart, begin, largest_size, play, put
from hyperrl.envs.family import Family
from hyperrl.envs.finite import require_finite
from hyperrl.envs.parameter import Parameter
from hyperrl.envs.vector import VariantVectorEnv


def values_of(parameter: Parameter, count: int) -> np.ndarray:
    """Values across the wide range, both ends included; of an angle, within one turn without its ends."""
    if parameter.period:
        return parameter.wide[0] + parameter.period * np.arange(1, count + 1) / (count + 1)
    return parameter.place(np.linspace(0, 1, count), parameter.wide)


class Change(NamedTuple):
    """Difference of one step from the base row."""

    obs_BREO: np.ndarray
    reward_BRE: np.ndarray
    terminated_BRE: np.ndarray
    any_BRE: np.ndarray
    """Whether any of the three changes by more than rounding."""


class Measured(NamedTuple):
    """Changes of one step at N states, and which episodes terminate at another step."""

    obs_RNO: np.ndarray
    reward_RN: np.ndarray
    elsewhere_RN: np.ndarray
    any_RN: np.ndarray


class Probe:
    """Rows that differ from their base variant in one parameter each, and the changes observed in them.

    Rows are B bases x R, the base itself first, then each parameter's values.

    Raises:
        InputError: from any measurement, where an observation or a reward of a base is not finite.
    """

    def __init__(
        self, family: Family, bases_BP: np.ndarray, parameters: Sequence[Parameter], values: int, copies: int
    ) -> None:
        self.family, self.bases_BP, self.copies, self.values = family, bases_BP, copies, values
        self.rows = {p.name: slice(1 + i * values, 1 + (i + 1) * values) for i, p in enumerate(parameters)}
        self.shape = (len(bases_BP), 1 + values * len(parameters))
        altered_BRP = np.repeat(bases_BP[:, None], self.shape[1], axis=1)
        for p in parameters:
            altered_BRP[:, self.rows[p.name], family.names.index(p.name)] = values_of(p, values)
        self.base_TP = np.repeat(bases_BP, self.shape[1], axis=0)
        self.altered_TP = altered_BRP.reshape(self.base_TP.shape)
        self.env = family.vector(self.base_TP, copies, dtype=torch.float64)
        self.moved = dict.fromkeys(self.rows, False)
        self.moved_from_reset = dict.fromkeys(self.rows, False)
        self.not_finite: set[str] = set()
        self.single_precision = True
        self.count = 0
        self.stepped: Callable[[], None] = lambda: None
        self._visited: list[np.ndarray] = []
        self._measured: list[Measured] = []
        self._measured_from_reset: list[Measured] = []
        self._at_reset: list[np.ndarray] = []

    def _grouped(self, array_T: np.ndarray) -> np.ndarray:
        """(T, ...) -> (B, R, ...)."""
        return array_T.reshape(*self.shape, *array_T.shape[1:])

    def _begin(self, env: VariantVectorEnv[Any], seed: int) -> np.ndarray:
        """Start every row from the same draws; observations (B, R, E, O)."""
        start = self._grouped(begin(env, seed))
        self._require_finite("an observation of a start", start)
        return start

    def _require_finite(self, what: str, numbers: np.ndarray) -> None:
        """See that the base rows are finite in (B, R, ...); also adds to ``not_finite``."""
        require_finite(self.family, what, numbers[:, 0], self.bases_BP)
        for name, rows in self.rows.items():
            if not np.isfinite(numbers[:, rows]).all():
                self.not_finite.add(name)

    def _compare(self, step: Step) -> Change:
        """Difference of a step from the base row; also adds to ``not_finite``."""
        obs, reward = self._grouped(step.obs_TEO), self._grouped(step.reward_TE)
        terminated = self._grouped(step.terminated_TE)
        ends = terminated != terminated[:, :1]
        entries = apart(obs, obs[:, :1], largest_size(obs, axis=(0, 1, 2))).any(-1)
        moved = entries | apart(reward, reward[:, :1], largest_size(reward)) | ends
        self._require_finite("an observation", np.where(terminated[..., None], 0.0, obs))
        self._require_finite("a reward", reward)
        with np.errstate(invalid="ignore"):
            return Change(obs - obs[:, :1], reward - reward[:, :1], ends, moved)

    def _see(self, step: Step, alive_TE: np.ndarray) -> None:
        """Store observations of the base rows, whose deviations are the unit of a change."""
        obs = self._grouped(step.obs_TEO)[:, 0][self._grouped(alive_TE)[:, 0]]
        obs = obs[np.isfinite(obs).all(-1)]
        self.single_precision &= bool((obs == obs.astype(np.float32)).all())
        self._visited.append(obs)

    def alike(self, steps: int) -> bool:
        """Whether rows with equal parameters move equally for so many steps."""
        put(self.env, self.base_TP)
        start = self._begin(self.env, 0)
        alive_TE = np.ones((self.env.num_variants, self.copies), dtype=bool)
        same = not apart(start, start[:, :1], largest_size(start)).any()
        for step in play(self.env, actions_of(self.family, steps, self.copies, 0)):
            same &= not (self._compare(step).any_BRE & self._grouped(alive_TE)).any()
            self._see(step, alive_TE)
            alive_TE &= ~step.ended_TE
            self.stepped()
        return same

    def _follow(self, steps: Iterator[Step], alive_TE: np.ndarray, moved: dict[str, bool]) -> np.ndarray:
        """Record changes; return which copies (B, R, E) terminate at another step than their base."""
        elsewhere = np.zeros((*self.shape, self.copies), dtype=bool)
        for step in steps:
            change, alive = self._compare(step), self._grouped(alive_TE)
            elsewhere |= change.terminated_BRE & alive
            for name, rows in self.rows.items():
                moved[name] |= bool((change.any_BRE & alive)[:, rows].any())
            ended = self._grouped(step.ended_TE)
            alive_TE &= ~(ended | ended[:, :1]).reshape(alive_TE.shape)
            self.stepped()
            if not alive_TE.any():
                break
        return elsewhere

    def _measure(self, step: Step, steps: Iterator[Step], alive_TE: np.ndarray, moved: dict[str, bool]) -> Measured:
        """Measure one step, and follow those after it."""
        states_BE = self._grouped(alive_TE)[:, 0].copy()
        change = self._compare(step)
        elsewhere = self._follow(itertools.chain([step], steps), alive_TE, moved)

        def at_states(array: np.ndarray) -> np.ndarray:
            """(B, R, E, ...) -> (R, N, ...): base and copy become one axis of states."""
            return np.swapaxes(array, 0, 1)[:, states_BE]

        return Measured(
            at_states(change.obs_BREO), at_states(change.reward_BRE), at_states(elsewhere), at_states(change.any_BRE)
        )

    def part(self, seed: int, prefix: int, follow: int) -> None:
        """Change parameters after a prefix with equal ones, measure one step, and compare the steps after it."""
        put(self.env, self.base_TP)
        self._begin(self.env, seed)
        alive_TE = np.ones((self.env.num_variants, self.copies), dtype=bool)
        actions = actions_of(self.family, prefix + follow, self.copies, seed)
        for step in play(self.env, actions[:prefix]):
            self._see(step, alive_TE)
            alive_TE &= ~step.ended_TE
            self.stepped()
            if not alive_TE.any():
                return
        alive_BE = self._grouped(alive_TE)[:, 0]
        self.count += int(alive_BE.sum())
        put(self.env, self.altered_TP)
        steps = play(self.env, actions[prefix:])
        step = next(steps)
        self._see(step, alive_TE)
        self._measured.append(self._measure(step, steps, alive_TE, self.moved))

    def restart(self, seed: int, steps: int) -> None:
        """Change parameters before a reset, measure the first step after it, and compare the steps after that."""
        env = self.family.vector(self.altered_TP, self.copies, dtype=torch.float64)
        start = self._begin(env, seed)
        moved = apart(start, start[:, :1], largest_size(start, axis=(0, 1, 2)))
        for name, rows in self.rows.items():
            self.moved_from_reset[name] |= bool(moved[:, rows].any())
        self._at_reset.append(np.swapaxes(start - start[:, :1], 0, 1).reshape(self.shape[1], -1, start.shape[-1]))
        alive_TE = np.ones((env.num_variants, self.copies), dtype=bool)
        stretch = play(env, actions_of(self.family, steps, self.copies, seed))
        self._measured_from_reset.append(self._measure(next(stretch), stretch, alive_TE, self.moved_from_reset))
        env.close()

    def acts(self, parameter: Parameter) -> bool:
        """Whether anything changed."""
        return self.moved[parameter.name] or self.moved_from_reset[parameter.name]

    def effect(self, parameter: Parameter) -> Effect:
        """The measured effect of one parameter."""
        rows = self.rows[parameter.name]
        visited = np.concatenate(self._visited)
        deviation = visited.std(axis=0)
        largest = largest_size(visited, 0)
        deviation = np.where(deviation > TOLERANCE * largest, deviation, np.where(largest > 0, largest, 1))
        only_at_reset = self.moved_from_reset[parameter.name] and not self.moved[parameter.name]
        rounds = self._measured_from_reset if only_at_reset else self._measured
        columns = zip(*rounds, strict=True)
        measured = Measured(*(np.concatenate([array[rows] for array in column], axis=1) for column in columns))
        reset = np.concatenate([change[rows] for change in self._at_reset], axis=1)

        def size(change_VNO: np.ndarray) -> float:
            return float(np.median(largest_size(change_VNO / deviation, -1), axis=1).max())

        return Effect(
            next_state=size(measured.obs_RNO),
            reward=float(np.abs(np.nan_to_num(measured.reward_RN, posinf=0, neginf=0)).mean(axis=1).max()),
            termination=float(measured.elsewhere_RN.mean(axis=1).max()),
            states=float(measured.any_RN.mean(axis=1).max()),
            reset=size(reset),
            acts=self.acts(parameter),
            acts_only_at_reset=only_at_reset,
            distractor=parameter.distractor,
        )
