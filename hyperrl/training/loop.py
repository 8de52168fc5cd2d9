"""From a trainer to a finished checkpoint: iterations, held-out play, checkpoints, curves, Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hyperrl.agents import Agent
from hyperrl.config import Config
from hyperrl.envs import InputError
from hyperrl.storage import checkpoint
from hyperrl.storage.agent import build_agent
from hyperrl.storage.run import require_settings
from hyperrl.streams import console, only_shown
from hyperrl.training.finite import whole
from hyperrl.training.held_out import VALIDATION, HeldOut, Progressed
from hyperrl.training.trainer import Trainer

SECONDS_BETWEEN_CHECKPOINTS = 15.0
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals after which a run saves and stops; Windows has no SIGHUP."""


class Interrupted(Exception):
    """Ctrl-C stopped the training; what can be resumed is written."""


class Log(AbstractContextManager["Log"], Protocol):
    """Where a run's curves go."""

    def scalars(self, metrics: dict[str, float], step: int) -> None:
        """Add a point to each curve, after so many environment steps."""

    def weights(self, trainer: Trainer, variants_TP: np.ndarray) -> None:
        """Show what is generated for some variants."""

    def finish(self, best: Agent, trainer: Trainer, variants_TP: np.ndarray, score: float) -> None:
        """Show the best agent."""

    def flush(self) -> None:
        """Put on disk what was logged."""


class NoLog(Log):
    """Shows nothing."""

    def scalars(self, metrics: dict[str, float], step: int) -> None:
        """Nothing."""

    def weights(self, trainer: Trainer, variants_TP: np.ndarray) -> None:
        """Nothing."""

    def finish(self, best: Agent, trainer: Trainer, variants_TP: np.ndarray, score: float) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def __exit__(self, *_: Any) -> None:
        """Nothing."""


def restore(path: Path, trainer: Trainer, progressed: Progressed) -> None:
    """Go on from a checkpoint.

    Raises:
        InputError: it cannot be read, belongs to other settings, or the environment fails to play its episodes again.
    """
    state = checkpoint.load_run(path.parent, progressed.run)
    try:
        trainer.load_state_dict(state["trainer"])
        best = state["best"]
        progressed.score, progressed.step, progressed.agent = best["score"], best["step"], best["agent"]
        progressed.curves = state["curves"]
        progressed.seconds, progressed.elapsed = state["seconds"], state["elapsed"]
    except InputError:
        raise
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError):
        raise InputError(f"{path}: belongs to other settings than config.json; restore either") from None


def save(path: Path, trainer: Trainer, progressed: Progressed) -> None:
    """Write a checkpoint: every process of the training takes part, the first one writes.

    Raises:
        InputError: as ``checkpoint.save``, or the run's folder is there no longer.
    """
    state = trainer.state_dict()
    if not trainer.ranks.first:
        return
    require_settings(path.parent)
    best = {"score": progressed.score, "step": progressed.step, "agent": progressed.agent}
    content = {
        "run": progressed.run,
        "steps": trainer.steps,
        "trainer": state,
        "best": best,
        "curves": progressed.curves,
        "seconds": progressed.seconds,
        "elapsed": progressed.elapsed,
    }
    checkpoint.save_run(path, content)


def run_loop(
    trainer: Trainer, progressed: Progressed, folder: Path, open_log: Callable[[], Log], quiet: bool, more: bool
) -> None:
    """Iterate to the end.

    If ``more`` is to follow the training, Ctrl-C during the last iteration raises ``Interrupted`` too.
    """
    config, path = trainer.config, folder / checkpoint.FILE
    held_out = HeldOut(trainer.family)
    evaluated = config.evaluated
    saved = started = time.monotonic()
    first, before, ranks = trainer.steps, progressed.elapsed, trainer.ranks
    with (
        _stop_on_interrupt() as stop,
        _progress_bar(config, first, quiet) as advance,
        open_log() as log,
    ):

        def keep() -> None:
            if ranks.first and np.isneginf(progressed.score):  # nothing to choose by, up to now
                held_out.keep(trainer, progressed)
            with only_shown("curves in TensorBoard"):
                log.flush()
            progressed.elapsed = before + time.monotonic() - started
            save(path, trainer, progressed)

        while trainer.iteration < config.iterations:
            try:
                metrics = trainer.iterate()
                if ranks.first and trainer.iteration in evaluated:
                    metrics |= held_out.play(trainer, progressed)
                    progressed.seconds.append(before + time.monotonic() - started)
            except Exception as fault:
                if ranks.count > 1 or not (trainer.iteration and whole(trainer.agent)):
                    raise  # of several processes, others may be somewhere else
                with suppress(Exception):  # what failed may fail again: then the last checkpoint counts
                    trainer.begin_anew()
                    keep()
                    said = f"{fault}; saved after {trainer.steps:,} steps, --resume starts new episodes"
                    fault = InputError(said) if isinstance(fault, InputError) else fault
                raise fault from None
            metrics["time/fps"] = (trainer.steps - first) / (time.monotonic() - started)
            if ranks.first and trainer.iteration in evaluated:
                with only_shown("weights in TensorBoard"):
                    log.weights(trainer, held_out.variants[VALIDATION])
            with only_shown("curves in TensorBoard"):
                log.scalars(metrics, trainer.steps)
            advance(trainer.steps, metrics)
            last = trainer.iteration == config.iterations
            stopping, due = ranks.agreed(stop(), time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS)
            if last or stopping or due:
                keep()
                saved = time.monotonic()
                if last and ranks.first:
                    best = build_agent(trainer.family, config, trainer.device)
                    best.load_state_dict(progressed.agent)
                    with only_shown("the best agent in TensorBoard"):
                        log.finish(best, trainer, held_out.variants[VALIDATION], progressed.score)
            if stopping and (more or not last):
                raise Interrupted(
                    f"stopped after {trainer.steps:,} of {config.iterations * config.iteration_steps:,} steps"
                )


@contextmanager
def _stop_on_interrupt() -> Iterator[Any]:
    """Turn the first signal of ``STOPPING`` into a question that the loop asks between iterations.

    A second one does what it did before. A signal that is ignored, as SIGHUP under nohup, stays ignored.
    """
    asked: list[int] = []

    def ask(signum: int, frame: Any) -> None:
        asked.append(signum)
        handlers.close()

    with ExitStack() as handlers:
        handlers.enter_context(_handled(ask))
        yield lambda: bool(asked)


@contextmanager
def interrupting() -> Iterator[None]:
    """Let every signal of ``STOPPING`` do what Ctrl-C does."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle the signals of ``STOPPING``; no thread but the main one ever gets any."""
    previous = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in STOPPING}
        previous = {number: old for number, old in handlers.items() if old not in (signal.SIG_IGN, None)}
    for number in previous:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


@contextmanager
def _progress_bar(config: Config, first: int, quiet: bool) -> Iterator[Any]:
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        BarColumn(),
        TextColumn("{task.fields[speed]:,.0f} steps/s  return {task.fields[score]}  left"),
        TimeRemainingColumn(),
    )
    shown_on = console()
    with Progress(*columns, console=shown_on, disable=quiet or not shown_on.file.isatty()) as bar:
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
                shown_on.print(f"{line}  validation {metrics['eval/mean_reward']:.1f}", highlight=False)

        yield advance
