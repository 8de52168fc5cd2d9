"""What a run's folder says of its family, and what is refused when the family has changed."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import hyperrl
from hyperrl.envs import InputError, registry
from hyperrl.envs.fingerprint import fingerprint, same_physics
from hyperrl.storage import checkpoint
from hyperrl.storage import run as run_files
from hyperrl.storage.run import _digest


def heavier(family):
    """The same declaration, but all that moves moves half as far."""

    def step(state, action, p):
        after, reward, terminated = family.step(state, action, p)
        return state + (after - state) / 2, reward, terminated

    return replace(family, step=step)


def test_a_run_whose_physics_has_changed_is_refused(ticks, ticks_run):
    assert hyperrl.load(ticks_run.folder, ticks).family is ticks
    with pytest.raises(InputError, match=r"physics of family 'ticks' is no longer that of the training.*train again"):
        hyperrl.load(ticks_run.folder, heavier(ticks))
    with pytest.raises(InputError, match="is no longer that of the training"):
        hyperrl.train(heavier(ticks), run=ticks_run.folder, resume=True, quiet=True)


def test_a_run_without_a_fingerprint_is_taken_as_it_is(ticks, ticks_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(ticks_run.folder, folder)
    content = json.loads((folder / "config.json").read_text())
    content["fingerprint"] = None
    content["digest"] = _digest(content)
    (folder / "config.json").write_text(json.dumps(content))
    state = checkpoint.load(folder / "checkpoint.pt")
    checkpoint.save(folder / "checkpoint.pt", {**state, "run": content["digest"]})
    assert hyperrl.load(folder, heavier(ticks)).config == ticks_run.config


def test_settings_are_read_once(ticks, ticks_run, tmp_path, monkeypatch):
    """Whatever writes config.json meanwhile, what was checked is what is used."""
    read, folder = run_files.read_json, tmp_path / "run"
    shutil.copytree(ticks_run.folder, folder)

    def replaced(path):
        content = read(path)
        path.write_text("{}")
        return content

    monkeypatch.setattr(run_files, "read_json", replaced)
    run = hyperrl.load(folder, ticks)
    assert (run.config, run.identity) == (ticks_run.config, ticks_run.identity)


@pytest.mark.parametrize("name", registry.families())
def test_a_family_moves_alike_twice_and_other_physics_does_not(name):
    family = registry.get(name)
    variants_TP = family.variants("train", 3)
    found = fingerprint(family, variants_TP)
    assert same_physics(found, fingerprint(family, variants_TP))
    other = variants_TP.copy()
    for i, parameter in enumerate(family.parameters):
        if not parameter.distractor:
            low, high = parameter.train
            other[:, i] = low + (other[:, i] - low + 0.4 * (high - low)) % (high - low)
    if "split" not in family.fixed and not torch.equal(torch.as_tensor(other), torch.as_tensor(variants_TP)):
        assert not same_physics(found, fingerprint(family, other)), "another variant is other physics"
