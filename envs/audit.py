"""Whether every declared parameter of a family changes the task: what ``hyperrl audit`` measures.

Each parameter is changed alone, from the same states under the same actions. All variants first live through the same
motion under equal parameters; then the parameters part, and what follows is compared. So a family is asked for
nothing but ``Family.vector``: its state need not be settable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from hyperrl.envs.family import Family, Parameter
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.vector import VariantVectorEnv

TOLERANCE = 1e-12
"""Relative to the largest value at hand: what moves by less has not moved. Room for float64's rounding alone."""
RESIDUAL = 1.5e-3
"""Two sensitivities act as one where what one leaves of the other is below this share: |cos| > 1 - 1e-6."""

Report = Callable[[float], None]


@dataclass(frozen=True)
class Effect:
    """What one parameter, changed alone across its wide range, moves. Numbers are of the value that moves most."""

    next_state: float
    """Median over states of the largest change of the next observation, in standard deviations of that entry over
    the states visited. Of what acts only at a reset this and the next three are of the first step after one."""
    reward: float
    """Mean over states of the absolute change of the reward."""
    termination: float
    """Share of the states from which the episode terminates at another step, among those followed, in [0, 1]."""
    states: float
    """Share of the states where the next observation, the reward or the end of one step changes, in [0, 1]."""
    reset: float
    """As ``next_state``, of the first observation after a reset."""
    acts: bool
    """Whether anything at all moved, in one step or in the steps that follow."""
    acts_only_at_reset: bool
    """Whether it moves nothing until the next reset."""
    distractor: bool
    """Whether it is declared to have no effect."""

    @property
    def passed(self) -> bool:
        """A parameter acts, and a distractor does not."""
        return self.acts != self.distractor


@dataclass(frozen=True)
class Pair:
    """Two parameters that act as one: their sensitivities are collinear at every variant that was tried."""

    parameters: tuple[str, str]
    only: str
    """What alone matters of the two: ``ratio``, ``product``, ``sum``, ``difference`` or another ``combination``."""
    expression: str
    """The same as a formula, such as ``force / mass``; empty where none was recognised."""


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    family: str
    parameters: dict[str, Effect]
    pairs: tuple[Pair, ...]
    states: int
    """States at which each parameter was changed for one step."""
    variants: list[dict[str, float]]
    """Those that the parameters were changed from."""
    deterministic: bool
    """Whether variants with equal parameters move alike. If not, nothing else here says much."""
    not_finite: tuple[str, ...] = field(default=())
    """Parameters within whose wide range an observation or a reward is infinite or not a number."""

    @property
    def passed(self) -> bool:
        """Deterministic, finite, and every parameter does what it is declared to."""
        return self.deterministic and not self.not_finite and all(one.passed for one in self.parameters.values())

    def json(self) -> dict[str, Any]:
        """The audit as plain values, as ``hyperrl audit --json`` writes it."""
        content = asdict(self)
        return {"family": content.pop("family"), "passed": self.passed, **content}


class _Budget(NamedTuple):
    """How much is tried."""

    copies: int
    variants: int
    values: int
    prefixes: tuple[int, ...]
    """Steps under equal parameters before they part, one round each."""
    follow: int
    """Steps after that."""
    stretch: int
    """Steps of the round that parts at the start."""


# copies in sixteens: each variant then fills whole vector registers, and equal rows are rounded alike
_BATCHED = _Budget(16, 4, 5, (0, 1, 2, 4, 8, 16, 32, 64), 16, 120)
_SIMULATED = _Budget(4, 2, 3, (0, 4, 24), 8, 60)
_STATES = 24
"""Fewest states to measure one step at, where episodes that end soon leave fewer."""
_LONGER = (60, 150, 300)
"""Prefixes, in the second look at what seemed to move nothing but at a reset."""


def audit(family: Family, progress: Report | None = None) -> Audit:
    """Change each parameter alone and measure what moves.

    Args:
        family: the task.
        progress: called with the share done, in [0, 1], now and then.
    """
    report = progress or (lambda share: None)
    family = family.in_process()
    if family.drift:
        family = replace(family, drift={})
    budget = _BATCHED if isinstance(family, PhysicsFamily) and not family.simulated else _SIMULATED
    if len(family.parameters) > 20:
        budget = budget._replace(values=2)
    bases_BP = np.concatenate([family.table([{}]), family.variants("train", budget.variants - 1)])
    probe = _Probe(family, bases_BP, family.parameters, budget.values, budget.copies)
    rounds = [(prefix, budget.stretch if prefix == 0 else budget.follow) for prefix in budget.prefixes]
    steps = budget.stretch * 2 + sum(map(sum, rounds))
    done = itertools.count(1)
    probe.stepped = lambda: report(min(0.8 * next(done) / steps, 0.8))
    deterministic = probe.alike(budget.stretch)
    for seed, (prefix, follow) in enumerate(rounds):
        probe.part(seed, prefix, follow)
    for seed, prefix in enumerate((0, 1, 2, 3), 50):  # where random actions end episodes soon
        if probe.count < _STATES:
            probe.part(seed, prefix, budget.follow)
    probe.restart(0, budget.stretch)

    idle = [p for p in family.parameters if not (p.distractor or probe.moved[p.name])]
    if idle:
        last = family.max_episode_steps - budget.follow
        longer = [prefix for prefix in _LONGER if prefix < last]
        again = _Probe(family, bases_BP, idle, budget.values, budget.copies)
        for seed, prefix in enumerate(longer, 100):
            again.part(seed, prefix, 4 * budget.follow)
        again.restart(100, min(family.max_episode_steps, 4 * budget.stretch))
        for p in idle:
            probe.moved[p.name] |= again.moved[p.name]
            probe.moved_from_reset[p.name] |= again.moved_from_reset[p.name]
        probe.not_finite |= again.not_finite
        again.env.close()
    probe.env.close()
    report(0.9)
    effects = {p.name: probe.effect(p) for p in family.parameters}
    acting = [p for p in family.parameters if effects[p.name].acts and not p.distractor]
    pairs = _pairs(family, bases_BP, acting, budget, probe.single_precision)
    report(1.0)
    return Audit(
        family.name,
        effects,
        tuple(pairs),
        probe.count,
        family.untable(bases_BP),
        deterministic,
        tuple(name for name in family.names if name in probe.not_finite),
    )


def _values(parameter: Parameter, count: int) -> np.ndarray:
    """Values across the wide range, both ends included; an angle goes round without meeting its start again."""
    if parameter.period:
        return parameter.wide[0] + parameter.period * np.arange(1, count + 1) / (count + 1)
    return parameter.place(np.linspace(0, 1, count), parameter.wide)


def _actions(family: Family, steps: int, copies: int, seed: int) -> np.ndarray:
    """Actions (S, E) or (S, E, A) over the whole space: some held for a while, every fourth at the ends."""
    rng, space = np.random.default_rng((1, seed)), family.action_space
    hold_E = np.array([1, 1, 4, 4, 16, 16, 64, 64])[np.arange(copies) % 8]
    drawn_SE = np.arange(steps)[:, None] // hold_E, np.arange(copies)
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(int(space.n), size=(steps, copies))[drawn_SE]
    shape = (steps, copies, *space.shape)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    open_ended = ~np.isfinite(high - low)
    normal = rng.normal(size=shape).clip(low, high)
    low, high = np.where(open_ended, 0.0, low), np.where(open_ended, 0.0, high)
    unit = rng.random(shape)
    unit[:, 3::4] = unit[:, 3::4].round()
    return np.where(open_ended, normal, low + (high - low) * unit)[drawn_SE]


class _Step(NamedTuple):
    """One step of all rows: what the actions led to."""

    obs_TEO: np.ndarray
    reward_TE: np.ndarray
    terminated_TE: np.ndarray
    ended_TE: np.ndarray


def _play(env: VariantVectorEnv[Any], actions: np.ndarray) -> Iterator[_Step]:
    """Give every variant the same actions (S, E) or (S, E, A)."""
    shape = (env.num_variants, env.copies)
    for action in actions:
        given = torch.as_tensor(np.broadcast_to(action, (env.num_variants, *action.shape)).copy()).flatten(0, 1)
        _, reward, terminated, truncated, info = env.step(given.to(env.device))
        final = info["final_obs"].cpu().double().numpy().reshape(*shape, -1)
        rest = [x.cpu().numpy().reshape(shape) for x in (reward.double(), terminated, terminated | truncated)]
        yield _Step(final, *rest)


def _change(env: VariantVectorEnv[Any], table_TP: np.ndarray) -> None:
    env.change(torch.as_tensor(table_TP, dtype=env.variants_TP.dtype, device=env.device))


def _start(env: VariantVectorEnv[Any], seed: int) -> np.ndarray:
    obs, _ = env.reset(seed=seed, options={"paired": True})
    return obs.cpu().double().numpy().reshape(env.num_variants, env.copies, -1)


def _differs(left: np.ndarray, right: np.ndarray, scale: Any) -> np.ndarray:
    """Where two arrays differ by more than rounding; not a number equals itself."""
    with np.errstate(invalid="ignore"):
        same = (left == right) | (np.abs(left - right) <= TOLERANCE * scale) | (np.isnan(left) & np.isnan(right))
    return ~same


def _largest(values: np.ndarray, axis: Any = None) -> np.ndarray:
    return np.abs(np.where(np.isfinite(values), values, 0)).max(axis=axis)


class _Probe:
    """Rows that differ from their base variant in one parameter each, and what was seen to move in them.

    Rows are B bases x R, the base itself first, then each parameter's values.
    """

    def __init__(
        self, family: Family, bases_BP: np.ndarray, parameters: Sequence[Parameter], values: int, copies: int
    ) -> None:
        self.family, self.copies, self.values = family, copies, values
        self.rows = {p.name: slice(1 + i * values, 1 + (i + 1) * values) for i, p in enumerate(parameters)}
        self.shape = (len(bases_BP), 1 + values * len(parameters))
        altered_BRP = np.repeat(bases_BP[:, None], self.shape[1], axis=1)
        for p in parameters:
            altered_BRP[:, self.rows[p.name], family.names.index(p.name)] = _values(p, values)
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
        self._measured: list[tuple[np.ndarray, ...]] = []
        self._measured_from_reset: list[tuple[np.ndarray, ...]] = []
        self._at_reset: list[np.ndarray] = []

    def _grouped(self, array_T: np.ndarray) -> np.ndarray:
        """(T, ...) -> (B, R, ...)."""
        return array_T.reshape(*self.shape, *array_T.shape[1:])

    def _compare(self, step: _Step) -> tuple[np.ndarray, ...]:
        """Changes against the base row: observations (B, R, E, O), reward and termination (B, R, E), any (B, R, E)."""
        obs, reward, terminated = (self._grouped(x) for x in step[:3])
        entries = _differs(obs, obs[:, :1], _largest(obs, axis=(0, 1, 2))).any(-1)
        differs = entries | _differs(reward, reward[:, :1], _largest(reward)) | (terminated != terminated[:, :1])
        finite = np.isfinite(obs).all(-1) & np.isfinite(reward)
        for name, rows in self.rows.items():
            if not finite[:, rows].all():
                self.not_finite.add(name)
        with np.errstate(invalid="ignore"):
            return obs - obs[:, :1], reward - reward[:, :1], terminated != terminated[:, :1], differs

    def _see(self, step: _Step, alive_TE: np.ndarray) -> None:
        """Keep what base rows observe, as the measure of a change."""
        obs = self._grouped(step.obs_TEO)[:, 0][self._grouped(alive_TE)[:, 0]]
        obs = obs[np.isfinite(obs).all(-1)]
        self.single_precision &= bool((obs == obs.astype(np.float32)).all())
        self._visited.append(obs)

    def alike(self, steps: int) -> bool:
        """Whether rows with equal parameters move alike for a stretch."""
        _change(self.env, self.base_TP)
        start_TEO = _start(self.env, 0)
        alive_TE = np.ones(start_TEO.shape[:2], dtype=bool)
        same = not _differs(self._grouped(start_TEO), self._grouped(start_TEO)[:, :1], _largest(start_TEO)).any()
        for step in _play(self.env, _actions(self.family, steps, self.copies, 0)):
            *_, differs = self._compare(step)
            same &= not (differs & self._grouped(alive_TE)).any()
            self._see(step, alive_TE)
            alive_TE &= ~step.ended_TE
            self.stepped()
        return same

    def _follow(self, steps: Iterator[_Step], alive_TE: np.ndarray, moved: dict[str, bool]) -> np.ndarray:
        """Watch what moves; return which copies (B, R, E) terminate at another step than their base does."""
        elsewhere = np.zeros((*self.shape, self.copies), dtype=bool)
        for step in steps:
            *_, terminations, differs = self._compare(step)
            differs &= self._grouped(alive_TE)
            elsewhere |= terminations & self._grouped(alive_TE)
            for name, rows in self.rows.items():
                moved[name] |= bool(differs[:, rows].any())
            ended = self._grouped(step.ended_TE)
            alive_TE &= ~(ended | ended[:, :1]).reshape(alive_TE.shape)
            self.stepped()
            if not alive_TE.any():
                break
        return elsewhere

    def _measure(
        self, step: _Step, steps: Iterator[_Step], alive_TE: np.ndarray, moved: dict[str, bool]
    ) -> tuple[np.ndarray, ...]:
        """What one step changes at N states, and whether those that follow it end elsewhere: each (R, N, ...)."""
        states_BE = self._grouped(alive_TE)[:, 0].copy()
        obs, reward, _, differs = self._compare(step)
        elsewhere = self._follow(itertools.chain([step], steps), alive_TE, moved)
        # base and copy become one axis of states
        return tuple(np.swapaxes(change, 0, 1)[:, states_BE] for change in (obs, reward, elsewhere, differs))

    def part(self, seed: int, prefix: int, follow: int) -> None:
        """Part after a prefix under equal parameters, measure one step, and watch some after it."""
        _change(self.env, self.base_TP)
        _start(self.env, seed)
        alive_TE = np.ones((self.env.num_variants, self.copies), dtype=bool)
        actions = _actions(self.family, prefix + follow, self.copies, seed)
        for step in _play(self.env, actions[:prefix]):
            self._see(step, alive_TE)
            alive_TE &= ~step.ended_TE
            self.stepped()
            if not alive_TE.any():
                return
        alive_BE = self._grouped(alive_TE)[:, 0]
        self.count += int(alive_BE.sum())
        _change(self.env, self.altered_TP)
        steps = _play(self.env, actions[prefix:])
        step = next(steps)
        self._see(step, alive_TE)
        self._measured.append(self._measure(step, steps, alive_TE, self.moved))

    def restart(self, seed: int, steps: int) -> None:
        """Part before a reset, measure the first step after it, and watch a stretch."""
        env = self.family.vector(self.altered_TP, self.copies, dtype=torch.float64)
        start = self._grouped(_start(env, seed))
        differs = _differs(start, start[:, :1], _largest(start, axis=(0, 1, 2)))
        for name, rows in self.rows.items():
            self.moved_from_reset[name] |= bool(differs[:, rows].any())
        self._at_reset.append(np.swapaxes(start - start[:, :1], 0, 1).reshape(self.shape[1], -1, start.shape[-1]))
        alive_TE = np.ones((env.num_variants, self.copies), dtype=bool)
        stretch = _play(env, _actions(self.family, steps, self.copies, seed))
        self._measured_from_reset.append(self._measure(next(stretch), stretch, alive_TE, self.moved_from_reset))
        env.close()

    def acts(self, parameter: Parameter) -> bool:
        return self.moved[parameter.name] or self.moved_from_reset[parameter.name]

    def effect(self, parameter: Parameter) -> Effect:
        """What was measured of one parameter."""
        rows = self.rows[parameter.name]
        visited = np.concatenate(self._visited)
        deviation = visited.std(axis=0)
        largest = _largest(visited, 0)
        deviation = np.where(deviation > TOLERANCE * largest, deviation, np.where(largest > 0, largest, 1))
        only_at_reset = self.moved_from_reset[parameter.name] and not self.moved[parameter.name]
        rounds = self._measured_from_reset if only_at_reset else self._measured
        obs, reward, ends, differs = (
            np.concatenate([measured[i][rows] for measured in rounds], axis=1) for i in range(4)
        )
        reset = np.concatenate([change[rows] for change in self._at_reset], axis=1)

        def size(change_VNO: np.ndarray) -> float:
            return float(np.median(_largest(change_VNO / deviation, -1), axis=1).max())

        return Effect(
            next_state=size(obs),
            reward=float(np.abs(np.nan_to_num(reward, posinf=0, neginf=0)).mean(axis=1).max()),
            termination=float(ends.mean(axis=1).max()),
            states=float(differs.mean(axis=1).max()),
            reset=size(reset),
            acts=self.acts(parameter),
            acts_only_at_reset=only_at_reset,
            distractor=parameter.distractor,
        )


def _pairs(
    family: Family, bases_BP: np.ndarray, parameters: Sequence[Parameter], budget: _Budget, single: bool
) -> list[Pair]:
    """Parameters whose sensitivities are collinear at every base variant."""
    if len(parameters) < 2:
        return []
    slopes_BPM, noise_BP = _sensitivities(family, bases_BP, parameters, budget, single)
    found = []
    for i, j in itertools.combinations(range(len(parameters)), 2):
        factors = _factors(slopes_BPM[:, i], slopes_BPM[:, j], noise_BP[:, i], noise_BP[:, j])
        if factors is not None:
            names = parameters[i].name, parameters[j].name
            first_B, second_B = (bases_BP[:, family.names.index(name)] for name in names)
            found.append(Pair(names, *_law(names, first_B, second_B, factors, single)))
    return found


def _factors(first_BM: np.ndarray, second_BM: np.ndarray, *noises_B: np.ndarray) -> np.ndarray | None:
    """The factor by which the first sensitivity is the second, at each base: (B,), NaN where neither acts.

    ``None`` where the two are not collinear somewhere, nowhere act, or are too small to tell from rounding.
    """
    sizes = np.linalg.norm([first_BM, second_BM], axis=-1)
    acts = sizes > 0
    noise_B = np.max(np.divide(noises_B, sizes, out=np.zeros_like(sizes), where=acts), axis=0)
    if (acts[0] != acts[1]).any() or not acts.any() or (noise_B > 0.02).any():
        return None
    acts_B = acts[0]
    dot_B = (first_BM * second_BM).sum(-1)
    factor_B = np.divide(dot_B, sizes[1] ** 2, out=np.full(len(dot_B), np.nan), where=acts_B)
    left_B = np.linalg.norm(first_BM - np.nan_to_num(factor_B)[:, None] * second_BM, axis=-1)
    collinear = left_B <= np.maximum(RESIDUAL, 3 * noise_B) * sizes[0]
    return factor_B if collinear.all() else None


def _law(
    names: tuple[str, str], first_B: np.ndarray, second_B: np.ndarray, factor_B: np.ndarray, single: bool
) -> tuple[str, str]:
    """Which combination of two parameters has derivatives in these proportions at every base."""
    a, b = names
    near = 3e-2 if single else 3e-3
    known = np.isfinite(factor_B)

    def constant(values_B: np.ndarray, value: float) -> bool:
        return bool(np.all(np.abs(values_B - value) <= near * max(abs(value), 1e-3)))

    powers_B = (factor_B * first_B / np.where(second_B == 0, np.nan, second_B))[known]
    powers_B = powers_B[np.isfinite(powers_B) & (powers_B != 0)]
    if len(powers_B):
        if constant(powers_B, -1):
            return "ratio", f"{a} / {b}"
        if constant(powers_B, 1):
            return "product", f"{a} * {b}"
    if constant(factor_B[known], 1):
        return "sum", f"{a} + {b}"
    if constant(factor_B[known], -1):
        return "difference", f"{a} - {b}"
    if len(powers_B) > 1 and constant(powers_B, float(powers_B.mean())):
        return "combination", _power_law(a, b, float(powers_B.mean()), near)
    return "combination", ""


def _power_law(a: str, b: str, power: float, near: float) -> str:
    """``a`` to a power times ``b`` as a formula: in small whole powers, where there are any near."""
    share = Fraction(power).limit_denominator(4)
    top, bottom = abs(share.numerator), share.denominator
    if not 0 < top <= 4 or abs(power - share) > near * abs(share):
        return f"{a}^{power:.3g} * {b}"
    raised = [name if whole == 1 else f"{name}^{whole}" for name, whole in ((a, top), (b, bottom))]
    return f"{raised[0]} {'*' if power > 0 else '/'} {raised[1]}"


def _sensitivities(
    family: Family, bases_BP: np.ndarray, parameters: Sequence[Parameter], budget: _Budget, single: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of observations and rewards after a reset and after prefixes: (B, P, M), and their noise.

    Where the environment answers in float32 the differences are taken over a wider step and more steps, since rounding
    stands for much of a small change there.

    Returns:
        Slopes (B, P, M) per unit of the parameter, and the norm (B, P) that rounding alone may give them.
    """
    share, steps, ulp = (1e-2, 8, 2.0**-24) if single else (1e-4, 3, 2.0**-52)
    count = len(parameters)
    columns = [family.names.index(p.name) for p in parameters]
    ends_BP2R = np.repeat(bases_BP[:, None], 2 * count, axis=1)
    span_BP = np.empty((len(bases_BP), count))
    for i, (p, column) in enumerate(zip(parameters, columns, strict=True)):
        at_B, half = bases_BP[:, column], (p.wide[1] - p.wide[0]) / 2 * share
        low_B = np.maximum(at_B - half, np.minimum(p.wide[0], at_B))
        high_B = np.minimum(at_B + half, np.maximum(p.wide[1], at_B))
        ends_BP2R[:, 2 * i, column], ends_BP2R[:, 2 * i + 1, column] = low_B, high_B
        span_BP[:, i] = high_B - low_B
    ends_TP = ends_BP2R.reshape(-1, bases_BP.shape[1])
    base_TP = np.repeat(bases_BP, 2 * count, axis=0)
    shape = (len(bases_BP), count, 2, budget.copies)
    answers: list[np.ndarray] = []

    def keep(answer_TEM: np.ndarray, alive_BE: np.ndarray) -> None:
        answers.append(np.where(alive_BE[:, None, None, :, None], answer_TEM.reshape(*shape, -1), 0.0))

    def follow(env: VariantVectorEnv[Any], actions: np.ndarray, alive_BE: np.ndarray) -> None:
        for step in _play(env, actions):
            keep(np.concatenate([step.obs_TEO, step.reward_TE[..., None]], axis=-1), alive_BE)
            alive_BE = alive_BE & ~step.ended_TE.reshape(len(bases_BP), -1, budget.copies).any(1)

    everyone = np.ones((len(bases_BP), budget.copies), dtype=bool)
    env = family.vector(ends_TP, budget.copies, dtype=torch.float64)
    start_TEO = _start(env, 200)
    keep(np.concatenate([start_TEO, np.zeros((*start_TEO.shape[:2], 1))], axis=-1), everyone)
    follow(env, _actions(family, steps, budget.copies, 200), everyone)
    env.close()
    within = family.vector(base_TP, budget.copies, dtype=torch.float64)
    for seed, prefix in enumerate(budget.prefixes[1:], 201):
        _change(within, base_TP)
        _start(within, seed)
        actions = _actions(family, prefix + steps, budget.copies, seed)
        alive_BE = everyone
        for step in _play(within, actions[:prefix]):
            alive_BE = alive_BE & ~step.ended_TE.reshape(len(bases_BP), -1, budget.copies).any(1)
        if not alive_BE.any():
            continue
        _change(within, ends_TP)
        follow(within, actions[prefix:], alive_BE)
    within.close()
    answers_BP2EM = np.nan_to_num(np.concatenate(answers, axis=3), posinf=0, neginf=0)
    scale_M = answers_BP2EM.std(axis=(0, 1, 2, 3))
    answers_BP2EM = answers_BP2EM / np.where(scale_M > 0, scale_M, 1)
    flat_BP2M = answers_BP2EM.reshape(*shape[:3], -1)
    slopes_BPM = (flat_BP2M[:, :, 1] - flat_BP2M[:, :, 0]) / span_BP[..., None]
    noise_BP = ulp * np.linalg.norm(flat_BP2M[:, :, 0], axis=-1) / span_BP
    return slopes_BPM, noise_BP
