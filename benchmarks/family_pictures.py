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
INK, RED, FRAME = (40, 40, 40), (220, 30, 30), (200, 200, 200)
GROUND = 0.88  # of the height of a frame, from above
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
    caption: str
    """The actions in words."""
    trail: int = 0
    """Every so many steps an earlier place is shown faintly; 0 for none. For a plain background that stands still."""
    seeds: Sequence[int] = (0, 0, 0, 0)
    """Of the start of each variant."""
    arrow: Callable[[Variant], tuple[float, float]] | None = None
    """What is asked for, as (across, up) of at most 1."""
    turn: Callable[[Variant], float] | None = None
    """What is asked for, as the share of a turn to the left, in [-1, 1]."""
    camera: tuple[float, float] | None = None
    """Of MuJoCo: distance (m) and elevation (degrees), Gymnasium's own stands still."""
    followed: int | None = 1
    """Body that ``camera`` follows, the trunk; ``None`` where it looks at the origin."""
    light: float = 1.0
    """Factor of a dark frame's brightness."""
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
        return np.array(
            [mean + size * math.sin(2 * math.pi * turn) for (mean, size, _), turn in waves], dtype=np.float32
        )

    return act


def lean(step: int, obs: np.ndarray) -> int:
    """Push the cart towards where the pole leans and falls."""
    return int(obs[2] + 0.4 * obs[3] > 0)


def rock(step: int, obs: np.ndarray) -> int:
    """Push the car the way it moves."""
    return 2 if obs[1] >= 0 else 0


def pulse(step: int, obs: np.ndarray) -> np.ndarray:
    """Throttled engines: the main one every fourth step, nothing else."""
    return np.array([0.5 if step % 4 == 0 else -1.0, 0.0], dtype=np.float32)


def along(name: str, most: float) -> Callable[[Variant], tuple[float, float]]:
    """An arrow across, as long as the parameter's share of ``most``."""
    return lambda variant: (variant[name] / most, 0.0)


def compass(name: str) -> Callable[[Variant], tuple[float, float]]:
    """An arrow that way, in degrees."""
    return lambda variant: (math.cos(math.radians(variant[name])), math.sin(math.radians(variant[name])))


DOSED = ({"force": 10.0}, {"force": -10.0}, {"force": 15.0, "length": 0.3}, {"force": 6.0, "length": 0.85})
DISTRACTED = (
    {"force": 10.0, "distractor_0": 0.0},
    {"force": 10.0, "distractor_0": 1.0},
    {"force": -10.0, "distractor_0": 0.0},
    {"force": -10.0, "distractor_0": 1.0},
)
BODY = ({"gravity": 5.0}, {"gravity": 15.0}, {"mass": 0.7, "gear": 1.5}, {"mass": 1.5, "gear": 0.7})
SPEEDS = tuple({"target_velocity": speed} for speed in (0.0, 1.0, 2.0, 3.0))
WIND = (
    {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 0.0},
    {"gravity": -10.0, "wind_power": 15.0, "turbulence_power": 0.0},
    {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 1.5},
    {"gravity": -4.0, "wind_power": 15.0, "turbulence_power": 1.5},
)
RAIL = (0.1, 0.05, 0.9, 0.85)
ABOVE = (4.0, -90.0)
MIDDLE = (0.2, 0.2, 0.8, 0.8)
TROT = wave(10, (0, 0.9, 0.0), (0, 0.7, 0.25), (0, 0.6, 0.4), (0, 0.9, 0.5), (0, 0.7, 0.75), (0, 0.6, 0.9))
STRIDE = wave(40, (0.2, 0.2, 0), (0, 0, 0), (0.1, 0.3, 0.9), (0.2, 0.1, 0.4), (0.1, 0.2, 0.4), (0.3, 0.2, 0.2))
CRAWL = wave(20, *((0, 0.4, leg / 4 + part / 8) for leg in range(4) for part in range(2)))

LINKS = tuple({"length": length} for length in (0.6, 1.0, 1.2, 1.6))
WANTED = tuple({"target_speed": speed} for speed in (-10.0, -3.0, 3.0, 10.0))
REACH = "20 commands (0.6, -0.3)"
TROTTED = "150 commands, sines of the joints"


def signs(*lengths: float) -> tuple[Variant, ...]:
    """Both signs of the action with each length."""
    return tuple({"action_sign": sign, "length": length} for length in lengths for sign in (1.0, -1.0))


STRIPS: dict[str, Strip] = {
    "cartpole": Strip(
        ({"length": 0.25}, {"length": 1.0}, {"gravity": 15.0, "masspole": 0.5}, {"masscart": 2.0, "force_mag": 5.0}),
        30,
        choose(1),
        "every push to the right",
        3,
        crop=RAIL,
    ),
    "cartpole_drift": Strip(
        ({}, {}, {}, {}),
        150,
        lean,
        "150 pushes, each towards where the pole leans",
        30,
        seeds=(1, 2, 3, 4),
        crop=RAIL,
    ),
    "pendulum": Strip(
        ({}, {"g": 5.0}, {"l": 0.5}, {"max_torque": 1.0, "m": 1.5}),
        16,
        hold(2.0),
        "16 torques of 2 N m, cut to the motor's strength",
        3,
        seeds=(2,) * 4,
        crop=MIDDLE,
    ),
    "pendulum_signed": Strip(
        tuple({"max_torque": torque} for torque in (2.0, -2.0, 3.0, -3.0)),
        12,
        hold(3.0),
        "12 torques of 3 N m, cut to the motor's strength",
        3,
        seeds=(2,) * 4,
        crop=MIDDLE,
    ),
    "pendulum_spin": Strip(
        tuple({"target": speed} for speed in (-6.0, -3.0, 3.0, 6.0)),
        30,
        hold(0.0),
        "30 steps without torque; the red arrow is the speed asked for",
        4,
        seeds=(2,) * 4,
        turn=lambda variant: variant["target"] / 6 * 0.6,
        crop=MIDDLE,
    ),
    "acrobot": Strip(
        ({}, {"link_length_1": 0.75}, {"link_length_2": 1.25, "link_mass_2": 1.25}, {"gravity": 8.0}),
        40,
        choose(*(2,) * 7, *(0,) * 7),
        "40 torques of 1 N m, turned round every 7",
        8,
        crop=(0.1, 0.25, 0.9, 0.95),
    ),
    "mountain_car": Strip(
        ({}, {"gravity": 0.00175}, {"gravity": 0.00375}, {"force": 0.0015}),
        100,
        rock,
        "100 pushes, each the way the car moves",
        12,
    ),
    "mountain_car_continuous": Strip(
        ({}, {"gravity": 0.00175}, {"gravity": 0.00375}, {"power": 0.00105}), 60, hold(1.0), "60 actions of 1", 8
    ),
    "mountain_car_continuous_signed": Strip(
        tuple({"power": power} for power in (0.0015, -0.0015, 0.00225, -0.00225)), 20, hold(1.0), "20 actions of 1", 4
    ),
    "cartpole_continuous": Strip(DOSED, 30, hold(0.5), "every action 0.5", 3, crop=RAIL),
    "cartpole_continuous_d20": Strip(DISTRACTED, 30, hold(0.5), "every action 0.5", 3, crop=RAIL),
    "cartpole_continuous_d100": Strip(DISTRACTED, 30, hold(0.5), "every action 0.5", 3, crop=RAIL),
    "ode1": Strip(
        tuple({"c0": factor} for factor in (-5.0, -1.0, 1.0, 5.0)),
        4,
        hold(-0.06, 0.0),
        "4 actions (-0.06, 0)",
        1,
        crop=(0, 0.35, 1, 0.65),
    ),
    "ode2": Strip(
        ({"c0": -5.0}, {"c0": 5.0}, {"c0": 1.0, "c1": 5.0}, {"c0": 1.0, "c1": -5.0}),
        4,
        hold(-0.3, 0.0),
        "4 actions (-0.3, 0)",
        1,
        crop=(0, 0.35, 1, 0.65),
    ),
    "point": Strip(
        ({"phi": 0.0}, {"phi": 90.0}, {"phi": 200.0, "mass": 1.5}, {"gain": 0.5, "goal_x": -1.0, "goal_y": -0.5}),
        25,
        hold(1.0, 0.3),
        "25 actions (1, 0.3)",
        4,
        seeds=(3,) * 4,
    ),
    "ode2_weak": Strip(
        ({"c0": -5.0}, {"c0": 5.0}, {"c0": 1.0, "c1": 5.0}, {"c0": 1.0, "c1": -5.0}),
        20,
        hold(-1.0, 0.0),
        "20 actions (-1, 0)",
        5,
        crop=(0, 0.35, 1, 0.65),
    ),
    "double_integrator_signed": Strip(
        tuple({"action_sign": sign, "mass": mass} for mass in (0.5, 1.5) for sign in (1.0, -1.0)),
        12,
        hold(0.5, -0.3),
        "12 actions (0.5, -0.3)",
        3,
    ),
    "double_integrator_friction": Strip(
        ({"mass": 0.5}, {"mass": 1.5}, {"friction": 0.5}, {"friction": 1.5}),
        20,
        hold(0.5, -0.3),
        "20 actions (0.5, -0.3)",
        4,
    ),
    "lunar_lander": Strip(
        tuple({"gravity": gravity} for gravity in (-4.0, -7.0, -10.0, -11.9)),
        70,
        choose(0, 0, 0, 2, 0, 1),
        "70 actions, every sixth the main engine and every sixth the left one",
        14,
    ),
    "lunar_lander_wind": Strip(WIND, 70, choose(0, 0, 2), "70 actions, every third the main engine", 14),
    "lunar_lander_continuous": Strip(WIND, 70, pulse, "70 actions, every fourth the main engine", 14),
    "bipedal_walker": Strip(
        ({}, {"gravity": -7.0}, {"hull_density": 8.0}, {"motors_torque": 60.0, "friction": 1.0}),
        45,
        wave(30, (0, 0.8, 0.0), (0, 0.6, 0.3), (0, 0.8, 0.5), (0, 0.6, 0.8)),
        "45 swings of the joints",
        crop=(0, 0.45, 0.45, 0.9),
    ),
    "half_cheetah": Strip(BODY, 60, TROT, "60 commands, sines of the joints", camera=(2.6, -12)),
    "half_cheetah_velocity": Strip(
        SPEEDS,
        60,
        TROT,
        "60 commands, sines of the joints; the red arrow is the speed asked for",
        arrow=along("target_velocity", 3),
        camera=(2.6, -12),
    ),
    "half_cheetah_direction": Strip(
        ({"direction": 1.0}, {"direction": -1.0}, {"direction": 1.0, "gravity": 5.0}, {"direction": -1.0, "mass": 1.5}),
        60,
        TROT,
        "60 commands, sines of the joints; the red arrow is the way asked for",
        arrow=along("direction", 1),
        camera=(2.6, -12),
    ),
    "hopper": Strip(
        BODY,
        60,
        wave(30, (0, 0.1, 0.2), (0.3, 0.7, 0.0), (0.2, 0.5, 0.9)),
        "60 commands, sines of the joints",
        camera=(2.6, -8),
    ),
    "walker2d": Strip(BODY, 50, STRIDE, "50 commands, sines of the joints", camera=(2.8, -8)),
    "ant": Strip(BODY, 40, CRAWL, "40 commands, sines of the joints", camera=(3.2, -25)),
    "ant_velocity": Strip(
        SPEEDS,
        40,
        CRAWL,
        "40 commands, sines of the joints; the red arrow is the speed asked for",
        arrow=along("target_velocity", 3),
        camera=(3.2, -25),
    ),
    "ant_direction": Strip(
        tuple({"direction": angle} for angle in (0.0, 90.0, 200.0, 315.0)),
        40,
        CRAWL,
        "40 commands, sines of the joints; the red arrow is the way asked for, seen from above",
        arrow=compass("direction"),
        camera=ABOVE,
    ),
    "inverted_pendulum": Strip(BODY, 60, hold(0.05), "every command 0.05", 4, crop=(0.15, 0.1, 0.85, 0.7), light=1.7),
    "inverted_double_pendulum": Strip(
        BODY, 60, hold(0.05), "every command 0.05", 2, crop=(0.3, 0.3, 0.7, 0.6), light=1.7
    ),
    "reacher": Strip(
        ({}, {"damping": 2.5}, {"gear": 1.5}, {"damping": 1.5, "gear": 0.7}),
        15,
        hold(0.6, -0.3),
        "15 commands (0.6, -0.3); seen from above",
        camera=(0.75, -90),
        followed=None,
    ),
    "swimmer": Strip(
        ({}, {"mass": 1.5}, {"gear": 1.5}, {"density": 1.5}),
        60,
        wave(25, (0, 1, 0), (0, 1, 0.25)),
        "60 commands, sines of the joints; seen from above",
        camera=ABOVE,
    ),
    "dmc_cartpole_balance": Strip(
        tuple({"length": length} for length in (0.2, 0.3, 0.5, 0.65)), 25, hold(0.2), "25 commands of 0.2", 5
    ),
    "dmc_cartpole_balance_signed": Strip(signs(0.5, 0.65), 25, hold(0.2), "25 commands of 0.2", 5),
    "dmc_reacher_easy": Strip(LINKS, 20, hold(0.6, -0.3), REACH),
    "dmc_reacher_easy_signed": Strip(signs(1.0, 1.2), 20, hold(0.6, -0.3), REACH),
    "dmc_reacher_hard": Strip(LINKS, 20, hold(0.6, -0.3), REACH),
    "dmc_reacher_hard_signed": Strip(signs(1.0, 1.2), 20, hold(0.6, -0.3), REACH),
    "dmc_cheetah_run": Strip(LINKS, 150, TROT, TROTTED),
    "dmc_cheetah_run_signed": Strip(signs(1.0, 1.2), 150, TROT, TROTTED),
    "dmc_cheetah_speed": Strip(
        WANTED, 150, TROT, f"{TROTTED}; the red arrow is the speed asked for", arrow=along("target_speed", 10)
    ),
    "dmc_cheetah_torso": Strip(tuple({"torso_length": length} for length in (0.3, 0.5, 0.6, 0.7)), 150, TROT, TROTTED),
    "dmc_cheetah_speed_torso": Strip(
        tuple({"target_speed": speed, "torso_length": 0.2 + 0.1 * speed} for speed in (1.0, 2.0, 4.0, 5.0)),
        150,
        TROT,
        f"{TROTTED}; the red arrow is the speed asked for",
        arrow=along("target_speed", 5),
    ),
    "dmc_ball_in_cup_catch": Strip(
        ({}, {"gravity": 1.0}, {"string_length": 0.15}, {"string_length": 0.5}),
        30,
        hold(0.3, -0.2),
        "30 commands (0.3, -0.2)",
    ),
    "dmc_walker_walk": Strip(
        ({}, {"gravity": 0.98}, {"gravity": 19.62}, {"gear": 2.0}), 25, STRIDE, "25 commands, sines of the joints"
    ),
}


def aim(env: gymnasium.Env, distance: float, elevation: float, followed: int | None) -> None:
    """Set a MuJoCo task's camera, x to the right."""
    single: Any = env.unwrapped
    renderer = single._twin.mujoco_renderer
    renderer.camera_id = None  # what is set below stands
    camera = renderer.viewer.cam
    free, tracking = 0, 1
    if followed is None:
        camera.type, camera.lookat[:] = free, 0
    else:
        camera.type, camera.trackbodyid = tracking, followed
    camera.azimuth, camera.elevation, camera.distance = 90.0, elevation, distance


def play(family: Family, variant: Variant, strip: Strip, seed: int) -> tuple[np.ndarray, str, Variant]:
    """Frame (H, W, 3) after the strip's actions, the outcome in words, and the parameters then."""
    env = family.single(render_mode="rgb_array", **variant)
    obs, _ = env.reset(seed=seed)
    if strip.camera:
        aim(env, *strip.camera, strip.followed)
    frames, total, terminated, step = [np.asarray(env.render())] if strip.trail else [], 0.0, False, 0
    while step < strip.steps and not terminated:
        obs, reward, terminated, _, _ = env.step(strip.act(step, obs))
        step, total = step + 1, total + float(reward)
        if strip.trail and step % strip.trail == 0:
            frames.append(np.asarray(env.render()))
    last = np.asarray(env.render())
    now = env.get_wrapper_attr("context") if family.drift else variant
    env.close()
    outcome = f"ended after {step} steps: {total:.3g}" if terminated else f"return {total:.3g}"
    last = with_trail(last, frames) if frames else last
    return (last * strip.light).clip(0, 255).astype(np.uint8), outcome, now


def with_trail(last: np.ndarray, earlier: Sequence[np.ndarray]) -> np.ndarray:
    """The last frame (H, W, 3) with the earlier ones behind it, faintly, on a background that is dark or bright."""
    shown, dark = last.astype(float), np.median(last) < 128
    ground, farther = (0, np.maximum) if dark else (255, np.minimum)
    for share, frame in zip(np.linspace(0.2, 0.5, len(earlier)) + 0.2 * dark, earlier, strict=True):
        shown = farther(shown, ground + share * (frame - float(ground)))
    return shown.astype(np.uint8)


def draw_arrow(image: Image.Image, across: float, up: float, height: float) -> None:
    """An arrow from the middle, at ``height`` of the image from above; a ring where there is nowhere to go."""
    draw, middle = ImageDraw.Draw(image), np.array(image.size) * (0.5, height)
    reach = np.array([across, -up]) * image.size[0] * 0.38
    length = float(np.hypot(*reach))
    if length < 1:
        draw.ellipse([*(middle - 6), *(middle + 6)], outline=RED, width=3)
        return
    end, along, aside = middle + reach, reach / length, np.array([-reach[1], reach[0]]) / length
    draw.line([*middle, *(end - 8 * along)], fill=RED, width=4)
    draw.polygon([tuple(end), *(tuple(end - 14 * along + side * aside) for side in (7, -7))], fill=RED)


def draw_turn(image: Image.Image, share: float) -> None:
    """An arrow on a circle around the middle, from the right, to the left where ``share`` of a turn is positive."""
    draw, middle, radius = ImageDraw.Draw(image), np.array(image.size) / 2, image.size[0] * 0.42
    end = -360 * share  # as PIL counts, to the right
    draw.arc([*(middle - radius), *(middle + radius)], min(0, end), max(0, end), fill=RED, width=4)
    outwards = np.array([math.cos(math.radians(end)), math.sin(math.radians(end))])
    ahead = math.copysign(16, end) * np.array([-outwards[1], outwards[0]])
    tip = middle + radius * outwards
    draw.polygon([tuple(tip + ahead), tuple(tip + 8 * outwards), tuple(tip - 8 * outwards)], fill=RED)


def panel(family: Family, variant: Variant, strip: Strip, seed: int, width: int, rows: int) -> Image.Image:
    """One variant: its parameters, the frame, and the return."""
    frame, outcome, now = play(family, variant, strip, seed)
    height, full = frame.shape[:2]
    left, top, right, bottom = (round(share * size) for share, size in zip(strip.crop, (full, height) * 2, strict=True))
    image = Image.fromarray(frame[top:bottom, left:right])
    image = image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS)
    if strip.arrow:
        draw_arrow(image, *strip.arrow(variant), 0.5 if strip.camera == ABOVE else GROUND)
    if strip.turn:
        draw_turn(image, strip.turn(variant))
    ImageDraw.Draw(image).rectangle([0, 0, image.width - 1, image.height - 1], outline=FRAME)
    whole = Image.new("RGB", (width, image.height + LINE * (rows + 1) + 6), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=12)
    lines = [f"{name} {value:.3g} {family[name].unit}".removesuffix(" 1") for name, value in now.items()]
    for row, line in enumerate(lines or ["the defaults"]):
        draw.text((2, LINE * row), line, fill=INK, font=font)
    whole.paste(image, (0, LINE * rows + 2))
    draw.text((2, whole.height - LINE - 1), outcome, fill=INK, font=font)
    return whole


def picture(family: Family, strip: Strip) -> bytes:
    """The strip as a PNG of few colours."""
    gap, count = 8, len(strip.variants)
    width = (WIDTH - gap * (count - 1)) // count
    rows = len(family.drift) or max(map(len, strip.variants))
    panels = [
        panel(family, variant, strip, seed, width, rows)
        for variant, seed in zip(strip.variants, strip.seeds, strict=True)
    ]
    whole = Image.new("RGB", (count * (width + gap) - gap, panels[0].height), "white")
    for i, one in enumerate(panels):
        whole.paste(one, (i * (width + gap), 0))
    file = io.BytesIO()
    whole.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="all by default")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # frames need no display
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().families or STRIPS:
        if name not in STRIPS:
            parser.error(f"{name}: no picture is declared; choose from {', '.join(STRIPS)}")
        content = picture(registry.get(name), STRIPS[name])
        (PICTURES / f"{name}.png").write_bytes(content)
        print(f"written: docs/pictures/families/{name}.png, {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
