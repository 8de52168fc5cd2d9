"""The encoder at the end of a training: when it is trained, on what, and what Ctrl-C leaves."""

import io
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hyperrl
from hyperrl.adaptation import inference
from hyperrl.adaptation.inference import Effort, effort
from hyperrl.agents.encoder.posterior import TransitionEncoder
from hyperrl.api import Interrupted, train
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.families import tuned
from hyperrl.storage import checkpoint
from hyperrl.training import loop
from hyperrl.training.trainer import Trainer

FAMILY = replace(registry.get("pendulum"), name="short", max_episode_steps=30, env_id="")
SETTINGS = {"variants": 4, "copies": 4, "rollout": 22, "steps": 2100, "evaluations": 1, "device": "cpu", "hidden": (8,)}
"""Six short iterations, worth 4 updates of an encoder on 17 variants."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    return train(FAMILY, run=tmp_path_factory.mktemp("runs") / "whole", quiet=True, **SETTINGS)


@pytest.fixture
def copied(whole, tmp_path):
    """Its folder, to be changed."""
    return Path(shutil.copytree(whole.folder, tmp_path / "run"))


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_at(monkeypatch, owner, name, call, number=signal.SIGINT):
    """Send a signal, Ctrl-C's by default, within the given call of a method."""
    function, calls = getattr(owner, name), []

    def pressed(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            signal.raise_signal(number)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, pressed)


def test_a_training_ends_with_the_encoder_of_the_best_agent(whole):
    assert (whole.folder / "encoder.pt").is_file()
    torch.manual_seed(99)  # of no weight
    assert same(inference.train_encoder(whole.agent, FAMILY, updates=4, rounds=1, variants=17), whole.encoder)
    assert not same(inference.train_encoder(whole.agent, FAMILY, 1, updates=4, rounds=1, variants=17), whole.encoder)
    assert whole.encoder is whole.encoder
    assert not any(parameter.requires_grad for parameter in whole.encoder.parameters())


def test_resuming_writes_a_missing_encoder_and_leaves_one_that_is_there(copied, capsys):
    path = copied / "encoder.pt"
    written, trained = path.read_bytes(), (copied / "checkpoint.pt").read_bytes()
    for quiet, lines in ((True, 0), (False, 1)):
        path.unlink()
        train(FAMILY, run=copied, quiet=quiet, resume=True)
        assert path.read_bytes() == written
        said = capsys.readouterr().err.splitlines()
        assert [line.split()[:3] for line in said] == [["encoder", "trained", "in"]] * lines
    train(FAMILY, run=copied, resume=True)
    assert (path.read_bytes(), (copied / "checkpoint.pt").read_bytes()) == (written, trained)
    assert capsys.readouterr() == ("", "")
    path.write_text("whatever is there")
    with pytest.raises(InputError, match=r"encoder\.pt: .*; remove it, and it is trained anew$"):
        train(FAMILY, run=copied, resume=True)
    assert path.read_text() == "whatever is there"
    assert (copied / "checkpoint.pt").read_bytes() == trained


def test_in_a_terminal_it_has_a_bar(copied, monkeypatch):
    class Terminal(io.StringIO):
        isatty = staticmethod(lambda: True)

    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    (copied / "encoder.pt").unlink()
    train(FAMILY, run=copied, resume=True)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.getvalue())
    assert re.search(r"encoder: 4 of 4 updates .* left \d+:\d\d:\d\d", text)
    assert "trained in" not in text


def test_a_run_without_an_encoder_gets_it_when_it_is_asked_for(whole, copied):
    (copied / "encoder.pt").unlink()
    train(FAMILY, run=copied, quiet=True, resume=True, encoder=False)
    assert not (copied / "encoder.pt").exists()
    assert same(hyperrl.load(copied, FAMILY).encoder, whole.encoder)
    assert (copied / "encoder.pt").read_bytes() == (whole.folder / "encoder.pt").read_bytes()


def test_ctrl_c_while_the_encoder_is_trained(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, TransitionEncoder, "loss", 3)
        with pytest.raises(Interrupted, match=r"^the agent is finished, its encoder is not$"):
            train(FAMILY, run=tmp_path, quiet=True, **SETTINGS)
    assert hyperrl.load(tmp_path, FAMILY).steps == whole.steps
    assert not (tmp_path / "encoder.pt").exists()
    assert same(train(FAMILY, run=tmp_path, quiet=True, resume=True).encoder, whole.encoder)


def test_an_encoder_asked_for_too_early_gives_way(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, Trainer, "iterate", 2)
        with pytest.raises(Interrupted, match=r"stopped after 704 of 2,112 steps"):
            train(FAMILY, run=tmp_path, quiet=True, **SETTINGS)
    early = hyperrl.load(tmp_path, FAMILY).encoder
    late = train(FAMILY, run=tmp_path, quiet=True, resume=True).encoder
    assert same(late, whole.encoder)
    assert not same(late, early)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_save_as_ctrl_c_does(whole, tmp_path, monkeypatch, number):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_at(patch, Trainer, "iterate", 2, number)
        with pytest.raises(Interrupted, match=r"stopped after 704 of 2,112 steps"):
            train(FAMILY, run=tmp_path, quiet=True, **SETTINGS)
    assert signal.getsignal(number) == before
    assert same(train(FAMILY, run=tmp_path, quiet=True, resume=True).agent, whole.agent)


def test_an_encoder_asked_for_while_the_run_trains_is_refused(whole, tmp_path, monkeypatch):
    asked_for, save = [], loop.save

    def asked(path, trainer, progressed):
        save(path, trainer, progressed)
        with pytest.raises(InputError, match=f"^{tmp_path}: another process or thread is writing this run; wait"):
            _ = hyperrl.load(tmp_path, FAMILY).encoder
        asked_for.append(trainer.iteration)

    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(loop, "save", asked)
    late = train(FAMILY, run=tmp_path, quiet=True, **SETTINGS).encoder
    assert asked_for
    assert same(late, whole.encoder)
    # one that lies there from another agent is not used either
    (tmp_path / "encoder.pt").write_bytes((whole.folder / "encoder.pt").read_bytes())
    checkpoint.save(tmp_path / "encoder.pt", {**checkpoint.load(tmp_path / "encoder.pt"), "agent": "another"})
    assert not inference.has_encoder(hyperrl.load(tmp_path, FAMILY))


def test_ctrl_c_in_the_last_iteration_stops_before_the_encoder(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, Trainer, "iterate", whole.config.iterations)
        with pytest.raises(Interrupted, match=r"stopped after 2,112 of 2,112 steps"):
            train(FAMILY, run=tmp_path, quiet=True, **SETTINGS)
    assert not (tmp_path / "encoder.pt").exists()
    assert same(train(FAMILY, run=tmp_path, quiet=True, resume=True).encoder, whole.encoder)


def test_ctrl_c_on_the_command_line_is_one_line(cli, own_family, tmp_path, monkeypatch):
    words = ["train", own_family, "--run", tmp_path / "run", "--steps", "3000", "--evaluations", "1"]
    with monkeypatch.context() as patch:
        stop_at(patch, TransitionEncoder, "loss", 2)
        status, _, err = cli(*words)
    assert status == 130
    assert err.splitlines()[-1].startswith(
        "hyperrl: the agent is finished, its encoder is not; go on with: hyperrl train"
    )
    status, out, err = cli(*words, "--resume")
    assert status == 0
    assert "kept in" in out
    assert len(err.splitlines()) == 1  # no iteration was left
    assert (tmp_path / "run" / "encoder.pt").is_file()


def test_where_nothing_can_be_inferred_there_is_none(tmp_path, capsys):
    idle = tuple(replace(parameter, train=(parameter.default,) * 2, distractor=True) for parameter in FAMILY.parameters)
    alone = replace(FAMILY, parameters=idle, held_out={})
    run = train(alone, run=tmp_path, **SETTINGS)
    assert "encoder" not in capsys.readouterr().err
    assert not (tmp_path / "encoder.pt").exists()
    with pytest.raises(InputError, match="nothing to infer"):
        _ = run.encoder


@pytest.mark.parametrize("damage", ["truncated", "empty", "another's", "a checkpoint"])
def test_a_damaged_encoder_is_one_line_that_says_what_to_do(whole, copied, damage):
    run, path = hyperrl.load(copied, FAMILY), copied / "encoder.pt"
    written = path.read_bytes()
    if damage == "another's":
        inference.save(inference.build_encoder(registry.get("cartpole")), run)
    else:
        half, foreign = written[: len(written) // 2], (copied / "checkpoint.pt").read_bytes()
        path.write_bytes({"truncated": half, "empty": b"", "a checkpoint": foreign}[damage])
    with pytest.raises(InputError, match=r"encoder\.pt: .*; remove it, and it is trained anew$") as caught:
        _ = run.encoder
    assert "\n" not in str(caught.value)
    path.unlink()
    assert same(run.encoder, whole.encoder)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(copied, monkeypatch):
    (copied / "encoder.pt").unlink()

    def refuse(folder):
        raise InputError(f"{folder}: cannot be written; choose a folder that can")

    monkeypatch.setattr("hyperrl.storage.lock.require_writable", refuse)
    monkeypatch.setattr(inference, "train_encoder", None)
    with pytest.raises(InputError, match="cannot be written"):
        _ = hyperrl.load(copied, FAMILY).encoder


@pytest.mark.parametrize(
    ("name", "steps", "expected", "played"),
    [
        # as much as any: 8 rounds of 100 steps of 128 x 2 copies, and an episode of 128 variants
        ("pendulum", 1_000_000, Effort(800, 8, 128), 204_800 + 128 * 200),
        ("pendulum", 100_000_000, Effort(800, 8, 128), 204_800 + 128 * 200),
        # 625 variants x 2 copies x 100 steps are half of the training's
        ("cartpole", 250_000, Effort(500, 5, 125), 125_000 + 125 * 500),
        ("cartpole", 5_000, Effort(10, 1, 12), 2_400 + 12 * 500),
        ("cartpole", 1, Effort(1, 1, 2), 400 + 2 * 500),
        # episodes shorter than a round
        ("reacher", 3_000, Effort(6, 1, 15), 1_500 + 15 * 50),
    ],
)
def test_an_encoder_costs_what_the_run_is_worth(name, steps, expected, played):
    family = registry.get(name)
    assert effort(family, steps) == expected
    assert expected.steps(family) == played


def test_default_trainings_of_the_families_whose_parameters_matter_give_full_encoders():
    for name in ("point", "pendulum", "pendulum_signed", "ode2"):
        family = registry.get(name)
        assert effort(family, Config(name).updated(tuned(family).training).steps) == Effort()


@pytest.mark.parametrize("updates", [1, 2, 9, 10, 11])
def test_any_number_of_updates(whole, updates):
    encoder = inference.train_encoder(whole.agent, FAMILY, updates=updates, rounds=1, variants=2)
    assert all(value.isfinite().all() for value in encoder.state_dict().values())


def test_a_run_computes_with_the_threads_of_its_settings(tmp_path, monkeypatch, capsys):
    iterate, seen = Trainer.iterate, []

    def watched(trainer):
        seen.append(torch.get_num_threads())
        return iterate(trainer)

    monkeypatch.setattr(Trainer, "iterate", watched)
    before = torch.get_num_threads()
    for count in (1, 2):
        train(FAMILY, run=tmp_path / str(count), encoder=False, **SETTINGS, **({"threads": 2} if count == 2 else {}))
        assert set(seen) == {count}
        assert torch.get_num_threads() == before
        assert capsys.readouterr().err.startswith(f"training hyper on {FAMILY.name} with {count} of ")
        seen.clear()
