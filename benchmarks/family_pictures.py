"""A picture of each shipped family: the same actions from the same start, under different parameters.

python benchmarks/family_pictures.py [FAMILY ...]

MuJoCo's families need a way to draw without a screen, ``MUJOCO_GL=egl`` or ``osmesa``.
"""

from __future__ import annotations

import io
import math
import os
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hyperrl.envs import Family, registry

PICTURES = Path(__file__).parents[1] / "docs" / "pictures" / "families"
WIDTH, COLOURS = 880, 64  # pixels of a strip, colours of its palette
INK, RED = (40, 40, 40), (190, 60, 50)
LINE = 16  # pixels, height of a line of text

Act = Callable[[int, np.ndarray], Any]
Variant = Mapping[str, float]


@dataclass(frozen=True)
class Strip:
    """One frame a variant, side by side."""

    variants: Sequence[Variant]
    """What differs from the defaults."""
    steps: int
    """Actions before the frame, fewer where the episode ends."""
    act: Act
    """(step, observation) -> action."""
    told: str
    """The actions in words, after "after"."""
    trail: int = 0
    """Every so many steps an earlier place is shown faintly; 0 for none. For cameras that stand still."""
    seed: int = 0
    """Of the start."""
    arrow: Callable[[Variant], tuple[float, float]] | None = None
    """What is asked for, as (across, up) of at most 1."""
    above: float = 0.0
    """Seen straight from above, from so many metres, instead of as Gymnasium does."""
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom of what is kept of a frame."""


def hold(*action: float) -> Act:
    """The same action again and again; one number for a discrete one."""
    return lambda step, obs: np.array(action, dtype=np.float32)


def choose(*actions: int) -> Act:
    """Discrete actions one after the other, then again."""
    return lambda step, obs: actions[step % len(actions)]


def wave(period: float, *joints: tuple[float, float, float]) -> Act:
    """Sines of ``period`` steps: (mean, amplitude, phase in turns) of each joint."""

    def act(step: int, obs: np.ndarray) -> np.ndarray:
        turns = [step / period + phase for _, _, phase in joints]
        waves = zip(joints, turns, strict=True)
        return np.array([mean + size * math.sin(2 * math.pi * turn) for (mean, size, _), turn in waves], dtype=np.float32)

    return act


def lean(step: int, obs: np.ndarray) -> int:
    """Push the cart towards where the pole leans and falls."""
    return int(obs[2] + 0.4 * obs[3] > 0)


def lean_continuous(step: int, obs: np.ndarray) -> np.ndarray:
    """As ``lean``, dosed."""
    return np.clip(np.array([4 * obs[2] + 1.6 * obs[3]], dtype=np.float32), -1, 1)


def rock(step: int, obs: np.ndarray) -> int:
    """Push the car the way it moves."""
    return 2 if obs[1] >= 0 else 0


def along(name: str, most: float) -> Callable[[Variant], tuple[float, float]]:
    """An arrow across, as long as the parameter's share of ``most``."""
    return lambda variant: (variant[name] / most, 0.0)


def compass(name: str) -> Callable[[Variant], tuple[float, float]]:
    """An arrow that way, in degrees."""
    return lambda variant: (math.cos(math.radians(variant[name])), math.sin(math.radians(variant[name])))


CARTPOLES = ({"length": 0.25}, {"length": 1.0}, {"gravity": 15.0, "masspole": 0.5}, {"masscart": 2.0, "force_mag": 5.0})
DOSED = ({"force": 10.0}, {"force": -10.0}, {"force": 15.0, "length": 0.3}, {"force": 6.0, "length": 0.85})
DISTRACTED = (
    {"force": 10.0, "distractor_0": 0.0},
    {"force": 10.0, "distractor_0": 1.0},
    {"force": -10.0, "distractor_0": 0.0},
    {"force": -10.0, "distractor_0": 1.0},
)
BODY = ({"gravity": 5.0}, {"gravity": 15.0}, {"mass": 0.7, "gear": 1.5}, {"mass": 1.5, "gear": 0.7})
TROT = wave(10, (0, 0.9, 0.0), (0, 0.7, 0.25), (0, 0.6, 0.4), (0, 0.9, 0.5), (0, 0.7, 0.75), (0, 0.6, 0.9))
STRIDE = wave(60, (0, 0.35, 0.0), (-0.1, 0.25, 0.3), (0, 0.1, 0.0), (0, 0.35, 0.5), (-0.1, 0.25, 0.8), (0, 0.1, 0.5))
CRAWL = wave(20, *((0, 0.4, leg / 4 + part / 8) for leg in range(4) for part in range(2)))
WIND = (
    {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 0.0},
    {"gravity": -10.0, "wind_power": 15.0, "turbulence_power": 0.0},
    {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 1.5},
    {"gravity": -4.0, "wind_power": 15.0, "turbulence_power": 1.5},
)
DRIFTED = ({}, {"length": 0.25}, {"length": 1.0}, {"gravity": 15.0})

STRIPS: dict[str, Strip] = {
    "cartpole": Strip(CARTPOLES, 60, lean, "60 pushes, each towards where the pole leans", 15),
    "cartpole_drift": Strip(DRIFTED, 60, lean, "60 pushes, each towards where the pole leans", 15),
    "pendulum": Strip(
        ({}, {"g": 5.0}, {"l": 0.5}, {"max_torque": 1.0, "m": 1.5}), 16, hold(2.0), "16 torques of 2 N m", 3, seed=2
    ),
    "pendulum_signed": Strip(
        ({"max_torque": 2.0}, {"max_torque": -2.0}, {"max_torque": 3.0}, {"max_torque": -3.0}),
        12,
        hold(3.0),
        "12 torques of 3 N m, each cut to the motor's strength",
        3,
        seed=2,
    ),
    "pendulum_spin": Strip(
        ({"target": -6.0}, {"target": -3.0}, {"target": 3.0}, {"target": 6.0}),
        12,
        hold(10.0),
        "12 torques of 10 N m",
        3,
        seed=2,
    ),
    "acrobot": Strip(
        ({}, {"link_length_1": 0.75}, {"link_length_2": 1.25, "link_mass_2": 1.25}, {"gravity": 8.0}),
        40,
        choose(*(2,) * 7, *(0,) * 7),
        "40 torques of 1 N m, turned round every 7 steps",
        8,
    ),
    "mountain_car": Strip(
        ({}, {"gravity": 0.00175}, {"gravity": 0.00375}, {"force": 0.0015}), 100, rock, "pushes the way the car moves", 12
    ),
    "mountain_car_continuous": Strip(
        ({}, {"gravity": 0.00175}, {"gravity": 0.00375}, {"power": 0.00105}), 60, hold(1.0), "60 pushes of 1", 8
    ),
    "mountain_car_continuous_signed": Strip(
        ({"power": 0.0015}, {"power": -0.0015}, {"power": 0.00225}, {"power": -0.00225}),
        20,
        hold(1.0),
        "20 pushes of 1",
        4,
    ),
    "cartpole_continuous": Strip(DOSED, 60, lean_continuous, "pushes, each towards where the pole leans", 15),
    "cartpole_continuous_d20": Strip(DISTRACTED, 60, lean_continuous, "pushes, each towards where the pole leans", 15),
    "cartpole_continuous_d100": Strip(DISTRACTED, 60, lean_continuous, "pushes, each towards where the pole leans", 15),
    "ode1": Strip(({"c0": -5.0}, {"c0": -1.0}, {"c0": 1.0}, {"c0": 5.0}), 4, hold(-0.05, 0.0), "4 actions (-0.05, 0)", 1),
    "ode2": Strip(
        ({"c0": -5.0}, {"c0": 5.0}, {"c0": 1.0, "c1": 5.0}, {"c0": 1.0, "c1": -5.0}),
        4,
        hold(-0.3, 0.0),
        "4 actions (-0.3, 0)",
        1,
    ),
    "point": Strip(
        ({"phi": 0.0}, {"phi": 90.0}, {"phi": 200.0, "mass": 1.5}, {"gain": 0.5, "goal_x": -1.0, "goal_y": -0.5}),
        25,
        hold(1.0, 0.3),
        "25 actions (1, 0.3)",
        4,
        seed=3,
    ),
    "lunar_lander": Strip(
        ({"gravity": -4.0}, {"gravity": -7.0}, {"gravity": -10.0}, {"gravity": -11.9}),
        70,
        choose(0, 0, 0, 2, 0, 1),
        "70 actions, now and then an engine",
        14,
    ),
    "lunar_lander_wind": Strip(WIND, 70, choose(0, 0, 2), "70 actions, every third the main engine", 14),
    "lunar_lander_continuous": Strip(WIND, 70, hold(0.1, 0.0), "70 actions of little thrust", 14),
    "bipedal_walker": Strip(
        ({}, {"gravity": -7.0}, {"hull_density": 8.0}, {"motors_torque": 60.0, "friction": 1.0}),
        45,
        wave(30, (0, 0.8, 0.0), (0, 0.6, 0.3), (0, 0.8, 0.5), (0, 0.6, 0.8)),
        "45 swings of the joints",
    ),
    "half_cheetah": Strip(BODY, 60, TROT, "60 swings of the joints"),
    "half_cheetah_velocity": Strip(
        ({"target_velocity": 0.0}, {"target_velocity": 1.0}, {"target_velocity": 2.0}, {"target_velocity": 3.0}),
        60,
        TROT,
        "60 swings of the joints",
        arrow=along("target_velocity", 3),
    ),
    "half_cheetah_direction": Strip(
        (
            {"direction": 1.0},
            {"direction": -1.0},
            {"direction": 1.0, "gravity": 5.0},
            {"direction": -1.0, "mass": 1.5},
        ),
        60,
        TROT,
        "60 swings of the joints",
        arrow=along("direction", 1),
    ),
    "hopper": Strip(BODY, 60, wave(60, (0, 0.3, 0.0), (0.1, 0.3, 0.2), (0.2, 0.5, 0.4)), "swings of the joints"),
    "walker2d": Strip(BODY, 80, STRIDE, "swings of the joints"),
    "ant": Strip(BODY, 40, CRAWL, "40 swings of the joints"),
    "ant_velocity": Strip(
        ({"target_velocity": 0.0}, {"target_velocity": 1.0}, {"target_velocity": 2.0}, {"target_velocity": 3.0}),
        40,
        CRAWL,
        "40 swings of the joints",
        arrow=along("target_velocity", 3),
    ),
    "ant_direction": Strip(
        ({"direction": 0.0}, {"direction": 90.0}, {"direction": 200.0}, {"direction": 315.0}),
        40,
        CRAWL,
        "40 swings of the joints",
        arrow=compass("direction"),
        above=5.0,
    ),
    "inverted_pendulum": Strip(
        ({"gravity": 5.0}, {"gravity": 15.0}, {"gear": 0.7}, {"gear": 1.5}), 8, hold(0.5), "commands of 0.5"
    ),
    "inverted_double_pendulum": Strip(
        ({"gravity": 5.0}, {"gravity": 15.0}, {"gear": 0.7}, {"gear": 1.5}), 12, hold(0.3), "commands of 0.3"
    ),
    "reacher": Strip(
        ({}, {"damping": 0.7}, {"gear": 1.5}, {"damping": 1.5, "gear": 0.7}), 15, hold(0.6, -0.3), "15 equal commands"
    ),
    "swimmer": Strip(
        ({}, {"mass": 1.5}, {"gear": 1.5}, {"density": 1.5}), 60, wave(25, (0, 1, 0), (0, 1, 0.25)), "60 waves of the joints"
    ),
}


def look_from_above(env: gymnasium.Env, metres: float) -> None:
    """Point the free camera of a MuJoCo task down at the first body, x to the right and y up."""
    twin: Any = env.unwrapped
    twin = twin._twin
    renderer = twin.mujoco_renderer
    renderer.camera_id = -1
    camera = renderer._get_viewer("rgb_array").cam
    camera.type, camera.trackbodyid = 1, 1  # follows a body
    camera.azimuth, camera.elevation, camera.distance = 90.0, -90.0, metres


def play(family: Family, variant: Variant, strip: Strip) -> tuple[np.ndarray, int, float, bool]:
    """Frame (H, W, 3) after the strip's actions, steps, return, and whether the episode terminated."""
    env = family.single(render_mode="rgb_array", **variant)
    obs, _ = env.reset(seed=strip.seed)
    if strip.above:
        look_from_above(env, strip.above)
    frames, total, terminated, step = [np.asarray(env.render())] if strip.trail else [], 0.0, False, 0
    while step < strip.steps and not terminated:
        obs, reward, terminated, _, _ = env.step(strip.act(step, obs))
        step, total = step + 1, total + float(reward)
        if strip.trail and step % strip.trail == 0:
            frames.append(np.asarray(env.render()))
    last = np.asarray(env.render())
    env.close()
    return (with_trail(last, frames) if frames else last), step, total, terminated


def with_trail(last: np.ndarray, earlier: Sequence[np.ndarray]) -> np.ndarray:
    """What moved in the earlier frames (H, W, 3), faintly, where the last frame shows background."""
    background = np.median(np.stack([*earlier, last]), axis=0)
    shown = last.astype(float)
    still = np.abs(last - background).max(-1) < 30
    for share, frame in zip(np.linspace(0.25, 0.6, len(earlier)), earlier, strict=True):
        moved = (np.abs(frame - background).max(-1) > 30) & still
        shown[moved] = (1 - share) * background[moved] + share * frame[moved]
    return shown.astype(np.uint8)


def draw_arrow(image: Image.Image, across: float, up: float) -> None:
    """An arrow from the middle of the image; a ring where there is nowhere to go."""
    draw, middle = ImageDraw.Draw(image), np.array(image.size) / 2
    reach = np.array([across, -up]) * image.size[0] * 0.38
    length = float(np.hypot(*reach))
    if length < 1:
        draw.ellipse([*(middle - 6), *(middle + 6)], outline=RED, width=3)
        return
    end, along, aside = middle + reach, reach / length, np.array([-reach[1], reach[0]]) / length
    draw.line([*middle, *(end - 8 * along)], fill=RED, width=4)
    draw.polygon([tuple(end), *(tuple(end - 14 * along + side * aside) for side in (7, -7))], fill=RED)


def panel(family: Family, variant: Variant, strip: Strip, width: int) -> Image.Image:
    """One variant: its parameters, the frame, and the return."""
    frame, steps, total, terminated = play(family, variant, strip)
    height, full = frame.shape[:2]
    left, top, right, bottom = (round(share * size) for share, size in zip(strip.crop, (full, height) * 2, strict=True))
    image = Image.fromarray(frame[top:bottom, left:right])
    image = image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS)
    if strip.arrow:
        draw_arrow(image, *strip.arrow({**family.defaults, **variant}))
    lines = [f"{name} {value:g} {family[name].unit}".removesuffix(" 1") for name, value in variant.items()]
    lines = lines or ["the defaults"]
    most = max(len(other) for other in strip.variants)
    ended = f"ends after {steps}: " if terminated else ""
    whole = Image.new("RGB", (width, image.height + LINE * (max(most, 1) + 1) + 6), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=12)
    for row, line in enumerate(lines):
        draw.text((2, LINE * row), line, fill=INK, font=font)
    whole.paste(image, (0, LINE * max(most, 1) + 2))
    draw.text((2, whole.height - LINE - 1), f"{ended}return {total:.3g}", fill=INK, font=font)
    return whole


def picture(family: Family, strip: Strip) -> bytes:
    """The strip as a PNG of few colours."""
    gap, count = 8, len(strip.variants)
    width = min((WIDTH - gap * (count - 1)) // count, 300)
    panels = [panel(family, variant, strip, width) for variant in strip.variants]
    whole = Image.new("RGB", (count * (width + gap) - gap, panels[0].height), "white")
    for i, one in enumerate(panels):
        whole.paste(one, (i * (width + gap), 0))
    file = io.BytesIO()
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("families", nargs="*", metavar="FAMILY", choices=[*STRIPS, []], help="all by default")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # frames need no display
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().families or STRIPS:
        content = picture(registry.get(name), STRIPS[name])
        (PICTURES / f"{name}.png").write_bytes(content)
        print(f"written: docs/pictures/families/{name}.png, {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
