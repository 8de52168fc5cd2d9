"""From a family's name to a finished run: the meta-loop with its evaluations, checkpoints, curves, and the encoder."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hyperrl import checkpoint, inference
from hyperrl.config import Config
from hyperrl.envs import Family, InputError
from hyperrl.episodes import episode_returns
from hyperrl.families import resolve
from hyperrl.rollout import Greedy
from hyperrl.run import Run, read_settings, write_settings
from hyperrl.tensorboard import RunLog
from hyperrl.trainer import Trainer, build_agent, pick_device

HELD_OUT = {"validation": 64, "interpolation": 16, "extrapolation": 16, "combination": 16}
"""Variants of each split played during training; only ``validation`` decides anything."""
HELD_OUT_EPISODES = 2
HELD_OUT_SEED = 10_000
SECONDS_BETWEEN_CHECKPOINTS = 15.0


class Interrupted(Exception):
    """Ctrl-C stopped the training; what can be resumed is written."""


@dataclass
class Progressed:
    """What a run keeps beside its trainer: the best agent on the validation variants, and the held-out curves."""

    score: float = -np.inf
    step: int = 0
    agent: dict[str, torch.Tensor] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=lambda: {"steps": []})


def train(
    family: str | Family,
    agent: str | None = None,
    seed: int | None = None,
    steps: int | None = None,
    run: str | Path | None = None,
    device: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    encoder: bool = True,
    **settings: Any,
) -> Run:
    """Train one agent on a family of variants, and the encoder that infers parameters it is not told.

    Args:
        family: registered name, ``module:attribute``, path of a Python file that defines ``family``, or a ``Family``.
        agent: name of an arm; the first of ``hyperrl.agents.ARMS`` by default.
        seed: of everything random; 0 by default.
        steps: environment steps; the family's own by default.
        run: folder to write; ``runs/<family>-<agent>-<seed>`` by default.
        device: cpu, cuda or auto, the default.
        resume: go on with the run in the folder, bit for bit as if it had never stopped; start it where there is none.
        quiet: no progress bar.
        encoder: train it too, once the agent is finished, on the family's variants as the best agent plays them. That
            takes further environment steps, see ``hyperrl.inference.effort``, which count for nothing else. If false,
            or if nothing could be inferred, there is none; ``Run.encoder`` trains it when it is asked for.
        settings: any other field of ``hyperrl.config.Config``.

    Returns:
        The run, with the agent that did best on the validation variants.

    Raises:
        InputError: a setting is wrong, the folder already holds a run and ``resume`` is false, or the training
            diverged.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    known = family if isinstance(family, Family) else resolve(family)
    reference = known.name if isinstance(family, Family) else family
    if reference.endswith(".py"):
        reference = str(Path(reference).resolve())  # the run can be loaded from another folder
    named = {"agent": agent, "seed": seed, "steps": steps, "device": device}
    chosen = {name: value for name, value in named.items() if value is not None} | settings
    config = Config(family=reference).updated({**known.training, **chosen})
    folder = Path(run) if run is not None else Path("runs") / f"{known.name}-{config.agent}-{config.seed}"
    config = replace(config, device=pick_device(config.device).type)
    resumed = _settings_of_run(folder, config, known, chosen, resume)
    config = resumed or config
    known.check()
    trainer, progressed = Trainer(known, config), Progressed()
    checkpoint.require_writable(folder)
    if not resumed:
        write_settings(folder, config, known)
    path = folder / "checkpoint.pt"
    if path.exists():
        _restore(path, trainer, progressed)
    unfinished = trainer.iteration < config.iterations
    if unfinished:
        (folder / inference.FILE).unlink(missing_ok=True)  # asked for too early: another agent's
    encoder = encoder and bool(known.inferable) and not (folder / inference.FILE).exists()
    if unfinished:
        _loop(trainer, progressed, folder, quiet, encoder)
    finished = Run(folder, known)
    if encoder:
        _train_encoder(finished, quiet)
    return finished


def _settings_of_run(
    folder: Path, config: Config, family: Family, chosen: dict[str, Any], resume: bool
) -> Config | None:
    """Settings that the run in the folder was started with, ``None`` where the folder holds no run."""
    if not any((folder / name).exists() for name in ("config.json", "checkpoint.pt")):
        return None
    if not resume:
        raise InputError(f"{folder}: already holds a run; go on with --resume or choose another --run")
    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: holds a checkpoint without its config.json; choose another --run")
    stored, _ = read_settings(folder, family)
    if stored.device == "cuda" and config.device != "cuda":
        raise InputError(f"{folder}: was trained on cuda; resume it where there is a GPU, or choose another --run")
    for name in (*chosen, "family"):
        value, first = getattr(config, name), getattr(stored, name)
        if value != first:
            raise InputError(
                f"{name}={value}: the run in {folder} was started with {name}={first}; "
                "leave it out, or choose another --run"
            )
    return stored


def _restore(path: Path, trainer: Trainer, progressed: Progressed) -> None:
    state = checkpoint.load_run(path)
    try:
        trainer.load_state_dict(state["trainer"])
        best = state["best"]
        progressed.score, progressed.step, progressed.agent = best["score"], best["step"], best["agent"]
        progressed.curves = state["curves"]
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError):
        raise InputError(f"{path}: belongs to other settings than config.json; restore either") from None


def _save(path: Path, trainer: Trainer, progressed: Progressed) -> None:
    best = {"score": progressed.score, "step": progressed.step, "agent": progressed.agent}
    state = {
        "steps": trainer.steps,
        "trainer": trainer.state_dict(),
        "best": best,
        "curves": progressed.curves,
    }
    checkpoint.save(path, state)


def _loop(trainer: Trainer, progressed: Progressed, folder: Path, quiet: bool, more: bool) -> None:
    """Iterate to the end; where ``more`` is to come, Ctrl-C during the last iteration stops that."""
    config, path = trainer.config, folder / "checkpoint.pt"
    held_out = HeldOut(trainer.family)
    evaluated = {round((i + 1) * config.iterations / config.evaluations) for i in range(config.evaluations)}
    log = RunLog(folder, trainer.steps)
    saved = started = time.monotonic()
    first = trainer.steps
    with _stop_on_interrupt() as stop, _progress_bar(config, first, quiet) as advance, log:
        while trainer.iteration < config.iterations:
            metrics = trainer.iterate()
            if not np.isfinite(metrics["train/loss"]):
                raise InputError(
                    f"loss={metrics['train/loss']} after {trainer.steps:,} steps: the training has diverged; "
                    "choose a lower learning_rate, or mend the family's physics"
                )
            metrics["time/fps"] = (trainer.steps - first) / (time.monotonic() - started)
            if trainer.iteration in evaluated:
                metrics |= held_out.play(trainer, progressed)
                log.weights(trainer, held_out.variants["validation"])
            log.scalars(metrics, trainer.steps)
            advance(trainer.steps, metrics)
            last = trainer.iteration == config.iterations
            if last or stop() or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                if not progressed.agent:
                    held_out.keep(trainer, progressed)
                if last:
                    best = build_agent(trainer.family, config, trainer.device)
                    best.load_state_dict(progressed.agent)
                    log.finish(best, trainer, held_out.variants["validation"], progressed.score)
                log.flush()
                _save(path, trainer, progressed)
                saved = time.monotonic()
            if stop() and (more or not last):
                raise Interrupted(
                    f"stopped after {trainer.steps:,} of {config.iterations * config.iteration_steps:,} steps"
                )


def _train_encoder(run: Run, quiet: bool) -> None:
    """Nothing of it is kept before its end; what is resumed begins anew."""
    try:
        with _encoder_bar(run, quiet) as progress:
            inference.encoder_of(run, progress)
    except KeyboardInterrupt:
        raise Interrupted("the agent is finished, its encoder is not") from None


class HeldOut:
    """The held-out variants played during training."""

    def __init__(self, family: Family) -> None:
        self.variants: dict[str, np.ndarray] = {}
        for split in family.splits:
            self.variants[split] = family.variants(split, HELD_OUT[split])

    def play(self, trainer: Trainer, progressed: Progressed) -> dict[str, float]:
        """Play every split at once, remember the curves, and keep the agent if it is the best on validation."""
        table_TP = np.concatenate(list(self.variants.values()))
        act = Greedy(trainer.agent, trainer.family, table_TP, trainer.device)
        returns, lengths = episode_returns(
            trainer.family, table_TP, act, HELD_OUT_EPISODES, HELD_OUT_SEED, trainer.device, act.generate
        )
        ends = np.cumsum([len(variants) for variants in self.variants.values()])[:-1]
        scores = dict(zip(self.variants, np.split(returns.mean(1), ends), strict=True))
        progressed.curves["steps"].append(trainer.steps)
        for split, score_T in scores.items():
            progressed.curves.setdefault(split, []).append(float(score_T.mean()))
        validation = scores["validation"]
        if validation.mean() >= progressed.score:
            progressed.score = float(validation.mean())
            self.keep(trainer, progressed)
        tags = {f"eval/{split}/mean_reward": float(score_T.mean()) for split, score_T in scores.items()}
        tags |= {f"eval/{split}/worst_reward": float(score_T.min()) for split, score_T in scores.items()}
        count = len(validation)
        return tags | {
            "eval/mean_reward": float(validation.mean()),
            "eval/mean_ep_length": float(lengths[:count].mean()),
        }

    def keep(self, trainer: Trainer, progressed: Progressed) -> None:
        """Remember the agent as it is now."""
        progressed.step = trainer.steps
        progressed.agent = {name: value.cpu().clone() for name, value in trainer.agent.state_dict().items()}


@contextmanager
def _stop_on_interrupt() -> Iterator[Any]:
    """Turn the first Ctrl-C into a question that the loop asks between iterations; the second one is Python's own."""
    asked = []

    def ask(signum: int, frame: Any) -> None:
        asked.append(signum)
        signal.signal(signal.SIGINT, previous)

    try:
        previous = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread: Ctrl-C never comes here
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _progress_bar(config: Config, first: int, quiet: bool) -> Iterator[Any]:
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        BarColumn(),
        TextColumn("{task.fields[speed]:,.0f} steps/s  return {task.fields[score]}  left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as bar:
        total = config.iterations * config.iteration_steps
        task = bar.add_task("", total=total, completed=first, speed=0.0, score="-")
        shown = "-"  # until an episode has ended

        def advance(steps: int, metrics: dict[str, float]) -> None:
            nonlocal shown
            if np.isfinite(metrics["rollout/ep_rew_mean"]):
                shown = f"{metrics['rollout/ep_rew_mean']:.1f}"
            bar.update(task, completed=steps, speed=metrics["time/fps"], score=shown)
            if not quiet and bar.disable and "eval/mean_reward" in metrics:
                line = f"{steps:>12,} of {total:,} steps  {metrics['time/fps']:,.0f} steps/s  return {shown}"
                console.print(f"{line}  validation {metrics['eval/mean_reward']:.1f}", highlight=False)

        yield advance


@contextmanager
def _encoder_bar(run: Run, quiet: bool) -> Iterator[Any]:
    columns = (
        TextColumn("encoder: {task.completed:,.0f} of {task.total:,.0f} updates"),
        BarColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console, began = Console(stderr=True), time.monotonic()
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=inference.effort(run.family, run.config.steps).updates)
        yield lambda done, total: bar.update(task, completed=done)
        if not quiet and bar.disable:
            console.print(f"{'encoder':>12} trained in {time.monotonic() - began:,.0f} s", highlight=False)
