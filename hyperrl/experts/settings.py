"""Settings of experts, and an expert built from them.

The settings are each family's tuned ones, the published ones of rl-baselines3-zoo for that
environment (Raffin, 2020, https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/ppo.yml), and nothing is
tuned here: an expert is the policy that they end with, never the best that was met on the way.
"""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from hyperrl.envs import Family, InputError
from hyperrl.envs.finite import require_finite
from hyperrl.experts.environment import VariantVecEnv, from_sb3
from hyperrl.experts.zoo import literal
from hyperrl.families import tuned
from hyperrl.play.actors import Act
from hyperrl.play.episodes import play

DEFAULT_STEPS = 100_000
"""Steps of an expert whose family names no settings; the rest are Stable-Baselines3's defaults."""
EPISODES = 10
"""Greedy episodes that an expert, and the random policy beside it, are judged by."""

JUDGED_STARTS = "judged_starts"
"""Setting: whether an expert practises from the starts that it is judged from."""

POLICY = "MlpPolicy"
"""The only policy: observations are vectors."""
_SCHEDULED = ("learning_rate", "clip_range", "clip_range_vf")
_NUMBERS = ("gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm")
_WHOLE = ("total_timesteps", "n_envs", "n_steps", "batch_size", "n_epochs", "sde_sample_freq")
_AROUND = ("env_wrapper", "vec_env_wrapper", "frame_stack", "callback", "monitor_kwargs")
"""Settings of rl-baselines3-zoo's that act around PPO."""


def _arguments(of: Callable[..., Any], *without: str) -> set[str]:
    return set(inspect.signature(of).parameters).difference(without)


_NORMALISERS = _arguments(VecNormalize, "venv", "norm_obs_keys")
_POLICIES = _arguments(ActorCriticPolicy, "observation_space", "action_space", "lr_schedule", "use_sde").difference(
    ("features_extractor_class", "features_extractor_kwargs", "optimizer_class")
)
_KNOWN = (
    {"total_timesteps", "n_envs", JUDGED_STARTS, "normalize"}
    | _POLICIES
    | _arguments(PPO, "env", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model").difference(
        ("rollout_buffer_class", "rollout_buffer_kwargs")
    )
)


def schedule(name: str, value: Any) -> Any:
    """Read a setting: ``"lin_0.001"`` falls from 0.001 to 0 over training (rl-zoo's notation), numbers stay.

    Raises:
        InputError: any other string.
    """
    if not isinstance(value, str):
        return value
    kind, _, number = value.partition("_")
    try:
        start = float(number)
    except ValueError:
        start = math.nan
    if kind != "lin" or not math.isfinite(start):
        raise InputError(f"{name}={value!r}: must be a number, or 'lin_' and a number; write it as 'lin_0.001'")
    return LinearSchedule(start, 0.0, 1.0)


def expert_settings(family: Family, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of the family's experts: those that are tuned for it, changed by ``overrides``.

    Keys are ``total_timesteps``, ``n_envs``, ``judged_starts`` (true: practise from the starts of judged episodes,
    where the family has others to train from), ``normalize`` (true, or ``VecNormalize``'s arguments),
    ``log_std_init``, ``ortho_init``, ``net_arch`` and ``activation_fn`` (a name in ``torch.nn``) of the
    policy, and PPO's own. A family without settings gets Stable-Baselines3's and 100,000 steps.

    What rl-baselines3-zoo's files write otherwise is read too: ``n_timesteps``, whole numbers as ``1e6``, and
    ``policy_kwargs`` and ``normalize`` as texts of ``hyperrl.experts.zoo.literal``.

    Raises:
        InputError: a key is unknown, or a value is out of range or no JSON.
    """
    where = f"expert setting of family {family.name!r}"
    tables = [_plain(table, where) for table in (tuned(family).expert, overrides or {})]
    settings = {"total_timesteps": DEFAULT_STEPS, "n_envs": 1, **tables[0], **tables[1]}
    for name in settings:
        if name in _AROUND:
            raise InputError(f"{name}: not supported as {where}; put what it does into the family, or leave it out")
        if name not in _KNOWN:
            raise InputError(f"{name}: unknown {where}; choose from {', '.join(sorted(_KNOWN))}")
    for name, most in (("total_timesteps", 10**12), ("n_envs", 10_000)):
        if not isinstance(settings[name], int) or not 1 <= settings[name] <= most:
            bound = f"a whole number of 1 or more, at most {most}"
            raise InputError(f"{name}={settings[name]!r}: must be {bound}; mend the {where}")
    if not isinstance(settings.get(JUDGED_STARTS, False), bool):
        raise InputError(f"{JUDGED_STARTS}={settings[JUDGED_STARTS]!r}: must be true or false; mend the {where}")
    for name in _SCHEDULED:
        schedule(name, settings.get(name))
    for name in _NUMBERS:
        if isinstance(settings.get(name, 0.0), bool) or not isinstance(settings.get(name, 0.0), int | float):
            raise InputError(f"{name}={settings[name]!r}: must be a number; mend the {where}")
    if settings.get("policy", POLICY) != POLICY:
        raise InputError(f"policy={settings['policy']!r}: must be {POLICY!r}; mend the {where}")
    normalize = settings.get("normalize", False)
    if not isinstance(normalize, bool) and not (isinstance(normalize, dict) and normalize.keys() <= _NORMALISERS):
        bound = f"true, false, or a dictionary of {', '.join(sorted(_NORMALISERS))}"
        raise InputError(f"normalize={normalize!r}: must be {bound}; mend the {where}")
    activation = settings.get("activation_fn", "Tanh")
    if not (isinstance(activation, str) and isinstance(getattr(torch.nn, activation, None), type)):
        raise InputError(f"activation_fn={activation!r}: must be the name of a class in torch.nn; write it as 'Tanh'")
    return settings


def _plain(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings as JSON can hold them, those of the policy among the others.

    Raises:
        InputError: a value is in no notation that is read.
    """
    settings = dict(table)
    for name in ("policy_kwargs", "normalize"):
        if isinstance(settings.get(name), str):
            settings[name] = literal(name, settings[name])
    try:
        settings = json.loads(json.dumps(settings, allow_nan=False, default=_name))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: must be numbers, texts, lists and dictionaries ({error}); mend it") from None
    policy = settings.pop("policy_kwargs", None) or {}
    if not isinstance(policy, dict) or not policy.keys() <= _POLICIES:
        raise InputError(
            f"policy_kwargs={policy!r}: must be a dictionary of {', '.join(sorted(_POLICIES))}; mend the {where}"
        )
    settings = policy | settings
    if "n_timesteps" in settings and "total_timesteps" not in settings:
        settings["total_timesteps"] = settings.pop("n_timesteps")
    for name in _WHOLE:
        if isinstance(settings.get(name), float) and settings[name].is_integer():
            settings[name] = int(settings[name])
    match settings.get("net_arch"):
        case [dict() as networks]:  # as Stable-Baselines3 wanted it before version 1.8
            settings["net_arch"] = networks
    return settings


def _name(value: object) -> str:
    """The name of a class of ``torch.nn``."""
    name = getattr(value, "__name__", "")
    if value is getattr(torch.nn, name, None):
        return name
    raise TypeError(f"not {value!r}")


def make_expert(
    family: Family,
    parameters: Mapping[str, float],
    settings: Mapping[str, Any],
    seed: int = 0,
    env: VecEnv | None = None,
) -> PPO:
    """An untrained expert on its environment, as rl-zoo would build it; ``learn`` trains it.

    Where ``normalize`` is set, ``VecNormalize`` scales observations and rewards, with PPO's own discount.

    Args:
        family: the task.
        parameters: the variant in SI units.
        settings: of ``expert_settings``.
        seed: of weights, sampling and starts. Seeds the global generators of Python, NumPy and torch.
        env: where it practises, another environment of the same task; the family's own by default.

    Raises:
        InputError: PPO refuses the settings, or the family has no ``judged_starts``.
    """
    arguments = {name: schedule(name, value) if name in _SCHEDULED else value for name, value in settings.items()}
    arguments.pop("total_timesteps")
    copies, judged_starts = arguments.pop("n_envs"), arguments.pop(JUDGED_STARTS, False)
    env = env or VariantVecEnv(family, parameters, copies, seed, judged_starts)
    policy_arguments = {name: arguments.pop(name) for name in _POLICIES if name in arguments}
    if "activation_fn" in policy_arguments:
        policy_arguments["activation_fn"] = getattr(torch.nn, policy_arguments["activation_fn"])
    normalize, policy = arguments.pop("normalize", False), arguments.pop("policy", POLICY)
    try:
        if normalize:
            shared = {"gamma": arguments["gamma"]} if "gamma" in arguments else {}
            env = VecNormalize(env, **(({} if normalize is True else normalize) | shared))
        with warnings.catch_warnings():
            # rl-zoo's own settings for MountainCarContinuous have a batch larger than a rollout
            warnings.filterwarnings("ignore", "You have specified a mini-batch size", UserWarning)
            expert = PPO(policy, env, policy_kwargs=policy_arguments, seed=seed, device="cpu", **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"expert settings of family {family.name!r}: refused by PPO ({line}); mend them") from None
    expert.set_logger(Logger(folder=None, output_formats=[]))  # its own makes a temporary folder that stays
    return expert


def greedy_returns(expert: PPO, family: Family, parameters: Mapping[str, float]) -> np.ndarray:
    """Returns (10,) of deterministic episodes from the starts that every judgement shares.

    Actions are clipped to the variant's own action space, and the normaliser is used as it is.

    Raises:
        InputError: an observation is not finite.
    """
    normaliser, variant_1P = expert.get_vec_normalize_env(), family.table([parameters])

    def act(obs: torch.Tensor) -> torch.Tensor:
        require_finite(family, "an observation of a judged episode", obs.numpy()[None], variant_1P)
        obs_NO = obs.numpy() if normaliser is None else cast(np.ndarray, normaliser.normalize_obs(obs.numpy()))
        action, _ = expert.predict(obs_NO, deterministic=True)
        return torch.as_tensor(from_sb3(family.variant_action_space(parameters), action))

    return play(family, variant_1P, Act(act), EPISODES).returns_TE[0]
