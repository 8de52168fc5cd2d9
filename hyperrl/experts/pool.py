"""Training experts: Stable-Baselines3 PPO on one variant alone each, in parallel."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from rich.console import RenderableType
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

from hyperrl.envs import Family, InputError
from hyperrl.envs.errors import blamed
from hyperrl.envs.fingerprint import fingerprint, same_physics
from hyperrl.envs.finite import require_finite
from hyperrl.experts.cache import EXPERTS, Job, Record, checked_variants, expert_folder, packed
from hyperrl.experts.settings import EPISODES, expert_settings, greedy_returns, make_expert
from hyperrl.families import resolve
from hyperrl.jobs import LOKY, require_backend, run_jobs
from hyperrl.play.actors import random_actions
from hyperrl.play.episodes import play
from hyperrl.storage.files import require_writable, write_atomically, write_json
from hyperrl.streams import console
from hyperrl.training import finite

MOST_EXPERTS = 10_000
"""Each expert takes minutes, each worker some 500 MB."""
CURVE = 50
"""Greedy judgements during an expert's training, evenly spaced: what learning from scratch costs on its variant."""


def train_experts(
    reference: str,
    variants_TP: np.ndarray,
    root: Path | str = EXPERTS,
    seed: int = 0,
    workers: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    backend: str = LOKY,
    scheduler: str | None = None,
) -> list[Record]:
    """Train an expert for each variant that has none, in parallel, with a progress bar on stderr.

    The process that trained an expert writes its two files atomically, the JSON last: ``root/<family>/<key>.npz``, the
    weights of its policy, and ``root/<family>/<key>.json``, the record. Neither executes anything when it is read.
    Interrupting keeps the finished ones; calling again goes on with the rest.

    A record is ``{"family", "parameters": {...}, "seed", "settings": {...}, "steps", "seconds" (of training),
    "returns": [10 greedy episodes], "mean", "random" (mean return of random actions on the variant),
    "curve": [[steps, mean of 10 greedy episodes]] from before training to its end,
    "fingerprint" (of the physics: an expert of a family that moves otherwise by now is trained anew),
    "normaliser": {"mean": [O], "var": [O], "epsilon", "clip"} or null, "weights" (SHA-256 of their file)}``. Returns
    are undiscounted.

    Args:
        reference: the family, as ``hyperrl.families.resolve`` reads it; the processes resolve it anew.
        variants_TP: variants (T, P) in SI units, T >= 1.
        root: folder of the cache.
        seed: of training; another seed is another expert.
        workers: experts trained at once, at least 1; where ``None`` as many as there are processors, or as the cluster
            takes.
        overrides: changes to the family's settings; other settings are other experts.
        backend: joblib's: ``loky``, processes of this machine, or ``dask`` or ``ray``, a cluster whose machines find
            the family and ``root`` under the same paths.
        scheduler: address of the cluster's scheduler.

    Returns:
        T records, in the order of the variants.

    Raises:
        InputError: no such family, no variants or one out of bounds, a setting or number out of range, a
            folder that cannot be written, a backend or scheduler as in ``run_jobs``, a process that died, or an expert
            that failed, once the others are done.
    """
    family = resolve(reference)
    settings = expert_settings(family, overrides)
    variants = checked_variants(family, variants_TP)
    require_workers(workers, seed, backend, scheduler)
    require_count(len(variants))
    folder = expert_folder(Path(root).absolute(), family)
    require_writable(folder)
    again = (fingerprint(family, family.table(variants[:1])) for _ in range(2))
    if not same_physics(*again):
        raise InputError(
            f"family {family.name!r}: moves differently under equal variants, seeds and actions, so that an expert is "
            "not known again; draw all randomness from the seed of reset"
        )
    reference = str(Path(reference).absolute()) if reference.endswith(".py") else reference
    jobs = [Job(reference, variant, seed, settings, folder, family.name) for variant in variants]
    missing = {job.key: job for job in jobs if job.cached(family) is None}
    if missing:
        lost = sum(job.record(family) is not None for job in missing.values())
        if lost:
            warnings.warn(f"{folder}: {lost} experts without the weights of their records; trained anew", stacklevel=2)
        try:
            _train_all(list(missing.values()), workers, backend, scheduler)
        except BrokenProcessPool:
            done = sum(job.cached(family) is not None for job in missing.values())
            if done < len(missing):
                given = f"backend={backend!r}" if workers is None else f"workers={workers}"
                raise InputError(
                    f"{given}: a process died with {done} of {len(missing)} experts done; call "
                    "again to go on, with fewer workers if memory ran out"
                ) from None
    records = [job.cached(family) for job in jobs]
    if None in records:
        raise InputError(f"{folder}: experts that were just trained are not there; call again, or name another folder")
    return cast(list[Record], records)


def require_count(variants: int) -> None:
    """Check the number of experts asked for.

    Raises:
        InputError: it is out of range.
    """
    if not 1 <= variants <= MOST_EXPERTS:
        raise InputError(f"variants={variants}: must be 1 or more, at most {MOST_EXPERTS:,}; ask for fewer")


def require_workers(workers: int | None, seed: int, backend: str, scheduler: str | None) -> None:
    """Check how experts are to be trained.

    Raises:
        InputError: workers or seed are out of range, or the backend is refused by ``require_backend``.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed={seed}: must be within [0, 2**32); choose another")
    require_backend(backend, scheduler, workers)


class _Watch(BaseCallback):
    """Draws the learning curve, and adds its steps to a file that the progress bar reads."""

    def __init__(self, job: Job, family: Family, steps: Path | None) -> None:
        super().__init__()
        self.job, self.family, self.steps, self.seconds = job, family, steps, 0.0
        self.curve: list[list[float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= len(self.curve) * self.job.settings["total_timesteps"] / CURVE:
            self.judge()

    def _on_rollout_end(self) -> None:
        if self.steps:
            rollout = cast(PPO, self.model).rollout_buffer
            with suppress(OSError), self.steps.open("ab") as file:  # another machine has no such folder
                np.array(rollout.buffer_size * rollout.n_envs).tofile(file)

    def judge(self) -> np.ndarray:
        """Play greedily and remember steps and mean; the time that it takes is none of training."""
        began = time.perf_counter()
        returns = greedy_returns(cast(PPO, self.model), self.family, self.job.parameters)
        self.curve.append([self.num_timesteps, float(returns.mean())])
        self.seconds += time.perf_counter() - began
        return returns


def _train(job: Job, steps: Path | None = None) -> str | None:
    """Train, judge and store one expert, unless it is there: a cluster may start a job again.

    Returns:
        why it failed: the settings are refused, the training diverged, or the family's own code raised an error or gave
        what is not finite.
    """
    try:
        family = resolve(job.reference)
        if job.cached(family) is None:
            _train_and_store(job, family, steps)
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"family {job.family_name!r} at {_variant(job)}: {blamed(error)}"
    return None


def _variant(job: Job) -> str:
    return " ".join(f"{name}={value:g}" for name, value in job.parameters.items())


def _train_and_store(job: Job, family: Family, steps: Path | None) -> None:
    expert = make_expert(family, job.parameters, job.settings, job.seed)
    began = time.perf_counter()
    watch = _Watch(job, family, steps)
    try:
        expert.learn(job.settings["total_timesteps"], callback=watch)
        seconds = time.perf_counter() - began - watch.seconds
        returns = watch.judge()
    except ValueError as error:  # PyTorch's distributions refuse what is not finite
        if isinstance(error, InputError) or finite.whole(expert.policy):
            raise
        raise InputError(
            f"family {family.name!r} at {_variant(job)}: its expert's training diverged within "
            f"{expert.num_timesteps:,} steps; choose a lower learning_rate in the expert settings"
        ) from None
    normaliser = expert.get_vec_normalize_env()
    scales = None
    if normaliser is not None:
        normaliser.training = False
        if normaliser.norm_obs:
            moments = cast(Any, normaliser.obs_rms)
            scales = {"mean": moments.mean.tolist(), "var": moments.var.tolist()}
            scales |= {"epsilon": normaliser.epsilon, "clip": normaliser.clip_obs}
    actor = random_actions(family, variant=job.parameters)
    variant_1P = family.table([job.parameters])
    random = play(family, variant_1P, actor, EPISODES).returns_TE
    require_finite(family, "a return of its expert", returns[None], variant_1P)
    require_finite(family, "a return of random actions", random, variant_1P)
    weights, digest = packed(expert)
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
        "fingerprint": fingerprint(family, variant_1P),
        "normaliser": scales,
        "weights": digest,
    }
    write_atomically(job.weights, lambda file: file.write_bytes(weights))
    write_json(job.folder / f"{job.key}.json", record)


class _Bar(Progress):
    """Moves with the steps in a file, also while no expert finishes."""

    def __init__(self, jobs: list[Job], steps: Path) -> None:
        columns = (
            TextColumn("experts"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[steps]:,} steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        super().__init__(*columns, console=console(), speed_estimate_period=120)
        self.steps, self.each, self.done = steps, jobs[0].settings["total_timesteps"], 0
        self.add_task("experts", total=len(jobs), steps=0)

    def get_renderables(self) -> Iterable[RenderableType]:
        """As Rich asks for them, some ten times a second."""
        for task in self.tasks:
            taken = int(np.fromfile(self.steps, int).sum())
            self.update(task.id, completed=min(max(taken / self.each, self.done), task.total or 0), steps=taken)
        return super().get_renderables()


def _train_all(jobs: list[Job], workers: int | None, backend: str, scheduler: str | None) -> None:
    with TemporaryDirectory() as folder:
        steps = Path(folder) / "steps"
        steps.touch()
        training = run_jobs(partial(_train, steps=steps), jobs, workers, backend, scheduler)
        with _Bar(jobs, steps) as bar, closing(training):
            failed = []  # the other variants may be well
            for _, failure in training:
                bar.done += failure is None
                failed += [failure] if failure else []
    if failed:
        others = f"; {len(failed)} of {len(jobs)} experts failed, the others are kept" if len(jobs) > 1 else ""
        raise InputError(f"{failed[0]}{others}")
