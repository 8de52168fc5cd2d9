"""Agents of several seeds, trained over the processors: each is what its seed gives alone."""

import signal

import pytest
import torch

import hyperrl
from hyperrl.api import MOST_SEEDS, Interrupted
from hyperrl.envs import InputError
from hyperrl.storage.lock import writing
from hyperrl.training.trainer import Trainer


def same(run, other):
    one, two = run.agent.state_dict(), other.agent.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_seeds_are_those_that_are_trained_alone_and_go_on_where_they_stopped(tiny, tmp_path, monkeypatch):
    alone = [
        hyperrl.train("cartpole", seed=seed, run=tmp_path / f"alone-{seed}", quiet=True, encoder=False, **tiny)
        for seed in range(3)
    ]
    with monkeypatch.context() as patch:  # seed 1 has begun, seed 2 has not
        iterate = Trainer.iterate

        def stopped(trainer):
            if trainer.iteration == 2:
                signal.raise_signal(signal.SIGINT)
            return iterate(trainer)

        hyperrl.train("cartpole", seed=0, run=tmp_path / "many" / "seed-0", quiet=True, encoder=False, **tiny)
        patch.setattr(Trainer, "iterate", stopped)
        with pytest.raises(Interrupted):
            hyperrl.train("cartpole", seed=1, run=tmp_path / "many" / "seed-1", quiet=True, encoder=False, **tiny)
    runs = hyperrl.train_seeds("cartpole", 3, run=tmp_path / "many", resume=True, quiet=True, encoder=False, **tiny)
    assert [run.config.seed for run in runs] == [0, 1, 2]
    assert [run.folder.name for run in runs] == ["seed-0", "seed-1", "seed-2"]
    assert all(same(run, other) for run, other in zip(runs, alone, strict=True))
    assert not same(*runs[:2])


@pytest.mark.slow
def test_a_seed_that_fails_stops_no_other_and_the_command_says_what_was_reached(cli, tiny, tmp_path):
    words = ["train", "cartpole", "--seeds", 2, "--run", tmp_path / "many", "--resume"]
    for name in ("variants", "copies", "rollout", "steps", "evaluations"):
        words += [f"--{name}", tiny[name]]
    with writing_seed(tmp_path / "many" / "seed-1"):
        status, out, err = cli(*words)
    assert status == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("hyperrl: seed 1: ")
    assert "another process" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("1 of 2 seeds failed, the others are kept")
    assert hyperrl.load(tmp_path / "many" / "seed-0").steps == tiny["steps"]
    status, out, err = cli(*words)
    assert status == 0
    reached = [hyperrl.load(tmp_path / "many" / f"seed-{seed}").best["score"] for seed in range(2)]
    assert f"validation {sum(reached) / 2:.1f} on average, {min(reached):.1f} with the worst seed" in out


def writing_seed(folder):
    folder.mkdir(parents=True)
    return writing(folder)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds", "0"], "seeds=0: must be 1 or more"),
        (["--seeds", str(MOST_SEEDS + 1)], f"at most {MOST_SEEDS:,}"),
        (["--seeds", "2", "--seed", "1"], "seed=1: the seeds are 0 to 1; leave it out"),
        (["--seeds", "2", "--variants", "0"], "variants=0"),
        (["--seeds", "many"], "many"),
    ],
)
def test_what_no_seed_could_be_trained_with_is_refused_at_once(cli, tmp_path, words, told):
    status, out, err = cli("train", "cartpole", "--run", tmp_path / "many", *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert told in err
    assert not (tmp_path / "many").exists()


def test_nothing_starts_where_one_of_the_folders_holds_a_run(tiny, tmp_path):
    hyperrl.train("cartpole", seed=1, run=tmp_path / "seed-1", quiet=True, encoder=False, **tiny)
    with pytest.raises(InputError, match=r"seed-1: already holds a run; go on with --resume"):
        hyperrl.train_seeds("cartpole", 2, run=tmp_path, quiet=True, **tiny)
    with pytest.raises(InputError, match=r"agent=concat: the run in .*seed-1 was started with agent=hyper"):
        hyperrl.train_seeds("cartpole", 2, run=tmp_path, resume=True, quiet=True, **tiny, agent="concat")
    assert not (tmp_path / "seed-0").exists()


def test_the_folder_of_the_folders_is_no_run_and_says_what_is_in_it(cli, tiny, tmp_path):
    for seed in (1, 2):
        hyperrl.train("cartpole", seed=seed, run=tmp_path / f"seed-{seed}", quiet=True, encoder=False, **tiny)
    status, _, err = cli("evaluate", tmp_path)
    all_of_them = f"or see all of them with hyperrl compare {tmp_path}"
    assert (status, err) == (2, f"hyperrl: {tmp_path}: holds no run; name a run in it, such as seed-1, {all_of_them}\n")
