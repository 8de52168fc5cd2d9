"""Watching a policy."""

from __future__ import annotations

import os

import gymnasium
import numpy as np

from hyperrl.envs import InputError
from hyperrl.play.policy import VariantPolicy

FRAMES = 150
"""At most so many frames are kept, evenly spaced."""
FPS = 30
"""Frames a second where the environment does not say."""


def play_episode(policy: VariantPolicy, seed: int = 0, frames: int = FRAMES) -> tuple[list[np.ndarray], float, float]:
    """One greedy episode on the policy's own variant.

    Returns:
        Frames (H, W, 3) at half size, frames a second at the task's own pace, and the return.

    Raises:
        InputError: the family has no renderer, its renderer gives no image, or the seed is below 0.
    """
    if not policy.family.drawn:
        raise InputError(
            f"family {policy.family.name!r} has no renderer; give it a `twin`, or its environment the render mode "
            "rgb_array, to draw its episodes"
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"seed={seed}: must be 0 or more, below 2**32; choose another")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # frames need no display
    env = policy.family.single(render_mode="rgb_array", **policy.parameters)
    stride = -(-policy.family.max_episode_steps // frames)
    obs, _ = env.reset(seed=seed)
    shown, total, done, steps = [_frame(env, policy.family.name)], 0.0, False, 0
    while not done:
        if policy.family.drift:
            policy = policy.again(**env.get_wrapper_attr("context"))
        action, _ = policy.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, done, steps = total + float(reward), terminated or truncated, steps + 1
        if steps % stride == 0 or done:
            shown.append(_frame(env, policy.family.name))
    fps = (env.metadata.get("render_fps") or FPS) / stride
    env.close()
    return shown, fps, total


def _frame(env: gymnasium.Env, family: str) -> np.ndarray:
    frame = np.asarray(env.render())
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(
            f"family {family!r}: render returned {frame.dtype} of shape {frame.shape}; mend it to give (H, W, 3) uint8"
        )
    return frame[::2, ::2]
