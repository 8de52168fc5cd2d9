"""What is written and drawn of an adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperrl.adaptation.result import Adaptation
from hyperrl.reports import figures
from hyperrl.reports.tensorboard import write_adaptation
from hyperrl.storage.files import write_json


def save_adaptation(adaptation: Adaptation, results: Sequence[dict[str, Any]], split: str | None = None) -> Path:
    """Write the JSON, TensorBoard's curves and the figure into the run's folder, in place of earlier ones.

    Args:
        adaptation: what is saved.
        results: its ``json``.
        split: where its variants are from; ``None`` where one was given, whose JSON is an object, not a list.

    Returns:
        The figure's path.
    """
    folder, unknown = adaptation.run.folder, "-unknown" if adaptation.unknown else ""
    name = f"{split or 'variant'}-{adaptation.mode}{unknown}"
    write_json(folder / "adaptations" / f"{name}.json", results[0] if split is None else list(results))
    curves = adaptation.played_KT, adaptation.played_steps_KT, adaptation.returns_KT
    write_adaptation(folder / "adaptations" / name, *curves)
    expert_T = np.array([np.nan if result["expert"] is None else result["expert"] for result in results])
    note = f"mode {adaptation.mode}, parameters {'unknown' if unknown else 'known'} to the agent"
    figure = figures.adaptation_curves(adaptation.run.family, curves[0], curves[2], expert_T, split, note)
    return figures.save(figure, folder / "figures" / f"adaptation-{name}.png")
