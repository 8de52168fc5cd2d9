"""What TensorBoard shows of a run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from hyperrl.agents import Agent
from hyperrl.config import Config
from hyperrl.play.frames import play_episode
from hyperrl.play.policy import VariantPolicy
from hyperrl.reports.animation import gif_bytes
from hyperrl.streams import only_shown
from hyperrl.training.trainer import Trainer


def _raises_once(method: Callable[..., None]) -> Callable[..., None]:
    """Let a disk that is full, or a folder that has gone, be one error: later ones are passed over."""

    @wraps(method)
    def raising(log: RunLog, *given: Any) -> None:
        try:
            method(log, *given)
        except OSError:
            if log.lost:
                return
            log.lost = True
            raise

    return raising


@contextmanager
def _errors_kept() -> Iterator[None]:
    """Show no traceback of TensorBoard's thread: its error comes back from the next call."""
    before = threading.excepthook

    def show(error: threading.ExceptHookArgs) -> None:
        if not type(error.thread).__module__.startswith("tensorboard."):
            before(error)

    threading.excepthook = show
    try:
        yield
    finally:
        threading.excepthook = before


class RunLog:
    """A run's event file. Tags are Stable-Baselines3's where it has one; the x axis is environment steps.

    What cannot be written any more raises ``OSError`` once.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """What is in the folder after ``step``, from an interrupted run, is hidden."""
        self.folder, self.step, self.lost = folder, step, False

    def __enter__(self) -> RunLog:
        with ExitStack() as opened:
            opened.enter_context(_errors_kept())
            # TensorBoard hides purge_step itself too, which the checkpoint's run has written and will not write again
            self.writer = SummaryWriter(self.folder, purge_step=self.step + 1)
            opened.callback(self._close)
            self._exit = opened.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        with only_shown("curves in TensorBoard"):
            self._exit.close()

    @_raises_once
    def _close(self) -> None:
        self.writer.close()

    @_raises_once
    def scalars(self, metrics: dict[str, float], step: int) -> None:
        """Curves; what is not finite (no episode ended, say) is left out."""
        for tag, value in metrics.items():
            if math.isfinite(value):
                self.writer.add_scalar(tag, value, step)

    @_raises_once
    def flush(self) -> None:
        """Put on disk what was logged, so that a checkpoint never knows more than the curves."""
        self.writer.flush()

    @_raises_once
    def weights(self, trainer: Trainer, variants_TP: np.ndarray) -> None:
        """Histograms of the generated weights, and of their deviation across variants."""
        weights_TD, _ = _generated(trainer.agent, trainer, variants_TP)
        if weights_TD.shape[1] and weights_TD.isfinite().all():
            self.writer.add_histogram("weights/generated", weights_TD, trainer.steps)
            self.writer.add_histogram("weights/deviation_across_variants", weights_TD.std(0), trainer.steps)

    @_raises_once
    def finish(self, best: Agent, trainer: Trainer, variants_TP: np.ndarray, score: float) -> None:
        """The best agent's GIF on a validation variant, its embeddings for the projector, and the hparams page."""
        if trainer.family.drawn:
            with only_shown("GIF of the best agent"):
                self._gif(best, trainer, variants_TP[0])
        weights_TD, context_TC = _generated(best, trainer, variants_TP)
        labels = [[f"{value:.3g}" for value in row] for row in variants_TP]
        names = list(trainer.family.names)
        for tag, matrix in (("contexts", context_TC), ("generated_weights", weights_TD)):
            if matrix.shape[1] > 1:
                header = [*names, "variant"]
                rows = [[*row, str(i)] for i, row in enumerate(labels)]
                self.writer.add_embedding(
                    _compact(matrix), rows, metadata_header=header, tag=tag, global_step=trainer.steps
                )
        # last, because it opens a newer event file, and a running TensorBoard reads the older one no more
        self.writer.flush()
        self.writer.add_hparams(_settings(trainer.config), {"hparam/validation": score}, run_name=".")

    @_raises_once
    def _gif(self, best: Agent, trainer: Trainer, variant_P: np.ndarray) -> None:
        parameters = dict(zip(trainer.family.names, map(float, variant_P), strict=True))
        policy = VariantPolicy(best, trainer.family, parameters, device=trainer.device)
        frames, fps, _ = play_episode(policy)
        image = Summary.Image(
            height=frames[0].shape[0],
            width=frames[0].shape[1],
            colorspace=3,
            encoded_image_string=gif_bytes(frames, fps),
        )
        summary = Summary(value=[Summary.Value(tag="play/validation_variant", image=image)])
        self.writer._get_file_writer().add_summary(summary, trainer.steps)


def write_adaptation(folder: Path, episodes_KT: np.ndarray, steps_KT: np.ndarray, returns_KT: np.ndarray) -> None:
    """Curves of an adaptation, over environment steps and over episodes, in place of those in the folder.

    Args:
        folder: of its own, so that it is a run of its own to TensorBoard.
        episodes_KT: played on each variant (K, T); the x axis is their mean.
        steps_KT: environment steps that they took (K, T), likewise.
        returns_KT: mean returns (K, T).
    """
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(folder) as writer:
        for episodes_T, steps_T, returns_T in zip(episodes_KT, steps_KT, returns_KT, strict=True):
            for name, value in (("mean", returns_T.mean()), ("worst", returns_T.min())):
                writer.add_scalar(f"adapt/{name}_reward", value, round(steps_T.mean()))
                writer.add_scalar(f"adapt/{name}_reward_by_episode", value, round(episodes_T.mean()))


def write_comparison(folder: Path, config: Config, metrics: Mapping[str, float]) -> None:
    """A row of the hparams page: a run's settings and its scores, in place of those in the folder."""
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(folder) as writer:
        shown = {name: value for name, value in metrics.items() if math.isfinite(value)}
        writer.add_hparams(_settings(config), shown, run_name=".")


def _settings(config: Config) -> dict[str, bool | int | float | str]:
    """Settings as the hparams page takes them."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in asdict(config).items()
    }


def _compact(matrix_TD: torch.Tensor) -> torch.Tensor:
    """Rows (T, min(T, D)) with the same distances from each other: the text of thousands of columns takes a second."""
    if matrix_TD.shape[1] <= len(matrix_TD):
        return matrix_TD
    left, sizes, _ = torch.linalg.svd(matrix_TD - matrix_TD.mean(0), full_matrices=False)
    return left * sizes


@torch.no_grad()
def _generated(agent: Agent, trainer: Trainer, variants_TP: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    variants = torch.as_tensor(variants_TP, dtype=torch.float32, device=trainer.device)
    context_TC = trainer.family.encode(variants)
    return agent.generate(context_TC).cpu(), context_TC.cpu()
