"""What the value network predicts, against the network by hand and episodes step by step."""

import dataclasses

import numpy as np
import pytest
import torch

import hyperrl
from hyperrl.envs import InputError, registry
from hyperrl.evaluation import calibration
from hyperrl.evaluation.calibration import Prediction, predicted, predicted_map
from hyperrl.evaluation.evaluate import evaluate
from hyperrl.families import resolve
from hyperrl.play.actors import Act, AgentActor
from hyperrl.play.episodes import START_SEED, play
from hyperrl.play.policy import generated
from hyperrl.reports import figures

CARTPOLE = registry.get("cartpole")


def right(obs):
    return torch.ones(len(obs), dtype=torch.int64)


def by_hand(run, variant, copies):
    """The value network of one variant at the starts of judged episodes, in NumPy."""
    obs, _ = run.family.vector(run.family.table([variant]), copies).reset(seed=START_SEED, options={"paired": True})
    _, value = run.agent.target.split(run.agent.whole(generated(run.agent, run.family, [variant])))
    layers = [layer[0] for layer in value]
    normaliser = run.agent.normaliser
    mean, var, return_var = (x.double().numpy() for x in (normaliser.mean, normaliser.var, normaliser.return_var))
    y = np.clip((obs.double().numpy() - mean) / np.sqrt(var + 1e-8), -10, 10).T
    for i in range(0, len(layers), 2):
        y = np.tanh(y) if i else y
        y = layers[i].numpy() @ y + layers[i + 1].numpy()[:, None]
    return y[0] * np.sqrt(return_var + 1e-8)


# discounted returns


def test_a_terminated_episode_is_discounted_as_it_is():
    played = play(CARTPOLE, CARTPOLE.variants("interpolation", 3), Act(right), 4, gamma=0.9)
    assert played.lengths_TE.max() < 50
    np.testing.assert_allclose(played.discounted_TE, (1 - 0.9**played.lengths_TE) / 0.1, rtol=1e-6)


def test_a_cut_episode_goes_on_as_in_its_last_tenth():
    family = dataclasses.replace(CARTPOLE, max_episode_steps=5)
    played = play(family, CARTPOLE.variants("interpolation", 3), Act(right), 4, gamma=0.9)
    np.testing.assert_allclose(played.discounted_TE, 10.0, rtol=1e-6)  # a reward of 1 for ever
    family, gamma = dataclasses.replace(registry.get("pendulum"), max_episode_steps=30), 0.95
    table_TP = family.variants("interpolation", 2)

    def still(obs):
        return torch.zeros(len(obs), 1)

    played = play(family, table_TP, Act(still), 3, gamma=gamma)
    env = family.vector(table_TP, 3)
    env.reset(seed=START_SEED, options={"paired": True})
    rewards_SN = np.array([env.step(still(torch.zeros(6)))[1].numpy() for _ in range(30)], dtype=np.float64)
    last = rewards_SN[27:].mean(0)
    expected = (gamma ** np.arange(30)) @ rewards_SN + gamma**30 / (1 - gamma) * last
    np.testing.assert_allclose(played.discounted_TE.flatten(), expected, rtol=1e-6)
    np.testing.assert_allclose(played.returns_TE.flatten(), rewards_SN.sum(0), rtol=1e-6)
    assert np.abs(gamma**30 / (1 - gamma) * last / expected).max() > 0.1  # so that the test sees it


def test_without_a_discount_nothing_is_completed():
    family = dataclasses.replace(CARTPOLE, max_episode_steps=20)
    played = play(family, CARTPOLE.variants("interpolation", 3), Act(right), 4, gamma=1.0)
    np.testing.assert_array_equal(played.discounted_TE, played.returns_TE)
    discounted = play(family, CARTPOLE.variants("interpolation", 3), Act(right), 4, gamma=0.9)
    np.testing.assert_array_equal(discounted.returns_TE, played.returns_TE)
    np.testing.assert_array_equal(discounted.lengths_TE, played.lengths_TE)
    undiscounted = play(family, CARTPOLE.variants("interpolation", 3), Act(right), 4)
    np.testing.assert_array_equal(undiscounted.discounted_TE, played.returns_TE)


# evaluate


def test_an_evaluation_holds_the_value_networks_prediction(tiny_run):
    evaluation = evaluate(tiny_run, episodes=5, variants=3)
    for variant, found in zip(evaluation.parameters, evaluation.prediction.predicted_T, strict=True):
        assert found == pytest.approx(by_hand(tiny_run, variant, 5).mean(), rel=1e-4)
    played = play(
        tiny_run.family,
        evaluation.variants_TP,
        AgentActor(tiny_run.agent, tiny_run.family),
        5,
        gamma=tiny_run.config.gamma,
    )
    np.testing.assert_array_equal(evaluation.prediction.measured_T, played.discounted_TE.mean(1))
    json = evaluation.json()
    assert [v["predicted"] for v in json["variants"]] == evaluation.prediction.predicted_T.tolist()
    assert [v["discounted"] for v in json["variants"]] == evaluation.prediction.measured_T.tolist()
    assert json["calibration"] == evaluation.prediction.json()
    assert json["calibration"]["gamma"] == tiny_run.config.gamma


def test_under_drift_it_is_that_of_the_first_parameters(tiny_run):
    still, walked = (evaluate(tiny_run, episodes=3, variants=2, drift=drift) for drift in (0.0, 0.2))
    np.testing.assert_array_equal(still.prediction.predicted_T, walked.prediction.predicted_T)
    assert (still.returns_TE != walked.returns_TE).any()


def test_how_well_a_prediction_holds():
    predicted_T = np.array([1.0, 2.0, 4.0, 5.0])
    found = Prediction(0.9, predicted_T, 2 * predicted_T + 3, np.array([1.0, 4.0, 3.0, 9.0])).json()
    assert found == {
        "gamma": 0.9,
        "predicted": 3.0,
        "measured": 9.0,
        "mean_absolute_error": 6.0,
        "spearman": pytest.approx(1.0),
        "spearman_return": pytest.approx(0.8),
        "slope": pytest.approx(2.0),
    }
    noisy_T = np.array([1.0, 0.0, 5.0, 2.0])
    slope = Prediction(0.9, predicted_T, noisy_T, noisy_T).json()["slope"]
    assert slope == pytest.approx(np.polyfit(predicted_T, noisy_T, 1)[0])


def test_where_nothing_varies_nothing_is_told():
    told = ("spearman", "spearman_return", "slope")
    same_T, varied_T = np.full(4, 7.0), np.arange(4.0)
    blind = Prediction(0.9, same_T * (1 + 1e-9 * varied_T), varied_T, varied_T).json()
    assert [blind[name] for name in told] == [None, None, None]
    assert blind["mean_absolute_error"] == pytest.approx(5.5)
    solved = Prediction(0.9, varied_T, same_T, same_T).json()
    assert [solved[name] for name in told] == [None, None, 0.0]
    one = Prediction(0.9, varied_T[:1], same_T[:1], same_T[:1]).json()
    assert [one[name] for name in told] == [None, None, None]


# the map


def test_the_map_is_the_value_network_at_the_starts(tiny_run, monkeypatch):
    monkeypatch.setattr(calibration, "MAP_VALUES", 3)
    calls, generate = [], tiny_run.agent.generate
    with monkeypatch.context() as patch:
        patch.setattr(tiny_run.agent, "generate", lambda context: calls.append(len(context)) or generate(context))
        patch.setattr("hyperrl.envs.PhysicsVectorEnv.step", None)  # nothing is played
        found = predicted_map(tiny_run, ["length", "gravity"])
    assert calls == [9]
    assert found.names == ("length", "gravity")
    for values, name in zip(found.values, found.names, strict=True):
        low, high = CARTPOLE[name].wide
        np.testing.assert_allclose(values, [low, (low + high) / 2, high])
    for i, j in ((0, 0), (0, 2), (1, 1), (2, 0)):
        variant = {"length": found.values[0][i], "gravity": found.values[1][j]}
        expected = by_hand(tiny_run, variant, calibration.STARTS).mean()
        assert found.predicted_XY[i, j] == pytest.approx(expected, rel=1e-4)
    assert np.ptp(found.predicted_XY) > 0
    assert found.json()["predicted"] == found.predicted_XY.tolist()
    assert found.json()["others"] == {"masscart": 1.0, "masspole": 0.1, "force_mag": 10.0}
    assert found.seconds > 0


def test_by_default_it_is_over_the_two_that_change_the_prediction_most(tiny_run, monkeypatch):
    weights = {"gravity": 1.0, "masscart": 0.0, "masspole": 50.0, "length": 0.0, "force_mag": 30.0}
    low, high = CARTPOLE.box("wide")

    def told(run, table_TP):
        return ((table_TP - low) / (high - low)) @ np.array(list(weights.values()))

    monkeypatch.setattr(calibration, "predicted", told)
    assert predicted_map(tiny_run).names == ("masspole", "force_mag")


def test_starts_that_are_built_are_those_of_the_original_task(tiny_run):
    class Foreign(type(CARTPOLE).__mro__[1]):  # a family that is no PhysicsFamily, stepped by the same physics
        def vector(self, *arguments, **settings):
            asked.append(arguments[0])
            return CARTPOLE.vector(*arguments, **settings)

    asked = []
    known = {field.name: getattr(CARTPOLE, field.name) for field in dataclasses.fields(Foreign)}
    run = hyperrl.load(tiny_run.folder)
    run.family = Foreign(**known)
    table_TP = CARTPOLE.variants("interpolation", 4)
    np.testing.assert_allclose(predicted(run, table_TP), predicted(tiny_run, table_TP), rtol=1e-6)
    np.testing.assert_array_equal(asked[0], CARTPOLE.table([{}]))


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (["length", "mass"], r"mass: unknown parameter of family 'cartpole'; choose from"),
        (["length", "length"], r"--over length length: needs two different parameters; choose another one"),
    ],
)
def test_wrong_parameters(tiny_run, over, message):
    with pytest.raises(InputError, match=message):
        predicted_map(tiny_run, over)


def test_a_family_of_one_parameter_has_no_map(own_family, tmp_path, tiny):
    run = hyperrl.train(resolve(str(own_family)), run=tmp_path / "run", quiet=True, **tiny)
    with pytest.raises(InputError, match="family 'plant': a map needs two parameters that act, it has 1"):
        predicted_map(run)


# figures


def test_predicted_returns_are_drawn_beside_a_diagonal(tmp_path):
    points = {
        "interpolation": (np.array([-3.0, -1.0]), np.array([-2.5, -1.5])),
        "extrapolation": (np.array([-6.0]), np.array([-9.0])),
    }
    figure = figures.predicted_return(CARTPOLE, points, 0.98)
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "interpolation: 2 variants",
        "extrapolation: 1 variants",
        "as predicted",
    ]
    for dots, (x, y) in zip(axes.collections, points.values(), strict=True):
        np.testing.assert_array_equal(dots.get_offsets(), np.stack([x, y], axis=1))
    (diagonal,) = axes.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[0] < -9 < -1 < axes.get_xlim()[1]
    assert figures.save(figure, tmp_path / "p.png").stat().st_size > 5_000


@pytest.mark.parametrize("value", [0.0, 500.0])
def test_predictions_of_one_value_are_drawn(tmp_path, value):
    figure = figures.predicted_return(CARTPOLE, {"train": (np.full(2, value), np.full(2, value))}, 0.98)
    assert figures.save(figure, tmp_path / "p.png").exists()


def test_a_map_says_what_is_predicted_and_marks_no_return_as_solved():
    grids = np.linspace(5, 15, 3), np.linspace(0.25, 1, 3)
    values = np.linspace(400, 500, 9).reshape(3, 3)
    what = "predicted discounted return (gamma 0.98)"
    figure = figures.heat_map(CARTPOLE, ("gravity", "length"), grids, values, what)
    bar = figure.axes[1]
    assert bar.get_ylabel() == what
    assert figure.get_suptitle() == "cartpole: predicted discounted return over gravity and length"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "training ranges" in labels
    assert not any("solved" in label for label in labels)
    measured = figures.heat_map(CARTPOLE, ("gravity", "length"), grids, values)
    assert any("solved" in text.get_text() for text in measured.legends[0].get_texts())
