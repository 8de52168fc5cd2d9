"""The README's pictures, from a run of the CartPole family.

make demo
python benchmarks/pictures.py [--run runs/demo]
"""

from __future__ import annotations

import argparse
import shutil
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import hyperrl
from hyperrl.figures import gif_bytes
from hyperrl.play import play_episode

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
VARIANTS: tuple[dict[str, float], ...] = (
    {"length": 0.25, "gravity": 6.0},
    {"length": 0.6, "masspole": 0.4},
    {"length": 1.0, "masspole": 0.5},
    {"length": 0.3, "force_mag": 15.0},
    {"length": 0.9, "gravity": 15.0},
    {"length": 0.7, "masscart": 2.0, "force_mag": 6.0},
)


def labelled(frame: np.ndarray, text: str) -> np.ndarray:
    """The frame with a line of text at its top."""
    image = Image.fromarray(frame)
    ImageDraw.Draw(image).text((6, 4), text, fill=(40, 40, 40), font=ImageFont.load_default(size=13))
    return np.asarray(image)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    run = hyperrl.load(parser.parse_args().run)
    PICTURES.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.folder / "figures" / "learning_curves.png", PICTURES / "cartpole.png")
    columns = []
    for parameters in VARIANTS:
        frames, fps, total = play_episode(run.policy(**parameters), seed=3)
        units = [f"{name} {value:g} {run.family[name].unit}" for name, value in parameters.items()]
        columns.append([labelled(frame, f"{', '.join(units)}: {total:.0f}") for frame in frames])
        print(parameters, total)
    grids = []
    for row in zip_longest(*columns):
        shown = [frame if frame is not None else column[-1] for frame, column in zip(row, columns, strict=True)]
        grids.append(np.concatenate([np.concatenate(shown[:3], axis=1), np.concatenate(shown[3:], axis=1)]))
    (PICTURES / "cartpole.gif").write_bytes(gif_bytes(grids, fps))


if __name__ == "__main__":
    main()
