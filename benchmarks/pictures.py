"""The README's animations: several variants side by side, each under the policy that one run wrote for it.

make demo
python benchmarks/pictures.py                                        # the run of the demo, with its learning curves
python benchmarks/pictures.py runs/half_cheetah_velocity-hyper-0 --seconds 2
"""

from __future__ import annotations

import argparse
import shutil
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import hyperrl
from hyperrl.play.frames import play_episode
from hyperrl.reports.animation import gif_bytes

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
VARIANTS: dict[str, tuple[dict[str, float], ...]] = {
    "cartpole": (
        {"length": 0.25, "gravity": 6.0},
        {"length": 0.6, "masspole": 0.4},
        {"length": 1.0, "masspole": 0.5},
        {"length": 0.3, "force_mag": 15.0},
        {"length": 0.9, "gravity": 15.0},
        {"length": 0.7, "masscart": 2.0, "force_mag": 6.0},
    ),
    "half_cheetah_velocity": tuple({"target_velocity": speed} for speed in (0.3, 0.9, 1.4, 1.8, 2.3, 2.9)),
}
COLUMNS = 3


def labelled(frame: np.ndarray, text: str) -> np.ndarray:
    """The frame with a line of text at its top."""
    image = Image.fromarray(frame)
    ImageDraw.Draw(image).text((6, 4), text, fill=(40, 40, 40), font=ImageFont.load_default(size=13))
    return np.asarray(image)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--seconds", type=float, default=10.0, help="longest animation")
    args = parser.parse_args()
    run = hyperrl.load(args.run)
    name, columns, rate = run.family.name, [], 30.0
    PICTURES.mkdir(parents=True, exist_ok=True)
    if name == "cartpole":
        shutil.copy(run.folder / "figures" / "learning_curves.png", PICTURES / f"{name}.png")
    for parameters in VARIANTS[name]:
        frames, rate, total = play_episode(run.policy(**parameters), seed=3)
        units = [f"{key} {value:g} {run.family[key].unit}" for key, value in parameters.items()]
        shown = frames[: int(args.seconds * rate)]
        columns.append([labelled(frame, f"{', '.join(units)}: {total:.0f}") for frame in shown])
        print(parameters, total)
    grids = []
    for row in zip_longest(*columns):
        shown = [frame if frame is not None else column[-1] for frame, column in zip(row, columns, strict=True)]
        lines = [np.concatenate(shown[i : i + COLUMNS], axis=1) for i in range(0, len(shown), COLUMNS)]
        grids.append(np.concatenate(lines))
    (PICTURES / f"{name}.gif").write_bytes(gif_bytes(grids, rate))


if __name__ == "__main__":
    main()
