"""dm_control's cheetah: run along the x axis on two legs with six motors.

``run`` equals ``dm_control.suite.cheetah.run``; ``length`` scales every part of both legs, and ``run_signed`` is the
task of the actuator-inversion benchmark (``hyperrl.envs.aib``), where the variant says which way the motors turn.

``speed``, ``torso`` and ``speed_torso`` are the tasks of HyperZero (Rezaei-Shoshtari et al., AAAI 2023) and HyPoGen
(Ren et al., ICLR 2025): which speed is asked for, backwards where it is negative, and half the length of the torso.
They pay like ``run`` with the speed asked for in place of 10 m/s. Speeds, and lengths beside them, are those of the
commands that HyperZero published. Negative speeds and the lengths of ``torso`` are not in them, and HyPoGen draws its
training variants at random, so that variants here are not those of its table. The mass is 14 kg, whatever the lengths.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.dm_control import STEPS, SuiteSimulation, linear
from hyperrl.envs.mujoco import show
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

RUN_SPEED = 10.0  # m/s
SETTLING = 200  # steps of 10 ms before an episode
# The state is 9 positions, 9 velocities, 9 of the solver's, and the speed of the body's centre of mass (m/s).
POSITIONS, JOINTS = 9, slice(3, 9)
BUT_X, SPEED = slice(1, 18), -1
"""All positions and velocities but the position along x; the speed along x."""
LOW, HIGH = np.radians(np.array([[-30.0, -50, -230, -57, -70, -28], [60, 50, 50, 0.4, 50, 28]]))
"""Ranges of the joints."""
UPPER, LOWER = ("bthigh", "fthigh"), ("bshin", "bfoot", "fshin", "ffoot")


def _speed(data: mujoco.MjData) -> tuple[np.ndarray, ...]:
    return (data.sensor("torso_subtreelinvel").data[:1],)


def _legs(spec: mujoco.MjSpec, value: float) -> None:
    for name in (*UPPER, *LOWER):
        geom = spec.geom(name)
        geom.pos = np.array(geom.pos) * [value, 1, value]
        geom.size = np.array(geom.size) * [1, value, 1]
    for name in LOWER:
        body = spec.body(name)
        body.pos = np.array(body.pos) * [value, 1, value]


def _torso(spec: mujoco.MjSpec, value: float) -> None:
    spec.geom("torso").fromto = [-value, 0, 0, value, 0, 0]
    spec.geom("head").pos = [value + 0.1, 0, 0.1]
    spec.body("bthigh").pos, spec.body("fthigh").pos = [-value, 0, 0], [value, 0, 0]


simulation = SuiteSimulation(
    "cheetah", observations=17, shapes={"length": _legs, "torso_length": _torso}, fields=_speed, camera="side"
)


def start(draws: Tensor, p: Values) -> Tensor:
    """Joint angles uniform in their ranges, then 200 steps without commands.

    dm_control's first step of these still uses the accelerations of the default position.
    """
    zeros = draws.new_zeros(*draws.shape[:-1], 3 * POSITIONS + 1)
    low, high = (torch.as_tensor(end, dtype=draws.dtype, device=draws.device) for end in (LOW, HIGH))
    idle = torch.zeros_like(draws)
    first = simulation.advance(zeros, idle, p)
    first[..., JOINTS] += low + (high - low) * draws
    return simulation.advance(first, idle, p, steps=SETTLING - 1)


def _advance(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor]:
    """10 ms under six motor commands, each clipped to +-1: the next state, and termination: always false."""
    after = simulation.advance(state, aib.turned(action, p), p)
    return after, torch.zeros_like(after[..., SPEED], dtype=torch.bool)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is the speed over 10 m/s, within [0, 1]."""
    after, terminated = _advance(state, action, p)
    return after, linear(RUN_SPEED - after[..., SPEED], RUN_SPEED), terminated


def step_speed(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is the speed over ``target_speed``, within [0, 1]."""
    after, terminated = _advance(state, action, p)
    wanted = p["target_speed"].abs().clamp(min=1e-6)
    return after, linear(wanted - p["target_speed"].sign() * after[..., SPEED], wanted), terminated


def observe(state: Tensor, p: Values) -> Tensor:
    """Positions without that along x, and velocities."""
    return state[..., BUT_X]


def _fifths(*values: np.ndarray) -> dict[str, np.ndarray]:
    """Every fifth combination of some values for training, as HyPoGen trains on 20 %, and all others.

    The two first and last ones lie beyond those that are trained on.
    """
    rows = np.array(list(product(*values)))
    train = np.arange(len(rows)) % 5 == 2
    return {"train": rows[train], "interpolation": rows[~train]}


_LENGTH = Parameter("length", "1", 1.0, (0.8, 1.2), (0.4, 1.6), "[0.2, 3]", "scale of the legs' lengths")
_TARGET = Parameter(
    "target_speed",
    "m/s",
    10.0,
    (-10, 10),
    (-10, 10),
    "[-50, 50]",
    "speed, backwards if negative",
    gap=0.5,
    scales=("linear", "sign"),
)
_FORWARDS = Parameter("target_speed", "m/s", 5.0, (1, 5), (1, 5), "(0, 50]", "speed asked for")
_TORSO = Parameter("torso_length", "m", 0.5, (0.3, 0.7), (0.3, 0.7), "[0.1, 2]", "half the torso's length")
_HYPOGEN = (
    "ranges after Ren et al., HyPoGen: Optimization-Biased Hypernetworks for Generalizable Policy Generation, ICLR 2025"
)
_SPEEDS, _TORSOS = np.linspace(0.5, 10, 20), np.linspace(0.3, 0.7, 41).round(2)

run = PhysicsFamily(
    name="dmc_cheetah_run",
    parameters=(_LENGTH,),
    observation_space=simulation.observation_space,
    action_space=Box(-1.0, 1.0, shape=(6,), dtype=np.float32),
    max_episode_steps=STEPS,
    draws=6,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    fixed=aib.splits((_LENGTH,)),
    env_id="hyperrl/DMCCheetahRun-v0",
    twin=simulation.twin,
    show=show,
    source=f"dm_control.suite.cheetah; ranges: {aib.SOURCE}",
)

run_signed = aib.signed(run, "hyperrl/DMCCheetahRunSigned-v0")

speed = replace(
    run,
    name="dmc_cheetah_speed",
    parameters=(_TARGET,),
    step=step_speed,
    fixed=_fifths(np.concatenate((-_SPEEDS[::-1], _SPEEDS))),
    env_id="hyperrl/DMCCheetahSpeed-v0",
    source=f"dm_control.suite.cheetah; {_HYPOGEN}",
)

torso = replace(
    run,
    name="dmc_cheetah_torso",
    parameters=(_TORSO,),
    fixed=_fifths(_TORSOS),
    env_id="hyperrl/DMCCheetahTorso-v0",
    source=f"dm_control.suite.cheetah; {_HYPOGEN}",
)

speed_torso = replace(
    speed,
    name="dmc_cheetah_speed_torso",
    parameters=(_FORWARDS, _TORSO),
    fixed=_fifths(np.arange(1.0, 6.0), _TORSOS[::5]),
    env_id="hyperrl/DMCCheetahSpeedTorso-v0",
)
