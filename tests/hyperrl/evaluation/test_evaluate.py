"""Judgement: whole episodes against a step-by-step loop, what is written, what is warned of."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TimeLimit
from PIL import Image

from hyperrl.api import Run
from hyperrl.cli import main
from hyperrl.envs import InputError, PhysicsVectorEnv, VariantEnv, registry
from hyperrl.envs.fingerprint import fingerprint
from hyperrl.evaluation.evaluate import evaluate
from hyperrl.experts.settings import expert_settings
from hyperrl.play.actors import Act, AgentActor, random_actions
from hyperrl.play.episodes import START_SEED, play
from hyperrl.reports import evaluation as reports
from hyperrl.reports import figures
from hyperrl.reports.evaluation import grid, save_evaluations, sweep

CARTPOLE = registry.get("cartpole")

POLICIES = {
    # balances some variants to the end, loses others on the way
    "cartpole": (lambda obs: (0.1 * obs[:, 0] + obs[:, 2] > 0).long(), 60),
    "pendulum": (lambda obs: (-3 * obs[:, 1:2] - obs[:, 2:3]).clamp(-4, 4), 60),
    "mountain_car": (lambda obs: 1 + obs[:, 1].sign().long(), 100),
}


@pytest.mark.parametrize("name", POLICIES)
def test_episodes_equal_a_loop_over_single_environments(name):
    act, limit = POLICIES[name]
    family = dataclasses.replace(registry.get(name), max_episode_steps=limit)
    table_TP, episodes, seed = family.variants("extrapolation", 5), 3, 77
    played = play(family, table_TP, Act(act), episodes, seed)
    vector = PhysicsVectorEnv(family, table_TP, episodes)
    vector.reset(seed=seed, options={"paired": True})
    starts_TEX = vector.moment.state_TEX.double().numpy()
    for t, variant in enumerate(family.untable(table_TP)):
        env = TimeLimit(VariantEnv(family, **variant), limit)
        for e in range(episodes):
            env.reset(seed=0)
            state = torch.as_tensor(starts_TEX[t, e]).view(1, 1, -1)
            obs = env.unwrapped._observe(state, None)
            total, length, done = 0.0, 0, False
            while not done:
                action = act(torch.as_tensor(obs)[None])[0].numpy()
                obs, reward, terminated, truncated, _ = env.step(action)
                total, length, done = total + reward, length + 1, terminated or truncated
            assert played.lengths_TE[t, e] == length
            assert played.returns_TE[t, e] == pytest.approx(total, rel=1e-3)
    if name != "pendulum":
        assert played.lengths_TE.min() < limit == played.lengths_TE.max()


def test_every_policy_meets_the_same_starts():
    table_TP = CARTPOLE.variants("interpolation", 4)

    def first_observations(actor, **settings):
        seen = []
        watched = Act(lambda obs: seen.append(obs.clone()) or actor.act(obs))
        played = play(CARTPOLE, table_TP, watched, 3, **settings)
        assert torch.equal(played.start_NO, seen[0])
        return seen[0]

    always_right = first_observations(Act(lambda obs: torch.ones(len(obs), dtype=torch.int64)))
    at_random = first_observations(random_actions(CARTPOLE))
    assert torch.equal(always_right, at_random)
    assert torch.equal(at_random, first_observations(random_actions(CARTPOLE, seed=1), seed=START_SEED))
    assert not torch.equal(at_random, first_observations(random_actions(CARTPOLE), seed=START_SEED + 1))
    # copy e of every variant starts alike, so that an expert, judged alone, meets the starts of the whole split
    assert len(torch.unique(at_random, dim=0)) == 3
    table_TP = table_TP[2:3]
    assert torch.equal(first_observations(random_actions(CARTPOLE)), at_random[6:9])


def test_random_actions_are_uniform_and_seeded():
    obs = torch.zeros(3000, 1)
    for name in ("mountain_car", "acrobot", "cartpole"):
        family = registry.get(name)
        counts = torch.bincount(random_actions(family).act(obs))
        assert len(counts) == family.action_space.n
        assert (counts > 800).all()
    pendulum = registry.get("pendulum")
    drawn = random_actions(pendulum).act(obs).numpy()
    assert drawn.shape == (3000, 1)
    assert -4 <= drawn.min() < -3.9
    assert 3.9 < drawn.max() <= 4
    assert abs(drawn.mean()) < 0.2
    assert drawn.std() == pytest.approx(8 / np.sqrt(12), rel=0.05)
    actor = random_actions(pendulum)
    assert torch.equal(actor.act(obs), torch.as_tensor(drawn))
    assert not torch.equal(actor.act(obs), torch.as_tensor(drawn))
    assert not torch.equal(random_actions(pendulum, seed=3).act(obs), torch.as_tensor(drawn))


@pytest.mark.parametrize(
    ("low", "high"), [([-np.inf, 2.0], [np.inf, 3.0]), ([0.0, -1.0], [np.inf, 1.0]), ([-np.inf, 0.0], [1.0, 1.0])]
)
def test_random_actions_of_unbounded_boxes(low, high):
    space = Box(np.float32(low), np.float32(high))
    family = dataclasses.replace(registry.get("pendulum"), action_space=space)
    drawn = random_actions(family).act(torch.zeros(500, 1)).numpy()
    assert np.isfinite(drawn).all()
    assert all(space.contains(action) for action in drawn)
    assert (drawn.std(0) > 0.2).all()


def test_an_evaluation_is_that_of_the_generated_policies(tiny_run):
    family = tiny_run.family
    evaluation = tiny_run.evaluate(episodes=3)
    table_TP = family.variants("interpolation", 64)
    np.testing.assert_array_equal(evaluation.variants_TP, table_TP)
    played = play(family, table_TP, AgentActor(tiny_run.agent, family), 3)
    np.testing.assert_array_equal(evaluation.returns_TE, played.returns_TE)
    np.testing.assert_array_equal(evaluation.returns_TE, tiny_run.evaluate(episodes=3).returns_TE)
    assert evaluation.json()["ci95"] == tiny_run.evaluate(episodes=3).json()["ci95"]
    one = tiny_run.evaluate(episodes=3, length=0.8)
    assert (one.split, one.returns_TE.shape) == (None, (1, 3))
    assert one.parameters == [{**family.defaults, "length": 0.8}]


def test_the_splits_are_saved_with_the_run_and_played(tiny_run):
    content = json.loads((tiny_run.folder / "config.json").read_text())
    for split in ("validation", "interpolation", "extrapolation", "combination"):
        saved = np.array(content["splits"][split])
        assert saved.shape == (64, 5)
        np.testing.assert_array_equal(saved, tiny_run.family.variants(split, 64))
    np.testing.assert_array_equal(content["splits"]["interpolation"], tiny_run.evaluate(episodes=1).variants_TP)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, r"split 'test': unknown; choose from train, validation"),
        ({"episodes": 0}, r"episodes=0: must be 1 or more"),
        ({"variants": 0}, r"variants=0: must be 1 or more"),
        ({"parameters": {"mass": 1.0}}, r"mass: unknown parameter of family 'cartpole'"),
        ({"parameters": {"length": 11.0}}, r"length=11\.0: must be within \(0, 10\] m"),
    ],
)
def test_wrong_arguments(tiny_run, arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate(tiny_run, **arguments)


# warnings


def test_warnings_of_variants_outside(tiny_run):
    inside = CARTPOLE.variants("interpolation", 3)
    outside = CARTPOLE.variants("extrapolation", 2)
    assert CARTPOLE.range_note(inside) == ""
    assert CARTPOLE.range_note(inside[:1]) == ""
    both = np.concatenate([inside, outside])
    assert CARTPOLE.range_note(both) == "2 of 5 variants lie outside the training ranges of cartpole"
    one = CARTPOLE.table([{"masspole": 0.7}])
    expected = "masspole=0.7 lies outside the training range 0.05 to 0.5 kg"
    assert CARTPOLE.range_note(one) == expected
    with pytest.warns(UserWarning, match=f"^{expected}$"):
        evaluate(tiny_run, episodes=1, parameters={"masspole": 0.7})
    with pytest.warns(UserWarning, match="^4 of 4 variants lie outside the training ranges of cartpole$"):
        evaluate(tiny_run, "extrapolation", episodes=1, variants=4)
    # at an end of the training range nothing is said: here warnings are errors
    evaluate(tiny_run, episodes=1, parameters={"masspole": 0.5, "gravity": 5.0})


# experts


def write_expert(folder, variant, mean, random, name):
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "family": "cartpole",
        "parameters": variant,
        "seed": 0,
        "settings": expert_settings(CARTPOLE),
        "steps": 100,
        "seconds": 1.0,
        "returns": [mean] * 10,
        "mean": mean,
        "random": random,
        "fingerprint": fingerprint(CARTPOLE, CARTPOLE.table([variant])),
    }
    (folder / f"{name}.json").write_text(json.dumps(record))


def test_the_gap_to_experts(tiny_run, tmp_path, monkeypatch, capsys):
    variants = CARTPOLE.untable(CARTPOLE.variants("interpolation", 5))
    folder = tmp_path / "runs" / "experts" / "cartpole"
    write_expert(folder, variants[1], 500.0, 20.0, "a")
    write_expert(folder, variants[3], 400.0, 40.0, "b")
    write_expert(folder, CARTPOLE.variant(gravity=9.0), 300.0, 10.0, "another variant's")
    evaluation = evaluate(tiny_run, episodes=4, variants=5, experts=tmp_path / "runs" / "experts")
    np.testing.assert_array_equal(evaluation.expert_T, [np.nan, 500, np.nan, 400, np.nan])
    np.testing.assert_array_equal(evaluation.random_T, [np.nan, 20, np.nan, 40, np.nan])
    means = evaluation.returns_TE.mean(1)
    expected = [(means[1] - 20) / 480, (means[3] - 40) / 360]
    np.testing.assert_allclose(evaluation.normalised_T, expected)
    assert evaluation.json()["experts"] == {
        "variants": 2,
        "mean": 450.0,
        "random": 30.0,
        "normalised": pytest.approx(np.mean(expected)),
    }
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(tiny_run.folder), "--variants", "5", "--episodes", "4", "--json", "r.json"]) == 0
    assert json.loads((tmp_path / "r.json").read_text()) == evaluation.json()
    out = capsys.readouterr().out
    assert f"{np.mean(expected):.3f} of 2" in out
    assert "normalised: 0 is a random policy, 1 each variant's expert" in out
    without = evaluate(tiny_run, episodes=1, variants=5, experts=tmp_path / "none")
    assert without.json()["experts"] is None
    assert len(without.normalised_T) == 0


# figures


def test_figures_and_results_are_written(tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder, folder)
    run = Run(folder)
    monkeypatch.setattr(reports, "SWEEP_VALUES", 4)
    monkeypatch.setattr(reports, "MAP_VALUES", 3)
    with pytest.warns(UserWarning, match="8 of 8 variants lie outside"):
        evaluations = [evaluate(run, split, 1, variants=8) for split in ("interpolation", "extrapolation")]
    paths = save_evaluations(run, evaluations, sweeps=True)
    names = {"return_over_parameters.png", "heat_map.png", "return_over_distance.png"}
    assert {path.name for path in paths} >= names
    for path in paths:
        assert path.parent == folder / "figures"
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert np.ptp(np.asarray(image.convert("L"))) > 100
    for evaluation in evaluations:
        written = json.loads((folder / "evaluations" / f"{evaluation.split}.json").read_text())
        assert written == evaluation.json()
    # one variant alone has no figure
    assert save_evaluations(run, [evaluate(run, episodes=1, parameters={"length": 0.7})]) == []
    assert (folder / "evaluations" / "variant.json").is_file()


def test_drawing_plays_nothing_unless_asked(tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder, folder)
    run, played = Run(folder), []
    evaluations = [evaluate(run, "interpolation", 1, variants=4)]
    monkeypatch.setattr(reports, "play", lambda *_: played.append(1))
    paths = {path.name for path in save_evaluations(run, evaluations)}
    assert played == []
    assert "return_over_parameters.png" in paths
    assert "heat_map.png" not in paths


def test_the_heat_map_takes_the_two_that_matter_most(tiny_run, monkeypatch):
    spread = {"gravity": 1.0, "masscart": 5.0, "masspole": 2.0, "length": 9.0, "force_mag": 3.0}
    monkeypatch.setattr(
        reports,
        "sweep",
        lambda run: {name: (np.arange(2.0), np.array([7.0, 7.0 - size])) for name, size in spread.items()},
    )
    chosen = []
    monkeypatch.setattr(reports, "grid", lambda run, *names: chosen.append(names) or (None, None))
    for name in ("return_over_parameters", "heat_map", "return_over_distance"):
        monkeypatch.setattr(figures, name, lambda *arguments: None)
    monkeypatch.setattr(figures, "save", lambda figure, path: path)
    monkeypatch.setattr(reports, "write_json", lambda *_: None)
    save_evaluations(tiny_run, [evaluate(tiny_run, episodes=1, variants=2)], sweeps=True)
    assert chosen == [("length", "masscart")]


def test_sweep_and_grid_play_the_variants_that_they_name(tiny_run, monkeypatch):
    played = []

    def remember(run, variants):
        played.append(list(variants))
        return np.arange(len(played[-1]), dtype=float)

    monkeypatch.setattr(reports, "_mean_returns", remember)
    monkeypatch.setattr(reports, "SWEEP_VALUES", 3)
    monkeypatch.setattr(reports, "MAP_VALUES", 3)
    swept = sweep(tiny_run)
    for name, (values, returns) in swept.items():
        low, high = CARTPOLE[name].wide
        np.testing.assert_allclose(values, [low, (low + high) / 2, high])
        assert [played[0][int(index)] for index in returns] == [{name: value} for value in values]
    (xs, ys), returns = grid(tiny_run, "length", "gravity")
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            assert played[1][int(returns[i, j])] == {"length": x, "gravity": y}


def test_action_spaces_are_what_the_tests_take_them_for():
    assert isinstance(registry.get("mountain_car").action_space, Discrete)
    assert isinstance(registry.get("pendulum").action_space, Box)
