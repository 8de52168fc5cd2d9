"""What fails while a run is trained: one line, no hang, and a folder that can be used again."""

import multiprocessing
import os
import re
import shutil
import threading
import time

import pytest
import torch
from tensorboard.compat.tensorflow_stub.io import gfile

import hyperrl
from hyperrl.cli import main
from hyperrl.training.trainer import Trainer

FAMILY = """
import gymnasium
import numpy as np
from hyperrl.envs import GymnasiumFamily, Parameter
from hyperrl.envs.gymnasium_env import Attribute

class Hut(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    gain = 1.0

    def __init__(self, render_mode=None):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        TROUBLE
        return np.zeros(1, np.float32), self.gain * float(action), False, False, {}

family = GymnasiumFamily(
    name="hut", parameters=(Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0)),), make=Hut,
    apply={"gain": Attribute("gain")}, max_episode_steps=4, vectorization="MODE",
)
"""
pytestmark = pytest.mark.filterwarnings("always::UserWarning")  # a command prints what an error is to tests
SMALL = ["--variants=2", "--copies=2", "--rollout=32", "--steps=128", "--evaluations=1", "--hidden=8", "--device=cpu"]
PHYSICS = """
import torch
from gymnasium.spaces import Box
from hyperrl.envs import Parameter, PhysicsFamily

def step(state, action, p):
    if state.shape[:2] == (2, 2):
        TROUBLE
    return state, action.squeeze(-1), torch.zeros_like(state[..., 0], dtype=torch.bool)

family = PhysicsFamily(
    name="hut", parameters=(Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0)),), observation_space=Box(-2, 2, (1,)),
    action_space=Box(-1, 1, (1,)), max_episode_steps=4, draws=1, start=lambda draws, p: draws, step=step,
)
"""


@pytest.fixture
def hut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(trouble="pass", mode="sync", text=FAMILY):
        (tmp_path / "hut.py").write_text(text.replace("TROUBLE", trouble).replace("MODE", mode))

    return write


def command(capsys, *words):
    """Exit status and the lines on stderr, but for the first one, of what it trains with."""
    status = main([*words])
    first, *lines = capsys.readouterr().err.splitlines()
    return status, lines if first.startswith("training hyper on hut with 1 of ") else [first, *lines]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_environment_that_raises_in_the_first_iteration(hut, capsys, mode):
    """Its error names family, variant and place, also an OSError, and the folder is free once it is mended."""
    hut('if self.steps == 20: raise OSError(2, "No such file or directory", "sensor.dat")', mode)
    status, lines = command(capsys, "train", "hut.py", "--run", "run", *SMALL)
    assert status == 2
    (line,) = lines
    assert line.startswith("hyperrl: family 'hut' at gain=")
    assert "step of its environment raised FileNotFoundError: [Errno 2] No such file or directory: 'sensor.dat'" in line
    assert line.endswith("/hut.py:21, in step); mend it")
    assert not multiprocessing.active_children()

    hut(mode=mode)
    status, lines = command(capsys, "train", "hut.py", "--run", "run", *SMALL)
    assert status == 0, lines
    assert hyperrl.load("run", "hut.py").steps == 128


def test_an_environment_that_raises_later_costs_nothing_that_was_learned(hut, capsys):
    hut("if self.steps == 100: raise ValueError('stuck')")
    words = ["train", "hut.py", "--run", "run", *SMALL, "--steps=1280"]
    status, lines = command(capsys, *words)
    assert status == 2
    assert lines[-1].endswith("saved after 384 steps, --resume starts new episodes")

    hut()
    status, lines = command(capsys, *words, "--resume")
    assert status == 0, lines
    assert hyperrl.load("run", "hut.py").curves["steps"] == [1280]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("raise KeyError('gain')", r"/hut.py:8, in step: KeyError: 'gain'; mend it there"),
        ("open('sensor.dat')", r"/hut.py:8, in step: FileNotFoundError: .*'sensor.dat'; mend it there"),
        ("raise MemoryError", r"hyperrl: memory is full \(MemoryError: \); choose fewer variants, copies or episodes"),
        ("torch.empty(2**60)", r"hyperrl: memory is full \(RuntimeError: .*\); choose fewer variants"),
    ],
)
def test_physics_that_raises(hut, capsys, trouble, told):
    hut(trouble, text=PHYSICS)
    status, lines = command(capsys, "train", "hut.py", "--run", "run", *SMALL)
    assert status == 2
    (line,) = lines
    assert re.search(told, line)
    assert not os.path.exists("run/config.json")


def test_a_process_of_an_environment_that_is_killed(hut, capsys):
    """Within a step, and not the first one, for whose answers Gymnasium would wait a second time."""
    hut("if self.steps == 20 and self.gain > 1.5: import os; os.kill(os.getpid(), 9)", "async")
    began = time.monotonic()
    status, lines = command(capsys, "train", "hut.py", "--run", "run", *SMALL)
    assert time.monotonic() - began < 10
    assert status == 2
    assert lines == ["hyperrl: processes=4: that of an environment died; free memory if it ran out, and resume"]
    assert not multiprocessing.active_children()


def test_a_folder_that_goes_while_it_is_written(hut, capsys, monkeypatch, tmp_path):
    hut()
    iterate = Trainer.iterate

    def gone(trainer):
        while (tmp_path / "run").exists():  # TensorBoard's thread may write into it meanwhile
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return iterate(trainer)

    monkeypatch.setattr(Trainer, "iterate", gone)
    status, lines = command(capsys, "train", "hut.py", "--run", "run", *SMALL)
    assert status == 2
    assert lines[-1] == "hyperrl: run: the run's folder is there no longer; train again, and leave it in its place"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("written", [1, 3])
def test_a_disk_that_is_full_for_tensorboard_is_one_warning(hut, capsys, monkeypatch, written):
    """Its events come from a thread of TensorBoard's own; the training is the same."""
    hut()
    write, calls = gfile.LocalFileSystem._write, []

    def full(*given):
        calls.append(given)
        if len(calls) > written:
            with open("/dev/full", "wb", buffering=0) as file:
                file.write(b".")
        write(*given)

    hook = threading.excepthook
    assert command(capsys, "train", "hut.py", "--run", "whole", *SMALL)[0] == 0
    monkeypatch.setattr(gfile.LocalFileSystem, "_write", full)
    status, lines = command(capsys, "train", "hut.py", "--run", "run", *SMALL)
    assert status == 0
    (said,) = [line for line in lines if "warning" in line or "Error" in line]
    assert re.fullmatch(r"warning: \w+ in TensorBoard: left out, OSError: \[Errno 28\] No space left on device", said)
    assert len(calls) > written
    assert threading.excepthook is hook
    run, whole = (hyperrl.load(name, "hut.py") for name in ("run", "whole"))
    for name, value in whole.agent.state_dict().items():
        assert torch.equal(value, run.agent.state_dict()[name])
