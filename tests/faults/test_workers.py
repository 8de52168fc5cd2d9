"""Processes that train experts, killed or failing: one line, nothing lost, no orphans."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from hyperrl.envs import InputError
from hyperrl.experts import pool
from hyperrl.experts.pool import train_experts
from hyperrl.experts.settings import make_expert
from hyperrl.jobs import _call

PLANT = """
import os
import time
from pathlib import Path
import torch
from gymnasium.spaces import Box
from hyperrl.envs import Parameter, PhysicsFamily

class Refused(Exception):
    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")

def trouble(gain):
    TROUBLE

def step(state, action, p):
    if state.shape[1] == 4:  # copies of training; all else has 1 or 10
        trouble(p["gain"].item())
    after = (state + 0.5 * p["gain"].unsqueeze(-1) * action.clamp(-1, 1)).clamp(-2, 2)
    return after, 1 - after.squeeze(-1).abs(), torch.zeros_like(state[..., 0], dtype=torch.bool)

family = PhysicsFamily(
    name="plant", parameters=(Parameter("gain", "1/s", 1.0, (0.5, 2), (0.25, 4)),), observation_space=Box(-2, 2, (1,)),
    action_space=Box(-1, 1, (1,)), max_episode_steps=8, draws=1, start=lambda draws, p: 4 * draws - 2, step=step,
    fixed={"interpolation": [[0.75], [1.25]]}, EXPERT
)
Path(__file__).with_name(f"{os.getpid()}.pid").touch()
"""
EXPERT = 'expert={"total_timesteps": 64, "n_envs": 4, "n_steps": 8, "batch_size": 32, "n_epochs": 1},'
SLOW = """
    if gain > 1 and Path("slow").exists():
        Path("busy").write_text(str(os.getpid()))
        Path("busy").rename("killed")
        time.sleep(60)
"""
WORDS = ["experts", "plant.py", "--variants", "2", "--workers", "2", "--experts", "experts"]


def plant(folder, trouble, expert=EXPERT):
    path = folder / "plant.py"
    path.write_text(PLANT.replace("TROUBLE", trouble).replace("EXPERT", expert))
    return str(path)


def started(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "hyperrl", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_worker_is_one_line_and_calling_again_goes_on(tmp_path, monkeypatch):
    """Of two experts one is done, and the other one's process is killed."""
    plant(tmp_path, SLOW)
    (tmp_path / "slow").touch()
    process, records = started(tmp_path, *WORDS), tmp_path / "experts" / "plant"
    while not (tmp_path / "killed").exists() or not list(records.glob("*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    (first,) = records.glob("*.json")
    began, done = time.monotonic(), first.stat().st_mtime_ns
    os.kill(int((tmp_path / "killed").read_text()), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert (process.returncode, out) == (2, "")
    lines = [line for line in err.splitlines() if line.startswith("hyperrl: ")]
    assert [line[:60] for line in lines] == ["hyperrl: workers=2: a process died with 1 of 2 experts done;"]
    assert "Traceback" not in err
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 3
    assert not any(map(alive, pids))

    trained = []
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: trained.extend(map(pool._train, jobs)))
    (tmp_path / "slow").unlink()
    train_experts(str(tmp_path / "plant.py"), np.array([[0.75], [1.25]]), tmp_path / "experts")
    assert len(trained) == 1
    assert first.stat().st_mtime_ns == done


def test_a_cluster_trains_the_same_experts_and_loses_none_with_a_process(tmp_path, monkeypatch):
    """One of its two processes is killed while it trains; its expert is trained by the other one."""
    distributed = pytest.importorskip("distributed")
    once = SLOW.replace('Path("slow").exists()', 'not Path("killed").exists()')
    trouble = once.replace('Path("', 'Path(__file__).with_name("')
    reference, variants_TP = plant(tmp_path, trouble), np.array([[0.75], [1.25], [0.8]])
    monkeypatch.chdir(tmp_path)

    def kill():
        while not (tmp_path / "killed").exists():
            time.sleep(0.02)
        os.kill(int((tmp_path / "killed").read_text()), signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        where = {"backend": "dask", "scheduler": cluster.scheduler_address}
        records = train_experts("plant.py", variants_TP, "cluster", **where)
        killer.join()
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: [pool._train(job) for job in jobs])
    assert train_experts(reference, variants_TP, tmp_path / "cluster") == records
    here = train_experts(reference, variants_TP, tmp_path / "here")
    assert [record | {"seconds": 0} for record in records] == [record | {"seconds": 0} for record in here]


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(pool, "run_jobs", lambda train, jobs, *_: (_call(train, *job) for job in enumerate(jobs)))


def test_an_environment_that_raises_is_one_line(tmp_path, in_this_process):
    """Also an exception that cannot be unpickled, which would break the pool."""
    reference = plant(tmp_path, "if gain > 1: raise Refused('gain', 'too\\nlarge')")
    told = r"family 'plant' at gain=1\.25: Refused: gain: too large \(.*plant\.py:\d+, in trouble\); mend it there"
    with pytest.raises(InputError, match=rf"^{told}; 1 of 2 experts failed, the others are kept$"):
        train_experts(reference, np.array([[0.75], [1.25]]), tmp_path)
    assert len(list((tmp_path / "plant").glob("*.json"))) == 1


def test_an_expert_that_is_there_is_not_trained_again(tmp_path, monkeypatch):
    """As where a cluster starts a job again."""
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: [pool._train(job) for job in 2 * jobs])
    trained = []
    monkeypatch.setattr(pool, "make_expert", lambda *args: trained.append(args) or make_expert(*args))
    train_experts(plant(tmp_path, "pass"), np.array([[1.0]]), tmp_path)
    assert len(trained) == 1


def test_a_fault_of_this_package_is_no_familys(tmp_path, in_this_process, monkeypatch):
    monkeypatch.setattr(pool, "random_actions", None)
    with pytest.raises(TypeError):
        train_experts(plant(tmp_path, "pass"), np.array([[1.0]]), tmp_path)


def test_a_family_that_does_not_repeat_itself_has_no_experts(tmp_path, in_this_process):
    reference = plant(tmp_path, "pass")
    (tmp_path / "plant.py").write_text(
        (tmp_path / "plant.py").read_text().replace("4 * draws - 2", "4 * torch.rand(draws.shape) - 2")
    )
    with pytest.raises(InputError, match="family 'plant': moves differently under equal variants, seeds and actions"):
        train_experts(reference, np.array([[1.0]]), tmp_path)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("reward = reward * float('nan')", r"a reward, at step 4, is nan: must be finite"),
        ("reward = reward + 1e30", r"a reward, at step 4, is 1e\+30: must be finite and at most 1e\+15"),
        ("after = after / 0", r"an observation, at step 4, is -?(inf|nan): must be finite"),
    ],
)
def test_a_family_that_is_not_finite_is_one_line(tmp_path, in_this_process, trouble, said):
    """In training only, after whatever is checked before it."""
    reference = plant(tmp_path, "pass")
    text = (
        (tmp_path / "plant.py").read_text().replace("return after, 1 - after.squeeze(-1).abs()", "return after, reward")
    )
    text = text.replace(
        "    return after,",
        f"    reward = 1 - after.squeeze(-1).abs()\n    if state.shape[1] == 4: {trouble}\n    return after,",
    )
    (tmp_path / "plant.py").write_text(text)
    with pytest.raises(InputError, match=rf"^family 'plant' at gain=1: {said}"):
        train_experts(reference, np.array([[1.0]]), tmp_path)
    assert not list(tmp_path.glob("plant/*.json"))


def test_observations_that_only_judging_meets_are_one_line(tmp_path, in_this_process):
    reference = plant(tmp_path, "pass")
    text = (tmp_path / "plant.py").read_text()
    (tmp_path / "plant.py").write_text(text.replace("return after,", "return after / (state.shape[1] != 10),"))
    with pytest.raises(
        InputError, match=r"^family 'plant' at gain=1: an observation of a judged episode is -?(inf|nan)"
    ):
        train_experts(reference, np.array([[1.0]]), tmp_path)


def test_returns_that_are_not_finite_are_no_experts(tmp_path, in_this_process):
    """Those of the ten judged episodes: training itself was well."""
    reference = plant(tmp_path, "pass")
    text = (tmp_path / "plant.py").read_text()
    (tmp_path / "plant.py").write_text(
        text.replace("1 - after.squeeze(-1).abs()", "1 - after.squeeze(-1).abs() / (state.shape[1] != 10)")
    )
    with pytest.raises(InputError, match=r"^family 'plant' at gain=1: a return of its expert is (-inf|nan): must be"):
        train_experts(reference, np.array([[1.0]]), tmp_path)
    assert not list(tmp_path.glob("plant/*.json"))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_an_expert_that_diverges_is_one_line(tmp_path, in_this_process):
    reference = plant(tmp_path, "pass")
    with pytest.raises(InputError, match=r"^family 'plant' at gain=1: its expert's training diverged within \d+ steps"):
        train_experts(reference, np.array([[1.0]]), tmp_path, overrides={"learning_rate": 1e30})


def test_one_expert_that_fails_costs_no_other(tmp_path):
    reference = plant(tmp_path, "if gain < 1: raise Refused('gain', 'small')")
    with pytest.raises(InputError, match=r"at gain=0\.75: Refused: .*; 1 of 2 experts failed, the others are kept$"):
        train_experts(reference, np.array([[0.75], [1.25]]), tmp_path, workers=1)
    assert len(list(tmp_path.glob("plant/*.json"))) == 1
