"""Several processes that train one agent, against one process with the same batch, and started by torchrun."""

import copy
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.storage import checkpoint
from hyperrl.training.ranks import ALONE, Ranks, of_this_job
from hyperrl.training.trainer import Trainer

SETTINGS = {"variants": 4, "copies": 3, "rollout": 16, "minibatches": 3, "steps": 4 * 3 * 16 * 8, "device": "cpu"}


@dataclass(frozen=True)
class Threads(Ranks):
    """Ranks that are threads of this process: what they reduce lies in a list that all of them see."""

    given: list = field(default_factory=list)
    meet: threading.Barrier = None

    def _all(self, x):
        self.given[self.rank] = x
        self.meet.wait(20)
        found = list(self.given)
        self.meet.wait(20)
        return found

    def means(self, tensors):
        everyone = self._all([tensor.detach().clone() for tensor in tensors])
        return [torch.stack(parts).mean(0) for parts in zip(*everyone, strict=True)]

    def gathered(self, x_T):
        return torch.cat(self._all(x_T.clone()))

    def collected(self, state):
        return self._all(copy.deepcopy(state))


def side_by_side(work, count=2):
    """The results of ``work(ranks)`` in so many threads."""
    given, meet, found = [None] * count, threading.Barrier(count), [None] * count

    def one(rank):
        found[rank] = work(Threads(rank, count, given, meet))

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def numbers(agent):
    return torch.cat([value.flatten() for value in agent.state_dict().values()])


class Told:
    """A sampler that remembers what it was told."""

    def __init__(self, variants_TP):
        self.variants_TP, self.told = variants_TP, []

    def draw(self, n, iteration):
        return self.variants_TP

    def tell(self, variants_TP, scores_T):
        self.told.append((variants_TP, scores_T))

    def state_dict(self):
        return {}


@pytest.mark.parametrize("name", ["pendulum", "cartpole", "cartpole_drift"])
def test_shares_of_a_batch_give_the_steps_of_the_whole(name):
    """Both get the rollouts of one trainer, the ranks their variants of it: agents, metrics and scores are the same."""
    family = registry.get(name)
    settings = SETTINGS | {"minibatches": 4} if family.drift else SETTINGS
    config = Config(family=name, diversity_coef=0.0, weight_norm_coef=0.1, **settings)
    told = Told(family.variants("train", 4))
    whole = Trainer(family, config, told)
    rollouts, collect = [], whole.next_rollout

    def copied():
        rollouts.append(type(whole.rollout)(*(x.clone() for x in collect())))
        return rollouts[-1]

    whole.next_rollout = copied
    shown = [whole.iterate() for _ in range(4)]

    def work(ranks):
        sampler = Told(family.variants("train", 4))
        trainer = Trainer(family, config, sampler, ranks=ranks)
        mine = [type(rollout)(*(x[:, ranks.share(4)] for x in rollout)) for rollout in rollouts]

        def given():
            trainer.resample(trainer.iteration)  # which forgets the sums of those that begin anew
            return mine[trainer.iteration]

        trainer.next_rollout = given
        return trainer, sampler, [trainer.iterate() for _ in range(4)]

    for trainer, sampler, metrics in side_by_side(work):
        torch.testing.assert_close(numbers(trainer.agent), numbers(whole.agent), rtol=1e-4, atol=1e-5)
        for of, expected in zip(metrics, shown, strict=True):
            same = ("train/loss", "train/approx_kl", "train/grad_norm", "train/active", "train/learning_rate")
            for tag in (*same, "rollout/ep_rew_mean", "rollout/ep_len_mean"):
                assert of[tag] == pytest.approx(expected[tag], rel=1e-3, abs=1e-5, nan_ok=True), tag
        for (variants_TP, scores_T), (all_TP, all_T) in zip(sampler.told, told.told, strict=True):
            if not family.drift:
                torch.testing.assert_close(variants_TP, all_TP)
            torch.testing.assert_close(scores_T, all_T, rtol=1e-3, atol=1e-4)


def test_each_plays_its_own_variants_with_its_own_random_numbers():
    def work(ranks):
        trainer = Trainer(registry.get("pendulum"), Config(family="pendulum", **SETTINGS), ranks=ranks)
        trainer.iterate()
        return trainer

    first, second = side_by_side(work)
    drawn_TP = torch.as_tensor(first.sampler.draw(4, 0), dtype=torch.float32)
    assert torch.equal(torch.cat([first.env.variants_TP, second.env.variants_TP]), drawn_TP)
    assert not torch.equal(first.rollout.action_STE, second.rollout.action_STE)
    assert not torch.equal(first.rollout.obs_STEO[0], second.rollout.obs_STEO[0])
    assert torch.equal(numbers(first.agent), numbers(second.agent))


@pytest.mark.parametrize("ahead", ["off", "on"])
def test_as_many_go_on_bit_for_bit_and_another_number_goes_on(ahead):
    family = registry.get("pendulum")
    config = Config(family="pendulum", ahead=ahead, **SETTINGS)

    def straight(ranks):
        trainer = Trainer(family, config, ranks=ranks)
        trainer.iterate()
        state = copy.deepcopy(trainer.state_dict())
        trainer.iterate()
        trainer.close()
        return state, numbers(trainer.agent)

    (state, expected), _ = side_by_side(straight)
    assert len(state["ranks"]) == 2
    stored = io.BytesIO()
    torch.save(state, stored)

    def resumed(ranks):
        trainer = Trainer(family, config, ranks=ranks)
        stored_state = torch.load(io.BytesIO(stored.getvalue()), weights_only=True)
        trainer.load_state_dict(stored_state)
        trainer.iterate()
        trainer.close()
        return numbers(trainer.agent)

    for found in side_by_side(resumed):
        assert torch.equal(found, expected)
    with pytest.warns(UserWarning, match="saved by 2 processes, goes on with 1 process: new episodes begin"):
        alone = resumed(ALONE)
    assert alone.isfinite().all()


def test_variants_that_cannot_be_shared_are_named():
    with pytest.raises(InputError, match=r"variants=5: must be a multiple of the 2 processes .*--variants 6"):
        Ranks(0, 2).share(5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ALONE),
        ({"RANK": "3"}, ALONE),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Ranks(1, 2)),
        ({"WORLD_SIZE": "1"}, ALONE),
    ],
)
def test_the_environment_says_which_process_this_is(monkeypatch, given, expected):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert of_this_job() == expected


@pytest.mark.parametrize("given", [("x", "2"), ("2", "2"), ("0", "two"), ("0", "-1"), ("", "2"), ("0", "")])
def test_an_environment_that_is_not_torchruns_is_one_line(cli, monkeypatch, tmp_path, given):
    for name, value in zip(("RANK", "WORLD_SIZE"), given, strict=True):
        monkeypatch.setenv(name, value)
    status, out, err = cli("train", "cartpole", "--run", tmp_path / "run", "--steps", "64")
    assert (status, out) == (2, "")
    assert err == (
        f"hyperrl: RANK={given[0]}, WORLD_SIZE={given[1]}: must be a process and their number, as torchrun sets them; "
        "start it with torchrun\n"
    )


def test_alone_nothing_is_reduced():
    x = torch.tensor([1.0, 2.0])
    assert ALONE.mean(x) is x
    assert ALONE.gathered(x) is x
    assert ALONE.collected(x) == [x]
    assert ALONE.agreed(True, False) == [True, False]
    assert ALONE.share(5) == slice(0, 5)


# ---- started by torchrun

WORDS = ["train", "pendulum", "--variants", "4", "--copies", "2", "--rollout", "16", "--evaluations", "1"]


def started(folder, *words, processes=2):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launcher, "-m", "--", "hyperrl", *WORDS, "--run", str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(process):
    """What it printed, without what torchrun logs of itself."""
    out, _ = process.communicate(timeout=120)
    return [line for line in out.splitlines() if line.startswith(("hyperrl:", "warning:", "training", "validation"))]


REDUCED = """
import sys, torch
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.training.ranks import joined
from hyperrl.training.trainer import Trainer

with joined(torch.device("cpu")) as ranks:
    own = torch.tensor([[1.0], [5.0]][ranks.rank])
    found = {
        "means": ranks.means([own, torch.tensor([[2.0, 4.0], [6.0, 8.0]]) * ranks.rank]),
        "mean": ranks.mean(own),
        "gathered": ranks.gathered(own),
        "collected": ranks.collected(ranks.rank),
        "agreed": ranks.agreed(ranks.first, not ranks.first),
    }
    trainer = Trainer(registry.get("pendulum"), Config(family="pendulum", **SETTINGS), ranks=ranks)
    found["shown"] = [trainer.iterate()["train/grad_norm"] for _ in range(3)]
    found["agent"] = torch.cat([value.flatten() for value in trainer.agent.state_dict().values()])
    torch.save(found, f"{sys.argv[1]}/{ranks.rank}.pt")
"""


@pytest.mark.slow
def test_processes_reduce_what_threads_reduce(tmp_path):
    """Numbers by hand, and an agent that is the same in both processes and in two threads."""
    script = tmp_path / "script.py"
    script.write_text(f"SETTINGS = {SETTINGS}\n{REDUCED}")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, str(script), str(tmp_path)], check=True, timeout=120, capture_output=True)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for rank, of in enumerate(found):
        assert [x.tolist() for x in of["means"]] == [[3.0], [[1.0, 2.0], [3.0, 4.0]]]
        assert of["mean"].tolist() == [3.0]
        assert of["gathered"].tolist() == [1.0, 5.0]
        assert of["collected"] == ([0, 1] if rank == 0 else [1])
        assert of["agreed"] == [True, False], "what the first says"

    def work(ranks):
        trainer = Trainer(registry.get("pendulum"), Config(family="pendulum", **SETTINGS), ranks=ranks)
        return [trainer.iterate()["train/grad_norm"] for _ in range(3)], numbers(trainer.agent)

    (shown, expected), _ = side_by_side(work)
    assert torch.equal(found[0]["agent"], found[1]["agent"])
    torch.testing.assert_close(found[0]["agent"], expected, rtol=1e-5, atol=1e-6)
    assert found[0]["shown"] == pytest.approx(shown, rel=1e-4)


@pytest.mark.slow
def test_torchrun_trains_one_agent(tmp_path):
    folder, steps = tmp_path / "run", str(4 * 2 * 16 * 4)
    lines = said(started(folder, "--steps", steps, "--compile", "off"))
    assert lines[0].startswith("training hyper on pendulum with")
    assert "2 processes of 2 variants" in lines[0]
    assert sum(line.startswith("validation") for line in lines) == 1
    assert json.loads((folder / "config.json").read_text())["config"]["variants"] == 4
    assert len(checkpoint.load(folder / "checkpoint.pt")["trainer"]["ranks"]) == 2
    run = hyperrl.load(folder)
    assert run.steps == int(steps)
    assert run.policy(m=1.2).predict(torch.zeros(3).numpy())[0].shape == (1,)
    assert run.encoder is not None


@pytest.mark.slow
def test_one_that_is_killed_ends_all_in_one_line(tmp_path):
    folder = tmp_path / "run"
    process = started(folder, "--steps", str(10**9), "--compile", "off")
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    until = time.monotonic() + 60
    while not list(folder.glob("events*")):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1)
    ranks = Path(children).read_text().split()
    last = [int(pid) for pid in ranks if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(last[0], signal.SIGKILL)
    began = time.monotonic()
    lines = said(process)
    assert time.monotonic() - began < 10
    assert process.returncode != 0
    assert not any("Traceback" in line for line in lines)
    assert sum("another process of this training has ended" in line for line in lines) == 1


@pytest.mark.slow
def test_processes_that_do_not_divide_the_variants_are_one_line(tmp_path):
    process = started(tmp_path / "run", "--variants", "5", "--steps", "160", processes=2)
    out, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "variants=5: must be a multiple of the 2 processes that share them; choose --variants 6" in out
    assert not re.search("Traceback .*hyperrl/training", out)
    assert not (tmp_path / "run" / "config.json").exists()
