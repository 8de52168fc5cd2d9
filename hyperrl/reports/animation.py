"""GIFs of episodes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

GIF_FPS = 50
"""Frames that a GIF shows in a second at the most: viewers slow shorter delays than 20 ms down to 100 ms."""


def gif_bytes(frames: Sequence[np.ndarray], fps: float) -> bytes:
    """An endless GIF of frames (H, W, 3) uint8, in one palette of at most 256 colours.

    It lasts as long as the frames do, to 10 ms, which is what GIFs count in. Above 50 frames a second some
    are left out. Equal neighbours are stored as one longer frame.

    Raises:
        ValueError: there are no frames, or ``fps`` is not above 0.
    """
    if not len(frames) or not fps > 0:
        raise ValueError(f"{len(frames)} frames at {fps} frames/s: needs at least one, and a rate above 0")
    stride = math.ceil(fps / GIF_FPS)
    shown = frames[::stride]
    # one palette for all frames: nothing flickers, and only what moves is stored
    sampled = [shown[i] for i in np.linspace(0, len(shown) - 1, 8).astype(int)]
    palette = _palette(np.concatenate(sampled))
    # Pillow compares colours by their upper six bits; with the lower two gone its answer is exact
    coarse = Image.new("P", (1, 1))
    coarse.putpalette((palette & 0xFC).tobytes())
    images = [Image.fromarray(frame & 0xFC).quantize(palette=coarse, dither=Image.Dither.NONE) for frame in shown]
    for image in images:
        image.putpalette(palette.tobytes())
    ends = [min((i + 1) * stride, len(frames)) for i in range(len(shown))]
    durations = 10 * np.diff(np.round(np.array([0, *ends]) * 100 / fps)).astype(int)
    file = io.BytesIO()
    looks: dict[str, Any] = {"save_all": True, "loop": 0, "optimize": True, "disposal": 1}
    delays = [max(20, int(ms)) for ms in durations]
    images[0].save(file, format="GIF", append_images=images[1:], duration=delays, **looks)
    return file.getvalue()


def _palette(pixels: np.ndarray) -> np.ndarray:
    """Colours (256, 3) uint8 for pixels (..., 3): the commonest of each shade, or else Pillow's choice."""
    packed = pixels.reshape(-1, 3).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    colours, counts = np.unique(packed, return_counts=True)
    colours = colours[np.argsort(-counts, kind="stable")]
    shades, first = np.unique(colours & 0xFCFCFC, return_index=True)
    if len(shades) <= 256:
        rows = colours[first, None] >> np.array([16, 8, 0], dtype=np.uint32) & 0xFF
    else:
        rows = np.array(Image.fromarray(pixels).quantize(256).getpalette()).reshape(-1, 3)
    return np.concatenate([rows, np.repeat(rows[:1], 256 - len(rows), axis=0)]).astype(np.uint8)
