"""Experts: Stable-Baselines3 PPO trained on one variant alone, cached, as the ceiling of every judgement.

The settings are each family's ``expert`` mapping, the published ones of rl-baselines3-zoo for that
environment (Raffin, 2020, https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/ppo.yml), and nothing is
tuned here: an expert is the policy that they end with, never the best that was met on the way.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import multiprocessing
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from hyperrl.checkpoint import require_writable, write_atomically, write_json
from hyperrl.envs import Family, InputError
from hyperrl.episodes import START_SEED, episode_returns, random_actions
from hyperrl.families import resolve

DEFAULT_STEPS = 100_000
"""Steps of an expert whose family names no settings; the rest are Stable-Baselines3's defaults."""

CURVE = 50
"""Greedy judgements during an expert's training, evenly spaced: what learning from scratch costs on its variant."""

GLIMPSE = 16
"""Steps by which an expert's physics is known again."""

EPISODES = 10
"""Greedy episodes that an expert, and the random policy beside it, are judged by."""

_POLICY_SETTINGS = ("log_std_init", "ortho_init", "net_arch", "activation_fn")
_SCHEDULED = ("learning_rate", "clip_range", "clip_range_vf")

Record = dict[str, Any]
"""What the cache holds of one expert, as in ``train_experts``."""


class VariantVecEnv(VecEnv):
    """Copies of one variant as Stable-Baselines3's ``VecEnv``: one batched torch step serves all of them.

    Observations are float32 arrays (E, O), rewards float32 (E,). As from ``DummyVecEnv`` around ``Monitor``,
    the info of an ended episode holds ``terminal_observation`` (O,) and ``episode`` with its return ``r``,
    its length ``l`` in steps and the seconds ``t`` since the environment was made; every info holds
    ``TimeLimit.truncated``, true where the time limit alone ended the episode.
    """

    def __init__(self, family: Family, parameters: Mapping[str, float], copies: int = 1, seed: int = 0) -> None:
        """Set up the copies.

        Args:
            family: the task.
            parameters: the variant in SI units; what is left out keeps its default.
            copies: E, copies stepped together, at least 1.
            seed: of the starts, until ``seed`` sets another for the next ``reset``.

        Raises:
            InputError: as ``Family.variant``, or ``copies`` is below 1.
        """
        self.variant = family.variant(**parameters)
        self.env = family.vector(family.table([self.variant]), copies, seed=seed)
        super().__init__(copies, family.observation_space, family.variant_action_space(self.variant))
        self._born = time.time()
        self._actions = torch.empty(0)
        self._returns_E = np.zeros(copies)
        self._lengths_E = np.zeros(copies, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Start every copy anew and return observations (E, O)."""
        obs, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._returns_E[:] = 0
        self._lengths_E[:] = 0
        return obs.numpy()

    def step_async(self, actions: np.ndarray) -> None:
        """Remember actions (E,) or (E, A) for ``step_wait``."""
        self._actions = torch.as_tensor(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Take the remembered actions; return observations (E, O), rewards (E,), dones (E,) and E infos."""
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        reward_E = reward.numpy().astype(np.float32)
        terminated_E, done_E = terminated.numpy(), (terminated | truncated).numpy()
        self._returns_E += reward_E
        self._lengths_E += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if done_E.any():
            final_EO = info["final_obs"].numpy()
            seconds = round(time.time() - self._born, 6)
            for e in np.flatnonzero(done_E):
                episode = {"r": float(self._returns_E[e]), "l": int(self._lengths_E[e]), "t": seconds}
                infos[e] = {
                    "TimeLimit.truncated": not terminated_E[e],
                    "terminal_observation": final_EO[e].copy(),
                    "episode": episode,
                }
            self._returns_E[done_E] = 0
            self._lengths_E[done_E] = 0
        return obs.numpy(), reward_E, done_E, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the variant's environment, once a copy; ``render_mode`` is ``None``."""
        value = None if attr_name == "render_mode" else getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: the copies are one batch, and a setting that changed nothing would mislead.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{attr_name}: copies of one variant are a batch; make a new VariantVecEnv instead")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not possible: the copies are one batch.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{method_name}: copies of one variant are a batch; make a new VariantVecEnv instead")

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Whether each copy does what the wrapper does: true for ``Monitor`` only."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]


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
    """The settings of the family's experts: its ``expert`` mapping, changed by ``overrides``.

    Keys are ``total_timesteps``, ``n_envs``, ``normalize`` (true, or ``VecNormalize``'s arguments),
    ``log_std_init``, ``ortho_init``, ``net_arch`` and ``activation_fn`` (a name in ``torch.nn``) of the
    policy, and PPO's own. A family without settings gets Stable-Baselines3's and 100,000 steps.

    Raises:
        InputError: a key is unknown, or a value is out of range or no JSON.
    """
    settings = {"total_timesteps": DEFAULT_STEPS, "n_envs": 1, **family.expert, **(overrides or {})}
    known = {*inspect.signature(PPO).parameters, "total_timesteps", "n_envs", "normalize", *_POLICY_SETTINGS}
    known -= {"env", "seed", "device", "verbose", "_init_setup_model"}
    where = f"expert setting of family {family.name!r}"
    for name in settings:
        if name not in known:
            raise InputError(f"{name}: unknown {where}; choose from {', '.join(sorted(known))}")
    for name in ("total_timesteps", "n_envs"):
        if not isinstance(settings[name], int) or settings[name] < 1:
            raise InputError(f"{name}={settings[name]!r}: must be a whole number of 1 or more; mend the {where}")
    for name in _SCHEDULED:
        schedule(name, settings.get(name))
    activation = settings.get("activation_fn", "Tanh")
    if not (isinstance(activation, str) and isinstance(getattr(torch.nn, activation, None), type)):
        raise InputError(f"activation_fn={activation!r}: must be the name of a class in torch.nn; write it as 'Tanh'")
    try:
        return cast(dict[str, Any], json.loads(json.dumps(settings, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: must be numbers, texts, lists and dictionaries ({error}); mend it") from None


def make_expert(family: Family, parameters: Mapping[str, float], settings: Mapping[str, Any], seed: int = 0) -> PPO:
    """An untrained expert on its environment, as rl-zoo would build it; ``learn`` trains it.

    Where ``normalize`` is set, ``VecNormalize`` scales observations and rewards, with PPO's own discount.

    Args:
        family: the task.
        parameters: the variant in SI units.
        settings: of ``expert_settings``.
        seed: of weights, sampling and starts. Seeds the global generators of Python, NumPy and torch.

    Raises:
        InputError: PPO refuses the settings.
    """
    arguments = {name: schedule(name, value) if name in _SCHEDULED else value for name, value in settings.items()}
    arguments.pop("total_timesteps")
    env: VecEnv = VariantVecEnv(family, parameters, arguments.pop("n_envs"), seed)
    policy_arguments = dict(arguments.pop("policy_kwargs", None) or {})
    policy_arguments |= {name: arguments.pop(name) for name in _POLICY_SETTINGS if name in arguments}
    if "activation_fn" in policy_arguments:
        policy_arguments["activation_fn"] = getattr(torch.nn, policy_arguments["activation_fn"])
    normalize = arguments.pop("normalize", False)
    policy = arguments.pop("policy", "MlpPolicy")
    try:
        if normalize:
            shared = {"gamma": arguments["gamma"]} if "gamma" in arguments else {}
            env = VecNormalize(env, **({} if normalize is True else normalize), **shared)
        with warnings.catch_warnings():
            # rl-zoo's own settings for MountainCarContinuous have a batch larger than a rollout
            warnings.filterwarnings("ignore", "You have specified a mini-batch size", UserWarning)
            return PPO(policy, env, policy_kwargs=policy_arguments, seed=seed, device="cpu", **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"expert settings of family {family.name!r}: refused by PPO ({line}); mend them") from None


def greedy_returns(expert: PPO, family: Family, parameters: Mapping[str, float]) -> np.ndarray:
    """Returns (10,) of deterministic episodes from the starts that every judgement shares.

    Actions are clipped to the variant's own action space, and the normaliser is used as it is.
    """
    normaliser = expert.get_vec_normalize_env()

    def act(obs: torch.Tensor) -> torch.Tensor:
        obs_NO = obs.numpy() if normaliser is None else cast(np.ndarray, normaliser.normalize_obs(obs.numpy()))
        action, _ = expert.predict(obs_NO, deterministic=True)
        return torch.as_tensor(action)

    returns_TE, _ = episode_returns(family, family.table([parameters]), act, EPISODES)
    return returns_TE[0]


def normalised(returns: Any, random: Any, expert: Any) -> np.ndarray:
    """(returns - random) / (expert - random): 0 is the random policy, 1 the expert.

    The three broadcast against each other. NaN where the expert is no better than the random policy, since
    the scale has no unit there; what is better than the expert is above 1, and nothing is clipped.
    """
    returns, random, expert = (np.asarray(values, dtype=np.float64) for values in (returns, random, expert))
    above, unit = np.broadcast_arrays(returns - random, expert - random)
    return np.divide(above, unit, out=np.full(above.shape, np.nan), where=unit > 0)


def train_experts(
    reference: str,
    variants_TP: np.ndarray,
    root: Path | str = Path("runs/experts"),
    seed: int = 0,
    workers: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Train an expert for each variant that has none, in parallel processes, with a progress bar on stderr.

    Each finished expert is two files, written atomically, the JSON last: ``root/<family>/<key>.zip``, the
    model for ``PPO.load`` (which unpickles: load none but your own), and ``root/<family>/<key>.json``, the
    record, the only one that is read here. Interrupting keeps the finished ones; calling again goes on with
    the rest.

    A record is ``{"family", "parameters": {...}, "seed", "settings": {...}, "steps", "seconds" (of training),
    "returns": [10 greedy episodes], "mean", "random" (mean return of random actions on the variant),
    "curve": [[steps, mean of 10 greedy episodes]] from before training to its end,
    "glimpse" (of the physics: an expert of a family that moves otherwise by now is trained anew),
    "normaliser": {"mean": [O], "var": [O], "epsilon", "clip"} or null}``. Returns are undiscounted.

    Args:
        reference: the family, as ``hyperrl.families.resolve`` reads it; the processes resolve it anew.
        variants_TP: variants (T, P) in SI units, T >= 1.
        root: folder of the cache.
        seed: of training; another seed is another expert.
        workers: processes, at least 1; as many as there are processors where ``None``.
        overrides: changes to the family's settings; other settings are other experts.

    Returns:
        T records, in the order of the variants.

    Raises:
        InputError: no such family, no variants or one out of bounds, a setting or number out of range, a
            folder that cannot be written, or a process that died.
    """
    family = resolve(reference)
    settings = expert_settings(family, overrides)
    variants = _checked_variants(family, variants_TP)
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"workers={workers}: must be 1 or more; leave it out for one a processor")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed={seed}: must be within [0, 2**32); choose another")
    folder = _folder(Path(root), family)
    require_writable(folder)
    jobs = [_Job(reference, variant, seed, settings, folder, family.name) for variant in variants]
    missing = {job.key: job for job in jobs if job.cached(family) is None}
    if missing:
        _train_all(list(missing.values()), min(workers, len(missing)))
    records = [job.cached(family) for job in jobs]
    assert all(record is not None for record in records)
    return cast(list[Record], records)


def cached_experts(
    family: Family,
    variants_TP: np.ndarray,
    root: Path | str = Path("runs/experts"),
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Record | None]:
    """The record of each variant's expert, or ``None`` where the cache has none.

    Only experts trained with the family's own settings count. Parameters must agree to 1e-9. Where there are
    several experts, the one with the highest mean return is taken. Files that are truncated, foreign or another
    family's are passed over, and so are experts of other physics; nothing read is executed.

    Args:
        family: the task.
        variants_TP: variants (T, P) in SI units.
        root: folder of the cache; it need not exist.
        seed: of training; any where ``None``.
        overrides: settings that replace the family's own, as for ``train_experts``.

    Raises:
        InputError: no variants, or one out of bounds.
    """
    variants = _checked_variants(family, variants_TP)
    settings = expert_settings(family, overrides)
    read = (_read(path, family) for path in sorted(_folder(Path(root), family).glob("*.json")))
    records = [record for record in read if record is not None and record["settings"] == settings]
    if seed is not None:
        records = [record for record in records if record["seed"] == seed]

    def fits(record: Record, variant: Mapping[str, float]) -> bool:
        return all(
            math.isclose(record["parameters"][name], variant[name], rel_tol=1e-9, abs_tol=1e-9) for name in variant
        )

    found = [[record for record in records if fits(record, variant)] for variant in variants]
    ranked = [sorted(records, key=lambda record: -record["mean"]) for records in found]
    return [next((record for record in records if _as_trained(record, family)), None) for records in ranked]


def load_expert(family: Family, record: Record, root: Path | str = Path("runs/experts")) -> PPO:
    """The model of a record that ``train_experts`` has just returned.

    ``PPO.load`` unpickles: only the file that the record's own content names is read, in this user's cache.

    Raises:
        InputError: the file is missing.
    """
    folder = _folder(Path(root), family)
    job = _Job("", record["parameters"], record["seed"], record["settings"], folder, family.name)
    path = folder / f"{job.key}.zip"
    if not path.is_file():
        raise InputError(f"{path}: the model of a cached expert is missing; delete {path.with_suffix('.json')}")
    return PPO.load(path, device="cpu")


def glimpse(family: Family, parameters: Mapping[str, float]) -> list[float]:
    """A few rewards and the last observation of a variant under fixed random actions: other physics, other numbers."""
    env = family.in_process().vector(family.table([parameters]), 1, seed=START_SEED)
    obs, _ = env.reset(seed=START_SEED, options={"paired": True})
    act, seen = random_actions(family, variant=parameters), []
    for _ in range(GLIMPSE):
        obs, reward, *_ = env.step(act(obs))
        seen.append(float(reward))
    env.close()
    return [*seen, *obs.flatten().tolist()]


def _as_trained(record: Record, family: Family) -> bool:
    """Whether the variant still moves as when its expert was trained."""
    then, now = record["glimpse"], glimpse(family, record["parameters"])
    return len(then) == len(now) and np.allclose(then, now, rtol=1e-2, atol=1e-4)


def _checked_variants(family: Family, variants_TP: np.ndarray) -> list[dict[str, float]]:
    variants_TP = np.asarray(variants_TP, dtype=np.float64)
    if variants_TP.ndim != 2 or not len(variants_TP) or variants_TP.shape[1] != len(family.names):
        width = len(family.names)
        raise InputError(f"variants of shape {variants_TP.shape}: must be (T, {width}) with T >= 1; ask for 1 or more")
    return [family.variant(**variant) for variant in family.untable(variants_TP)]


def _folder(root: Path, family: Family) -> Path:
    return root / re.sub(r"[^\w-]", "_", family.name)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in value
    )


def _read(path: Path, family: Family) -> Record | None:
    """The record in a file, or ``None`` where it is not one of the family's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("family") != family.name:
        return None
    parameters, returns = record.get("parameters"), record.get("returns")
    whole = (
        isinstance(parameters, dict)
        and set(parameters) == set(family.names)
        and all(map(_is_number, parameters.values()))
        and isinstance(returns, list)
        and len(returns) > 0
        and all(map(_is_number, returns))
        and isinstance(record.get("glimpse"), list)
        and all(map(_is_number, record["glimpse"]))
        and _is_curve(record.setdefault("curve", []))  # an earlier version drew none
        and all(_is_number(record.get(name)) for name in ("mean", "random", "seed", "steps", "seconds"))
        and isinstance(record.get("settings"), dict)
    )
    return record if whole else None


@dataclass(frozen=True)
class _Job:
    """One expert to train: everything that a process needs, and nothing that does not pickle."""

    reference: str
    parameters: dict[str, float]
    seed: int
    settings: dict[str, Any]
    folder: Path
    family_name: str

    @property
    def key(self) -> str:
        """Name of the expert's files: the beginning of a SHA-256 of what it was trained with."""
        content = [self.family_name, self.parameters, self.seed, self.settings]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def cached(self, family: Family) -> Record | None:
        record = _read(self.folder / f"{self.key}.json", family)
        mine = {"parameters": self.parameters, "seed": self.seed, "settings": self.settings}
        if record is None or any(record[name] != value for name, value in mine.items()):
            return None
        return record if _as_trained(record, family) else None


class _Watch(BaseCallback):
    """Draws the learning curve, and adds every rollout's steps to the counter that the processes share."""

    def __init__(self, job: _Job, family: Family) -> None:
        super().__init__()
        self.job, self.family, self.counted, self.seconds = job, family, 0, 0.0
        self.curve: list[list[float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= len(self.curve) * self.job.settings["total_timesteps"] / CURVE:
            self.judge()

    def _on_rollout_end(self) -> None:
        if _counter is not None:
            with _counter.get_lock():
                _counter.value += self.num_timesteps - self.counted
        self.counted = self.num_timesteps

    def judge(self) -> np.ndarray:
        """Play greedily and remember steps and mean; the time that it takes is none of training."""
        began = time.perf_counter()
        returns = greedy_returns(cast(PPO, self.model), self.family, self.job.parameters)
        self.curve.append([self.num_timesteps, float(returns.mean())])
        self.seconds += time.perf_counter() - began
        return returns


_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _train(job: _Job) -> None:
    """Train, judge and store one expert."""
    family = resolve(job.reference)
    expert = make_expert(family, job.parameters, job.settings, job.seed)
    began = time.perf_counter()
    watch = _Watch(job, family)
    expert.learn(job.settings["total_timesteps"], callback=watch)
    seconds = time.perf_counter() - began - watch.seconds
    normaliser = expert.get_vec_normalize_env()
    scales = None
    if normaliser is not None:
        normaliser.training = False
        if normaliser.norm_obs:
            moments = cast(Any, normaliser.obs_rms)
            scales = {"mean": moments.mean.tolist(), "var": moments.var.tolist()}
            scales |= {"epsilon": normaliser.epsilon, "clip": normaliser.clip_obs}
    returns = watch.judge()
    act = random_actions(family, variant=job.parameters)
    random, _ = episode_returns(family, family.table([job.parameters]), act, EPISODES)
    record = {
        "family": family.name,
        "parameters": job.parameters,
        "seed": job.seed,
        "settings": job.settings,
        "steps": expert.num_timesteps,
        "seconds": round(seconds, 3),
        "returns": returns.tolist(),
        "mean": float(returns.mean()),
        "random": float(random.mean()),
        "curve": watch.curve,
        "glimpse": glimpse(family, job.parameters),
        "normaliser": scales,
    }
    write_atomically(job.folder / f"{job.key}.zip", expert.save)
    write_json(job.folder / f"{job.key}.json", record)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C; processes started meanwhile go on ignoring it, so that this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train_all(jobs: list[_Job], workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    columns = (
        TextColumn("experts"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[steps]:,} steps"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    pool = ProcessPoolExecutor(workers, context, _start_worker, (counter,))
    left: set[Future[None]] = set()
    try:
        with _uninterrupted():
            left = {pool.submit(_train, job) for job in jobs}
        with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
            task = bar.add_task("experts", total=len(jobs), steps=0)
            each = jobs[0].settings["total_timesteps"]
            while left:
                finished, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                steps = counter.value
                bar.update(task, completed=min(steps / each, len(jobs)), steps=steps)
            bar.update(task, completed=len(jobs))
    except BrokenProcessPool:
        done = len(jobs) - len(left)
        raise InputError(
            f"workers={workers}: a process died with {done} of {len(jobs)} experts done; call again to go "
            "on, with fewer workers if memory ran out, and from a script under `if __name__ == '__main__':`"
        ) from None
    finally:
        if left:
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
