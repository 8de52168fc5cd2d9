"""A run that was stopped and resumed equals one that was not, bit for bit; killed ones are in tests/faults."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

import hyperrl
from hyperrl.api import train
from hyperrl.config import Config
from hyperrl.envs import Attribute, GymnasiumFamily, InputError, Parameter, Walk, registry
from hyperrl.storage import checkpoint
from hyperrl.training.held_out import HeldOut, Progressed
from hyperrl.training.trainer import Trainer

SETTINGS = {
    "family": "cartpole",
    "variants": 4,
    "copies": 2,
    "rollout": 16,
    "lifetime": 3,
    "steps": 4 * 2 * 16 * 24,
    "evaluations": 4,
    "device": "cpu",
}


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


CART = GymnasiumFamily(
    name="cart",
    make="CartPole-v1",
    parameters=(Parameter("length", "m", 0.5, (0.25, 1), (0.1, 2), "(0, 10]"),),
    apply={"length": Attribute("length")},
)
FAMILIES = {
    **{name: registry.get(name) for name in ("cartpole", "pendulum", "half_cheetah", "swimmer", "cartpole_drift")},
    "gymnasium": CART,
    "processes": replace(CART, vectorization="async", max_episode_steps=30),
    **{name: replace(registry.get(name), max_episode_steps=20) for name in ("lunar_lander", "bipedal_walker")},
    "drifting gymnasium": replace(CART, drift={"length": Walk(0.02)}),
}


@pytest.mark.parametrize("ahead", ["off", "on"])
@pytest.mark.parametrize(
    ("name", "agent"),
    [
        *((name, "hyper") for name in FAMILIES),
        *((name, arm) for name in ("cartpole", "gymnasium") for arm in ("concat", "recurrent")),
    ],
)
def test_trainer_goes_on_from_its_state_bit_for_bit(name, agent, ahead, tmp_path):
    """Held-out play included."""
    family = FAMILIES[name]
    config = Config(**SETTINGS | {"family": family.name, "agent": agent, "ahead": ahead})
    straight, progressed = Trainer(family, config), Progressed()
    for _ in range(3):
        straight.iterate()
    checkpoint.save(tmp_path / "checkpoint.pt", straight.state_dict())
    resumed, again = Trainer(family, config), Progressed()
    resumed.load_state_dict(checkpoint.load(tmp_path / "checkpoint.pt"))
    for _ in range(4):
        # nan where no episode ended
        assert str(straight.iterate()) == str(resumed.iterate())
    assert equal(straight.state_dict(), resumed.state_dict())
    if name in ("processes", "lunar_lander"):
        held_out = HeldOut(family)
        assert held_out.play(straight, progressed) == held_out.play(resumed, again)
        assert equal(progressed.agent, again.agent)
    straight.close()
    resumed.close()


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "hyperrl",
        "train",
        "cartpole",
        "--run",
        str(folder),
        "--steps",
        "9e7",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob("events*")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1].endswith(f"hyperrl train cartpole --run {folder} --steps 90000000 --resume")
    assert checkpoint.load(folder / "checkpoint.pt")["steps"] > 0


def test_resuming_a_finished_run_changes_nothing(tiny_run):
    before = (tiny_run.folder / "checkpoint.pt").read_bytes()
    train("cartpole", run=tiny_run.folder, resume=True, quiet=True)
    assert (tiny_run.folder / "checkpoint.pt").read_bytes() == before


def test_a_folder_with_a_run_is_not_overwritten(tiny_run):
    before = (tiny_run.folder / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match="already holds a run; go on with --resume or choose another --run"):
        train("cartpole", run=tiny_run.folder, quiet=True)
    with pytest.raises(InputError, match=r"seed=5: .* was started with seed=0"):
        train("cartpole", run=tiny_run.folder, seed=5, resume=True, quiet=True)
    assert (tiny_run.folder / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "foreign", "pickle", "older", "empty", "other settings"])
def test_damaged_checkpoints_give_one_line_and_stay(tiny_run, tmp_path, damage):
    whole = (tiny_run.folder / "checkpoint.pt").read_bytes()
    path = tmp_path / "checkpoint.pt"
    (tmp_path / "config.json").write_text((tiny_run.folder / "config.json").read_text())
    path.write_bytes(whole)
    if damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "foreign":
        path.write_text("not a checkpoint")
    elif damage == "pickle":
        torch.save({"format": 1, "steps": os.system}, path)
    elif damage == "older":
        torch.save(torch.load(path, weights_only=True) | {"format": 0}, path)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        config["config"]["hidden"] = [32]
        (tmp_path / "config.json").write_text(json.dumps(config))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"(checkpoint\.pt|config\.json): .*; restore it") as caught:
        train("cartpole", run=tmp_path, resume=True, quiet=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"steps": 1})

    def fail(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="No space left on device"):
        checkpoint.save(path, {"steps": 2})
    assert checkpoint.load(path)["steps"] == 1


def test_a_checkpoint_without_settings_is_left_alone(tiny_run, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes((tiny_run.folder / "checkpoint.pt").read_bytes())
    with pytest.raises(InputError, match=r"holds a checkpoint without its config\.json; choose another --run"):
        train("cartpole", run=tmp_path, resume=True, quiet=True)


def test_a_foreign_checkpoint_of_the_right_format(tiny_run, tmp_path):
    (tmp_path / "config.json").write_text((tiny_run.folder / "config.json").read_text())
    torch.save({"format": checkpoint.FORMAT}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint\.pt: damaged or not a checkpoint of hyperrl's; restore it"):
        hyperrl.load(tmp_path)
