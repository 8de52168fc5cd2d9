"""A run whose files are damaged is refused in one line, or does what it did before; nothing in them is run."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hyperrl
from hyperrl.envs import InputError, registry
from hyperrl.storage import checkpoint
from tests.faults.mutator import CANARY, mutate

COUNTS = Path(__file__).with_name("counts") / "damage.json"
FAMILY = replace(registry.get("cartpole"), max_episode_steps=20)
TINY = {"variants": 4, "copies": 2, "rollout": 8, "steps": 256, "evaluations": 1, "hidden": (8,), "device": "cpu"}
SHORT, LONG = 40, 1000


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, one of another seed, and one of another arm."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {"one": {}, "seed": {"seed": 1}, "arm": {"agent": "concat"}}
    for name, changes in settings.items():
        hyperrl.train(FAMILY, run=folder / name, quiet=True, **TINY, **changes)
    return folder


def behaviour(folder):
    """All that a run does: settings, policies, posterior, curves, and what resuming starts from."""
    run = hyperrl.load(folder, FAMILY)
    obs = torch.linspace(-0.2, 0.2, 32).view(8, 4).numpy()
    policies = run.policies(FAMILY.untable(FAMILY.variants("interpolation", 4)))
    encoder = {name: value.tolist() for name, value in run.encoder.state_dict().items()}
    actions = [policy.predict(obs, deterministic=True)[0].tolist() for policy in policies]
    weights = [policy.weights_1D.tolist() for policy in policies]
    trainer = checkpoint.digest(checkpoint.load_run(folder, run.identity)["trainer"])
    settings = replace(run.config, family="")
    return settings, run.steps, run.best["score"], run.curves, actions, weights, encoder, trainer


def damage(runs, tmp_path, seeds):
    """Damage copies of the run, and count how each ends, by file, kind and end."""
    counts, wanted, folder = Counter(), behaviour(runs / "one"), tmp_path / "run"
    for seed in seeds:
        shutil.copytree(runs / "one", folder)
        (folder / checkpoint.PREVIOUS).unlink(missing_ok=True)
        name, kind = mutate(folder, [runs / "seed", runs / "arm"], seed)
        end, line = "refused", None
        try:
            end = "same" if repr(behaviour(folder)) == repr(wanted) else "other"
        except InputError as error:
            line = str(error)
        assert end != "other", (seed, name, kind)
        assert line is None or ("\n" not in line and "; " in line), (seed, line)
        counts[name, kind, end] += 1
        shutil.rmtree(folder)
    assert not Path(CANARY).exists()
    return counts


def test_damaged_runs_are_refused_or_as_they_were(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ends = Counter()
    for (_, _, end), count in damage(runs, tmp_path, range(SHORT)).items():
        ends[end] += count
    assert ends["refused"] > SHORT // 2


@pytest.mark.faults
def test_a_thousand_damaged_runs(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = damage(runs, tmp_path, range(LONG))
    table = {}
    for (name, kind, end), count in sorted(found.items()):
        table.setdefault(name, {}).setdefault(kind, {})[end] = count
    (tmp_path / COUNTS.name).write_text(json.dumps(table, indent=1) + "\n")
    written = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    assert table == written, f"other counts than written down; the new ones are in {tmp_path / COUNTS.name}"


def test_the_checkpoint_before_is_used_where_the_last_is_damaged(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("hyperrl.training.loop.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = hyperrl.train(FAMILY, run=tmp_path / "whole", quiet=True, **TINY)
    folder = tmp_path / "run"
    shutil.copytree(tmp_path / "whole", folder)
    assert checkpoint.load(folder / checkpoint.PREVIOUS)["steps"] == 192
    (folder / "checkpoint.pt").write_bytes((folder / "checkpoint.pt").read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"checkpoint\.pt: damaged .*; checkpoint-previous\.pt, the one befo"):
        resumed = hyperrl.train(FAMILY, run=folder, resume=True, quiet=True)
    assert checkpoint.digest(resumed.agent.state_dict()) == checkpoint.digest(whole.agent.state_dict())
    (folder / "checkpoint.pt").unlink()
    with pytest.warns(UserWarning, match="no checkpoint there; checkpoint-previous"):
        assert hyperrl.load(folder, FAMILY).steps in (192, 256)


def test_a_foreign_checkpoint_takes_the_place_of_none(tmp_path):
    path, before = tmp_path / "checkpoint.pt", tmp_path / checkpoint.PREVIOUS
    for steps in (1, 2):
        checkpoint.save_run(path, {"run": "mine", "steps": steps})
    assert checkpoint.load(before)["steps"] == 1
    checkpoint.save(path, {"run": "another's", "steps": 9})
    checkpoint.save_run(path, {"run": "mine", "steps": 3})
    assert (checkpoint.load(before)["steps"], checkpoint.load(path)["steps"]) == (1, 3)


def test_checkpoints_keep_their_permissions(tmp_path):
    path, before = tmp_path / "checkpoint.pt", tmp_path / checkpoint.PREVIOUS
    for steps in (1, 2, 3):
        checkpoint.save_run(path, {"run": "mine", "steps": steps})
        if steps == 2:
            path.chmod(0o600)
    assert (path.stat().st_mode & 0o777, before.stat().st_mode & 0o777) == (0o600, 0o600)
    assert sorted(file.name for file in tmp_path.iterdir()) == [checkpoint.PREVIOUS, "checkpoint.pt"]


@pytest.mark.parametrize("name", ["seed", "learning_rate", "activation", "agent"])
def test_an_edited_setting_is_refused(runs, tmp_path, name):
    shutil.copytree(runs / "one", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    content["config"][name] = {"seed": 1, "learning_rate": 0.5, "activation": "relu", "agent": "blind"}[name]
    path.write_text(json.dumps(content))
    for use in (hyperrl.load, lambda folder, family: hyperrl.train(family, run=folder, resume=True, quiet=True)):
        with pytest.raises(InputError, match=r"config\.json: damaged or edited; restore it"):
            use(tmp_path / "run", FAMILY)
