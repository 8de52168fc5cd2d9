"""What is written and drawn of a comparison."""

from __future__ import annotations

from pathlib import Path

from hyperrl.evaluation.compare import Comparison
from hyperrl.evaluation.statistics import iqm, worst_tenth
from hyperrl.reports import figures
from hyperrl.reports.tensorboard import write_comparison
from hyperrl.streams import only_shown


def save_comparison(found: Comparison, png: Path | None = None) -> Path:
    """Draw a comparison, and give each of its runs a row on TensorBoard's hparams page.

    Args:
        found: what was played.
        png: where the figure goes; ``figures/compare-<split>.png`` of the first run by default.

    Returns:
        Where the figure is.
    """
    for arm in found.arms:
        for run, evaluation in zip(arm.runs, arm.evaluations, strict=True):
            scores = {
                "mean": float(evaluation.means_T.mean()),
                "iqm": float(iqm(evaluation.returns_TE)),
                "worst_tenth": worst_tenth(evaluation.means_T),
            }
            tagged = {f"compare/{found.split}/{name}": value for name, value in scores.items()}
            with only_shown("hparams in TensorBoard"):
                write_comparison(run.folder / f"compare-{found.split}", run.config, tagged)
    path = png or found.arms[0].runs[0].folder / "figures" / f"compare-{found.split}.png"
    return figures.save(figures.comparison(found), path)
