"""Search of settings: what is tried, what is kept, and what a user gets of it."""

import json
import tomllib
import warnings

import pytest
from optuna.trial import FixedTrial, FrozenTrial, create_trial

import hyperrl
from hyperrl.cli import main
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.families import configured
from hyperrl.training import search
from tests.hyperrl.conftest import OWN_FAMILY, TINY


@pytest.fixture
def own_family(tmp_path):
    path = tmp_path / "plant.py"
    path.write_text(OWN_FAMILY)
    return str(path)


def test_a_trial_scores_what_a_run_of_its_settings_keeps(own_family, tmp_path):
    family, config = configured(own_family, {**TINY, "seed": 3, "evaluations": 3})
    reported = []
    score = search.trained(family, config, lambda value, number: reported.append((number, value)))
    run = hyperrl.train(
        own_family, run=tmp_path / "run", quiet=True, encoder=False, seed=3, **{**TINY, "evaluations": 3}
    )
    # a run plays the other splits in the same products, which may round otherwise
    assert score == pytest.approx(run.best["score"], rel=1e-5)
    numbers, scores = zip(*reported, strict=True)
    assert numbers == (1, 2, 3)
    assert scores == pytest.approx(run.curves["validation"], rel=1e-5)


def test_what_a_trial_is_given_are_settings_and_the_familys_own_come_back_unchanged():
    family, config = configured("pendulum", {"entropy_coef": 0.005, "learning_rate": 0.01})
    own = search._parameters(config, family)
    assert search._suggested(FixedTrial(own), config, family) == own
    changes = search._changes(own)
    assert config.updated(changes) == config
    assert set(changes) == {*search.RANGES, *search.CHOICES, "gamma", "log_std"}
    discrete = search._parameters(Config("cartpole"), registry.get("cartpole"))
    assert "log_std" not in discrete


def finished(value, seed, rate, state="COMPLETE") -> FrozenTrial:
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState

    return create_trial(
        value=value if state == "COMPLETE" else None,
        state=TrialState[state],
        params={"learning_rate": rate},
        distributions={"learning_rate": FloatDistribution(1e-4, 1e-2)},
        user_attrs={"settings": {"learning_rate": rate}, "seed": seed},
    )


def test_settings_are_ranked_by_their_mean_over_seeds_and_a_seed_counts_once():
    trials = [
        finished(9.0, 1000, 1e-3),
        finished(7.0, 1000, 2e-3),
        finished(1.0, 1001, 1e-3),
        finished(6.0, 1001, 2e-3),
        finished(6.0, 1001, 2e-3),
        finished(0.0, 1000, 3e-3, "PRUNED"),
        finished(float("inf"), 1000, 4e-3),
    ]
    ranked = [setting for _, setting in search._settings(trials)]
    assert [setting.changes["learning_rate"] for setting in ranked] == [2e-3, 1e-3]
    assert [setting.mean for setting in ranked] == [6.5, 5.0]
    assert ranked[0].scores == {1000: 7.0, 1001: 6.0}


def test_the_familys_own_settings_are_tried_again_where_they_were_killed_and_only_then(own_family, tmp_path):
    family, config = configured(own_family, TINY)
    begun = search.Search(family, config, tmp_path, 0.0)
    own = search._parameters(config, family)

    def waiting():
        trials = search._study(begun).trials
        return [trial.system_attrs["fixed_params"] == own for trial in trials if trial.state.name == "WAITING"]

    search._begin(begun)
    search._begin(begun)
    assert waiting() == [True]
    search._suggested(search._study(begun).ask(), config, family)  # and killed: it is running for ever
    assert waiting() == []
    search._begin(begun)
    assert waiting() == [True]
    study = search._study(begun)
    trial = study.ask()
    search._suggested(trial, config, family)
    study.tell(trial, 1.0)
    search._begin(begun)
    assert waiting() == []


def test_a_search_of_another_space_is_refused(own_family, tmp_path, monkeypatch):
    family, config = configured(own_family, TINY)
    begun = search.Search(family, config, tmp_path, 0.0)
    search._begin(begun)
    monkeypatch.setattr(search, "DEVIATIONS", (-1.0, 0.0))
    with pytest.raises(InputError, match="holds a search that differs in its space, of family 'plant'"):
        search._begin(begun)


def test_a_search_finds_goes_on_and_is_trained_with(own_family, tmp_path, capsys):
    folder, tiny = tmp_path / "search", {name: value for name, value in TINY.items() if name != "device"}
    with warnings.catch_warnings(action="error"):
        found = search.tune(own_family, 120.0, folder, 2, workers=2, **tiny)
        first = len(found.trials)
        again = search.tune(own_family, 120.0, folder, 3, workers=2, **tiny)
    assert found.own is not None
    assert list(found.own.scores) == [1000, 1001, 1002]
    assert found.best.mean == max(found.best.mean, found.own.mean)
    assert len([trial for trial in found.trials if trial["seed"] == 1000]) == 2
    assert len(again.trials) > first, "the third one, and perhaps its further seeds"
    assert again.trials[:first] == found.trials
    assert json.loads((folder / "trials.json").read_text())["trials"] == json.loads(json.dumps(again.trials))
    training = tomllib.loads((folder / "best.toml").read_text())["training"]
    assert training == {"agent": "hyper", **again.best.changes}

    words = [f"--{name}={value}" for name, value in tiny.items()]
    run = tmp_path / "run"
    config = ["--config", str(folder / "best.toml")]
    assert main(["train", own_family, "--run", str(run), "--device=cpu", *config, *words, "--gamma=0.5"]) == 0
    stored = json.loads((run / "config.json").read_text())["config"]
    assert stored["gamma"] == 0.5, "an option counts before the file"
    assert stored["learning_rate"] == training["learning_rate"]
    capsys.readouterr()
    assert main(["tune", own_family, "--run", str(folder), "--agent", "concat", "--trials", "1"]) == 2
    assert "holds a search that differs in its agent" in capsys.readouterr().err


def test_a_family_that_raises_is_one_line_with_its_own_error(tmp_path, capsys):
    path = tmp_path / "plant.py"
    path.write_text(OWN_FAMILY.replace("    after =", "    assert state.abs().max() < 1.5\n    after ="))
    words = ["--run", str(tmp_path / "search"), "--steps=2000", "--trials=1", "--budget=60s"]
    assert main(["tune", str(path), *words]) == 2
    err = capsys.readouterr().err.splitlines()
    assert "AssertionError" in err[-1]
    assert "plant.py" in err[-1]
    assert not any("Traceback" in line for line in err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "0s"], "0s: must be a time above 0"),
        (["--budget", "10"], "10: must be a time above 0"),
        (["--budget", "nanh"], "nanh: must be a time above 0"),
        (["--trials", "0"], "trials=0: must be 1 or more"),
        (["--agent", "oracle"], "oracle"),
    ],
)
def test_wrong_words_are_one_line(words, said, capsys, tmp_path):
    try:
        status = main(["tune", "cartpole", "--run", str(tmp_path / "run"), *words])
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_search_without_optuna_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hyperrl\[tune\]'"):
        search.tune("cartpole", run=tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gamma = 0.9", "has no table"),
        ("[training\n", "give a TOML file"),
        ("training = 3", "has no table"),
        ("[training]\ngama = 0.9", "gama: unknown setting"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_of_settings_is_one_line(text, said, tmp_path, capsys):
    path = tmp_path / "settings.toml"
    if text is not None:
        path.write_text(text)
    assert main(["train", "cartpole", "--run", str(tmp_path / "run"), "--config", str(path)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
