"""A run's settings alone make no code run; what this user has run before opens wherever it lies."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import hyperrl
from hyperrl.cli import main
from hyperrl.envs import InputError
from hyperrl.families import resolve

SETTINGS = ["--variants=4", "--copies=2", "--rollout=16", "--steps=256", "--evaluations=1", "--device=cpu"]
FAMILY = """
import torch
from gymnasium.spaces import Box
from hyperrl.envs import Parameter, PhysicsFamily
from {pumps} import GAIN

family = PhysicsFamily(
    name="basin", parameters=(GAIN,), observation_space=Box(-2, 2, (1,)), action_space=Box(-1, 1, (1,)),
    max_episode_steps=20, draws=1, start=lambda draws, p: 2 * draws - 1,
    step=lambda state, action, p: (
        (state + 0.2 * p["gain"].unsqueeze(-1) * action).clamp(-2, 2), -state.squeeze(-1).square(),
        torch.zeros_like(state[..., 0], dtype=torch.bool)),
)
"""
PUMPS = 'from hyperrl.envs import Parameter\nGAIN = Parameter("gain", "1/s", 1.0, (1, {end}), (0.5, 3))\n'
COMMANDS = {
    "evaluate": "--variants 2 --episodes 1",
    "compare": "--variants 2 --episodes 1",
    "map": "",
    "adapt": "--set gain=1",
    "play": "--gif a.gif",
    "export": "--format torch --out a.pt2",
}


def command(folder, *words, state=None):
    """In a process of its own, since a module that has been imported is not looked for again."""
    env = os.environ | {"OMP_NUM_THREADS": "1"} | ({} if state is None else {"XDG_STATE_HOME": str(state)})
    env.pop("PYTHONPATH", None)
    words = [sys.executable, "-m", "hyperrl", *map(str, words)]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust") / "project"
    folder.mkdir()
    (folder / "basin.py").write_text(FAMILY.format(pumps="basin_pumps"))
    (folder / "basin_pumps.py").write_text(PUMPS.format(end=2))
    done = command(folder, "train", "basin.py", "--run", "run", *SETTINGS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def moved(project, tmp_path):
    return shutil.copytree(project, tmp_path / "moved")


@pytest.mark.parametrize("reference", ["../basin.py", "basin:family"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_strangers_run_runs_nothing(moved, capsys, monkeypatch, name, reference):
    monkeypatch.chdir(moved)
    monkeypatch.syspath_prepend(moved)
    (moved / "basin.py").write_text("open('ran', 'w')\n")
    content = json.loads((moved / "run" / "config.json").read_text())
    content["config"]["family"] = reference
    (moved / "run" / "config.json").write_text(json.dumps(content))
    status, err = main([name, "run", *COMMANDS[name].split()]), capsys.readouterr().err
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "--family FILE" in err
    assert not (moved / "ran").exists()


def test_a_strangers_neighbour_does_not_run(moved):
    (moved / "basin_pumps.py").write_text("open('ran', 'w')\n" + PUMPS.format(end=2))
    done = command(moved, "evaluate", "run")
    assert done.returncode == 2
    assert "basin_pumps.py: is not code that you have run here" in done.stderr
    assert not (moved / "ran").exists()


def test_a_moved_project_opens_where_it_is_known_and_nowhere_else(moved, tmp_path):
    words = "evaluate", "run", "--variants", "2", "--episodes", "1"
    done = command(moved, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "family: running basin.py, known from your own runs"
    assert command(moved, *words, state=tmp_path / "elsewhere").returncode == 2
    (moved / "basin.py").rename(moved / "tub.py")
    assert "its family's file basin.py is not there" in command(moved, *words).stderr
    assert command(moved, *words, "--family", "tub.py", state=tmp_path / "elsewhere").returncode == 0
    assert command(moved, "train", "tub.py", "--run", "run", "--resume").returncode == 0


def test_a_home_that_cannot_be_written_costs_no_training(moved):
    (moved / "file").write_text("")
    done = command(moved, "train", "basin.py", "--run", "other", *SETTINGS, state=moved / "file")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not recorded") == 1


def test_files_of_one_name_stay_apart_and_hide_nothing(tmp_path):
    for name, end in (("one", 2), ("two", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twin.py").write_text(FAMILY.format(pumps=f"pumps_{name}"))
        (tmp_path / name / f"pumps_{name}.py").write_text(PUMPS.format(end=end))
        (tmp_path / name / "tomllib.py").write_text("raise SystemExit('hidden')\n")
    ends = [resolve(str(tmp_path / name / "twin.py")).parameters[0].train[1] for name in ("one", "two")]
    assert ends == [2, 3]
    sys.modules.pop("tomllib", None)
    assert hasattr(__import__("tomllib"), "loads")
    (tmp_path / "two" / "pumps_one.py").write_text(PUMPS.format(end=3))
    with pytest.raises(InputError, match="under the same name; rename either"):
        resolve(str(tmp_path / "two" / "twin.py"))


def test_a_name_that_is_not_registered_is_asked_for(moved):
    content = json.loads((moved / "run" / "config.json").read_text())
    content["config"]["family"] = "basin"
    (moved / "run" / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"family 'basin' is not registered here; name it: --family FILE"):
        hyperrl.load(moved / "run")
