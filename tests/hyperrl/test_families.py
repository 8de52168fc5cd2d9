"""From what a user types to a family."""

import dataclasses
import tomllib
from importlib.resources import files

import pytest

import hyperrl
from hyperrl import families
from hyperrl.agents import ARMS
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.envs.distractors import distractors
from hyperrl.experts.settings import expert_settings
from hyperrl.families import NONE, Tuned, resolve, tuned

DATACLASS = """
from __future__ import annotations
from dataclasses import KW_ONLY, dataclass


@dataclass
class Limits:
    level: float
    _: KW_ONLY
    strict: bool = True
"""


def test_a_file_may_define_dataclasses_with_postponed_annotations(own_family):
    own_family.write_text(DATACLASS + own_family.read_text())
    assert resolve(str(own_family)).name == "plant"


def test_physics_that_cannot_work_is_named(own_family):
    own_family.write_text(own_family.read_text().replace(".unsqueeze(-1)", ""))
    with pytest.raises(InputError, match=r"^family 'plant': step raised RuntimeError: The size of tensor"):
        resolve(str(own_family))


@pytest.mark.parametrize("name", registry.families())
def test_every_shipped_family_has_settings_that_can_be_used_and_carries_none(name):
    family = registry.get(name)
    assert not family.training
    assert not family.expert
    assert tuned(family).training
    assert Config(name).updated(tuned(family).training) != Config(name)
    assert expert_settings(family) == {"n_envs": 1, **tuned(family).expert}


def test_there_are_settings_of_shipped_families_only_and_their_keys_are_known():
    folder = files("hyperrl") / "settings"
    assert {path.name for path in folder.iterdir()} == {f"{name}.toml" for name in registry.families()}
    for path in folder.iterdir():
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        assert content.keys() <= {"like", "training", "expert", "arms"}
        assert content.get("arms", {}).keys() <= ARMS.keys()
        assert content.get("like", "cartpole") in registry.families()


def test_tuned_settings_of_a_shipped_family():
    training, expert = tuned(registry.get("cartpole"))[:2]
    assert training == {
        "steps": 250_000,
        "copies": 4,
        "rollout": 64,
        "gamma": 0.995,
        "generator_hidden": [32],
        "evaluations": 6,
    }
    assert expert["learning_rate"] == "lin_0.001"
    assert tuned(registry.get("cartpole_drift"))[:2] == (training, expert), "like cartpole"
    assert tuned(registry.get("walker2d")).training["gamma"] == 0.99


def test_own_settings_come_first_and_an_own_family_has_those_of_what_it_was_made_from():
    cartpole = registry.get("cartpole")
    mine = dataclasses.replace(cartpole, name="mine", training={"steps": 7})
    assert tuned(mine) == ({"steps": 7}, tuned(cartpole).expert, {})
    assert tuned(distractors(cartpole, 2)) == tuned(cartpole)
    assert tuned(dataclasses.replace(cartpole, name="mine", origin="mine")) == NONE
    assert tuned(dataclasses.replace(cartpole, name="mine", origin="../cartpole")) == NONE


def test_settings_of_arms_are_of_one_family_alone():
    point, relative = registry.get("point"), registry.get("double_integrator_signed")
    assert tuned(point).arms
    assert not tuned(relative).arms, "like point, with a discount of its own"
    assert tuned(dataclasses.replace(point, name="mine")).arms == tuned(point).arms


def test_an_arm_has_settings_of_its_own_on_top_and_what_is_chosen_comes_first(monkeypatch):
    arms = {"concat": {"gamma": 0.9, "epochs": 2}}
    monkeypatch.setattr(families, "tuned", lambda family: Tuned({"gamma": 0.8, "steps": 7}, {}, arms))
    for chosen, gamma, epochs in (
        ({}, 0.8, 4),
        ({"agent": "concat"}, 0.9, 2),
        ({"agent": "concat", "gamma": 0.5}, 0.5, 2),
        ({"agent": "blind"}, 0.8, 4),
    ):
        _, config = families.configured("cartpole", chosen)
        assert (config.gamma, config.epochs, config.steps) == (gamma, epochs, 7)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"nothing": 1}, "nothing: unknown setting"),
        ({"gamma": "high"}, "gamma='high': must be a number"),
        ({"gamma": 1.5}, r"gamma=1\.5: must be within \[0, 1\]"),
        ({"hidden": "wide"}, "hidden='wide': must be a list"),
    ],
)
def test_a_wrong_setting_of_a_familys_own_names_family_and_file(own_family, tmp_path, table, said):
    own_family.write_text(own_family.read_text().replace("    draws=1,", f"    draws=1, training={table!r},"))
    with pytest.raises(InputError, match=rf"^family 'plant' of .*plant\.py: wrong in its own `training`: {said}"):
        hyperrl.train(str(own_family), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("table", ["training", "expert"])
@pytest.mark.parametrize("given", [5, "gamma", {3: 4}])
def test_settings_that_are_no_table_are_refused(ticks, table, given):
    with pytest.raises(InputError, match=rf"^family 'ticks': {table}=.*: must be a dictionary of settings by"):
        dataclasses.replace(ticks, **{table: given})
