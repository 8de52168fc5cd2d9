"""A drawing or a log that fails costs itself, never the training."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch

import hyperrl
from hyperrl.envs import GymnasiumFamily, InputError, Parameter
from hyperrl.envs.gymnasium_env import Attribute
from hyperrl.play.frames import FPS, play_episode
from hyperrl.reports.tensorboard import RunLog

SMALL = {"variants": 2, "copies": 1, "rollout": 8, "steps": 16, "evaluations": 1, "hidden": (8,), "encoder": False}


class Drawn(gymnasium.Env):
    """Renders what its class attribute says; an exception is raised."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    picture: object = None

    def __init__(self, render_mode=None):
        self.render_mode, self.gain = render_mode, 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), self.gain * float(action), False, False, {}

    def render(self):
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture


def family(picture):
    made = type("Made", (Drawn,), {"picture": picture})
    gain = Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0))
    return GymnasiumFamily(
        name="drawn", parameters=(gain,), make=made, apply={"gain": Attribute("gain")}, max_episode_steps=4
    )


@pytest.mark.parametrize(
    ("picture", "said"),
    [(RuntimeError("no display"), "no display"), (None, "render returned"), (np.zeros((4, 4)), "render returned")],
)
def test_a_gif_that_cannot_be_drawn_is_one_warning(tmp_path, picture, said):
    with pytest.warns(UserWarning, match=f"^GIF of the best agent: left out, .*{said}") as warned:
        run = hyperrl.train(family(picture), run=tmp_path / "run", device="cpu", quiet=True, **SMALL)
    assert len(warned) == 1
    assert run.steps == 16
    again = hyperrl.train(family(picture), run=tmp_path / "run", device="cpu", quiet=True, resume=True, **SMALL)
    for name, value in run.agent.state_dict().items():
        assert torch.equal(value, again.agent.state_dict()[name])


def test_the_checkpoint_is_there_before_anything_is_drawn(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(RunLog, "finish", lambda *_: seen.append((tmp_path / "run" / "checkpoint.pt").is_file()))
    hyperrl.train(family(np.zeros((4, 4, 3), np.uint8)), run=tmp_path / "run", device="cpu", quiet=True, **SMALL)
    assert seen == [True]


@pytest.mark.parametrize("call", ["scalars", "weights", "flush", "finish"])
def test_a_full_disk_under_the_curves_costs_the_curves(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunLog, call, full)
    with pytest.warns(UserWarning, match="in TensorBoard: left out, OSError: .*No space left"):
        run = hyperrl.train(
            family(np.zeros((4, 4, 3), np.uint8)), run=tmp_path / "run", device="cpu", quiet=True, **SMALL
        )
    assert run.steps == 16


def test_frames_without_a_rate_have_the_usual_one():
    made = family(np.zeros((4, 4, 3), np.uint8))
    run = type("Still", (), {"family": made, "parameters": {}, "predict": lambda *_, **__: (0, None)})()
    frames, fps, _ = play_episode(run)
    assert fps == FPS
    assert frames[0].shape == (2, 2, 3)
    run.family = family(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"^family 'drawn': render returned uint8 of shape \(4, 4\); mend it"):
        play_episode(run)
