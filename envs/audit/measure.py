"""The audit: which motions are played, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hyperrl.envs.audit.findings import Audit
from hyperrl.envs.audit.pairs import pairs_of
from hyperrl.envs.audit.playing import Budget
from hyperrl.envs.audit.probe import Probe
from hyperrl.envs.family import Family
from hyperrl.envs.physics import PhysicsFamily

Report = Callable[[float], None]

# multiples of 16 copies fill whole vector registers, so that equal rows are rounded equally
_BATCHED = Budget(copies=16, variants=4, values=5, prefixes=(0, 1, 2, 4, 8, 16, 32, 64), follow=16, stretch=120)
_SIMULATED = Budget(copies=4, variants=2, values=3, prefixes=(0, 4, 24), follow=8, stretch=60)
_STATES = 24
"""Least number of states to measure one step at, also if episodes end early."""
_MANY = 20
"""Number of parameters above which each takes two values only."""
_LONGER = (60, 150, 300)
"""Prefixes of the second measurement, for parameters that have changed nothing except at a reset."""


def audit(family: Family, progress: Report | None = None) -> Audit:
    """Change each parameter alone and measure what changes.

    Args:
        family: the task.
        progress: called with the share done, in [0, 1].
    """
    report = progress or (lambda share: None)
    family = family.in_process()
    if family.drift:
        family = replace(family, drift={})
    budget = _budget(family)
    bases_BP = np.concatenate([family.table([{}]), family.variants("train", budget.variants - 1)])
    probe = Probe(family, bases_BP, family.parameters, budget.values, budget.copies)
    deterministic = _look(probe, budget, report)
    _look_again(probe, bases_BP, budget)
    probe.env.close()
    report(0.9)
    effects = {p.name: probe.effect(p) for p in family.parameters}
    acting = [p for p in family.parameters if effects[p.name].acts and not p.distractor]
    pairs = pairs_of(family, bases_BP, acting, budget, probe.single_precision)
    report(1.0)
    return Audit(
        family=family.name,
        parameters=effects,
        pairs=tuple(pairs),
        states=probe.count,
        variants=family.untable(bases_BP),
        deterministic=deterministic,
        not_finite=tuple(name for name in family.names if name in probe.not_finite),
    )


def _budget(family: Family) -> Budget:
    budget = _BATCHED if isinstance(family, PhysicsFamily) and not family.simulated else _SIMULATED
    return budget._replace(values=2) if len(family.parameters) > _MANY else budget


def _look(probe: Probe, budget: Budget, report: Report) -> bool:
    """Measure at many states and at a reset; return whether rows with equal parameters move equally."""
    rounds = [(prefix, budget.stretch if prefix == 0 else budget.follow) for prefix in budget.prefixes]
    steps = budget.stretch * 2 + sum(map(sum, rounds))
    done = itertools.count(1)
    probe.stepped = lambda: report(min(0.8 * next(done) / steps, 0.8))
    deterministic = probe.alike(budget.stretch)
    for seed, (prefix, follow) in enumerate(rounds):
        probe.part(seed, prefix, follow)
    for seed, prefix in enumerate((0, 1, 2, 3), 50):  # if random actions end episodes early
        if probe.count < _STATES:
            probe.part(seed, prefix, budget.follow)
    probe.restart(0, budget.stretch)
    return deterministic


def _look_again(probe: Probe, bases_BP: np.ndarray, budget: Budget) -> None:
    """Measure parameters that have changed nothing, except at a reset, again: after longer prefixes, for more steps."""
    family = probe.family
    idle = [p for p in family.parameters if not (p.distractor or probe.moved[p.name])]
    if not idle:
        return
    again = Probe(family, bases_BP, idle, budget.values, budget.copies)
    longer = [prefix for prefix in _LONGER if prefix < family.max_episode_steps - budget.follow]
    for seed, prefix in enumerate(longer, 100):
        again.part(seed, prefix, 4 * budget.follow)
    again.restart(100, min(family.max_episode_steps, 4 * budget.stretch))
    for p in idle:
        probe.moved[p.name] |= again.moved[p.name]
        probe.moved_from_reset[p.name] |= again.moved_from_reset[p.name]
    probe.not_finite |= again.not_finite
    again.env.close()
