"""Arms side by side, against evaluations one by one."""

import copy
import dataclasses
import json
import re

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hyperrl
from hyperrl.envs import InputError
from hyperrl.evaluation.compare import grouped
from hyperrl.evaluation.statistics import improvement, interval, iqm, worst_tenth
from hyperrl.reports import figures

SMALL = {"variants": 4, "copies": 2, "rollout": 16, "steps": 256, "evaluations": 2, "hidden": (8,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ticks):
    """Two seeds of hyper, three of concat, and one of hyper with another rate."""
    folder = tmp_path_factory.mktemp("compared")
    more = {"quiet": True, "encoder": False, "device": "cpu", **SMALL}
    for agent, seeds in (("hyper", 2), ("concat", 3)):
        for seed in range(seeds):
            hyperrl.train(ticks, agent, seed, run=folder / agent / f"seed-{seed}", **more)
    hyperrl.train(ticks, "hyper", 0, run=folder / "slow", learning_rate=1e-4, threads=2, **more)
    return folder


@pytest.fixture(scope="module")
def runs(folder, ticks):
    """All of them."""
    paths = [folder / "slow", *(folder / "hyper").iterdir(), *(folder / "concat").iterdir()]
    return [hyperrl.load(path, ticks) for path in sorted(paths, reverse=True)]


@pytest.fixture(scope="module")
def found(runs):
    """Their comparison where variants lie at several distances."""
    with pytest.warns(UserWarning, match="outside the training ranges"):
        return hyperrl.compare(runs, "extrapolation", episodes=3, variants=32)


def test_runs_that_differ_in_their_seeds_are_one_arm(runs):
    names = {name: [run.config.seed for run in own] for name, own in grouped(runs).items()}
    assert names == {"hyper, learning_rate 0.0001": [0], "hyper, learning_rate 0.001": [0, 1], "concat": [0, 1, 2]}


def test_how_often_a_checkpoint_is_picked_makes_another_arm(runs):
    other = copy.copy(runs[0])
    other.config = dataclasses.replace(other.config, evaluations=1)
    assert len(grouped([*runs, other])) == len(grouped(runs)) + 1


def test_a_run_that_is_not_finished_is_named(runs):
    unfinished = copy.copy(runs[0])
    unfinished.steps = 128
    with pytest.warns(UserWarning, match=f"^{re.escape(str(runs[0].folder))}: 128 steps of 256, compared as it is"):
        grouped([unfinished, *runs[1:]])


def test_every_arm_is_what_its_evaluations_say(found):
    result = found.json()
    assert (result["family"], result["split"], result["episodes"]) == ("ticks", "extrapolation", 3)
    for arm in found.arms:
        with pytest.warns(UserWarning, match="outside the training ranges"):
            table_RTE = np.stack([run.evaluate("extrapolation", 3).returns_TE[:32] for run in arm.runs])
        of = result["arms"][arm.name]
        assert of["seeds"] == len(table_RTE)
        assert of["iqm"] == pytest.approx(iqm(table_RTE))
        assert of["ci95"] == pytest.approx(interval(table_RTE).ends)
        assert of["mean"] == pytest.approx(table_RTE.mean())
        assert of["worst"] == pytest.approx(table_RTE.mean((0, 2)).min())
        assert of["worst_tenth"] == pytest.approx(worst_tenth(table_RTE.mean((0, 2))))
        assert of["variants"] == pytest.approx(table_RTE.mean((0, 2)))
        assert of["parameters"] == sum(p.numel() for p in arm.runs[0].agent.parameters())
        assert of["steps"] == 256
    tables = {arm.name: arm.returns_RTE for arm in found.arms}
    assert len(result["improvement"]) == 6
    for pair, of in result["improvement"].items():
        probability, ends = improvement(*(tables[name] for name in pair.split(" > ")))
        assert of == {"probability": probability, "ci95": None if ends is None else list(ends)}


def test_its_variants_are_the_splits_with_their_distances(found, ticks):
    result, table_TP = found.json(), ticks.variants("extrapolation", 32)
    assert result["variants"] == ticks.untable(table_TP)
    assert result["distance"] == pytest.approx(ticks.distance(table_TP))
    assert len(set(result["distance"])) > 8


def test_the_figure_has_every_arm_in_every_panel(found):
    figure = figures.comparison(found)
    scores, distances, steps, seconds = figure.axes
    assert len(scores.containers) == len(distances.lines) == 3
    for axes in (steps, seconds):
        assert len(axes.lines) == 6 + 3  # every seed, and every arm's mean
    (legend,) = figure.legends
    assert {text.get_text().partition(" (")[0] for text in legend.get_texts()} == {arm.name for arm in found.arms}


def test_inside_the_training_box_there_is_no_panel_of_distances(runs):
    inside = hyperrl.compare(runs[:1], episodes=1, variants=4)
    assert len(figures.comparison(inside).axes) == 3


def test_seconds_stand_beside_the_curves_and_rise(runs):
    for run in runs:
        assert len(run.seconds) == len(run.curves["steps"])
        assert 0 < run.seconds[0] < run.seconds[-1] < 60


def test_runs_that_cannot_be_compared(runs, tiny_run, tmp_path):
    with pytest.raises(InputError, match="must be one or more"):
        hyperrl.compare([])
    with pytest.raises(InputError, match=r"of family 'cartpole', .* is of 'ticks'"):
        hyperrl.compare([runs[0], tiny_run])
    with pytest.raises(InputError, match="has the settings and the seed"):
        hyperrl.compare([runs[0], hyperrl.load(runs[0].folder, runs[0].family)])
    with pytest.raises(InputError, match="holds no run"):
        hyperrl.compare([tmp_path])


def test_another_definition_of_the_family_is_not_compared(runs, tmp_path, ticks):
    longer = dataclasses.replace(ticks, max_episode_steps=9)
    other = hyperrl.train(longer, run=tmp_path / "other", quiet=True, encoder=False, device="cpu", **SMALL)
    with pytest.raises(InputError, match="another definition"):
        hyperrl.compare([runs[0], other])


@pytest.fixture
def own_runs(own_family, tmp_path):
    """Two arms of a family that the command line can open, two seeds each."""
    more = {"quiet": True, "encoder": False, "device": "cpu", **SMALL}
    for agent in ("hyper", "blind"):
        hyperrl.train_seeds(str(own_family), 2, run=tmp_path / agent, agent=agent, **more)
    return tmp_path


def test_the_command_writes_table_json_figure_and_hparams(cli, own_runs):
    words = ["--variants", "4", "--episodes", "2", "--json", own_runs / "found.json"]
    status, out, err = cli("compare", own_runs / "hyper", own_runs / "blind", *words)
    assert status == 0
    assert len(err.splitlines()) == 1  # the family's code is announced once for all runs
    written = json.loads((own_runs / "found.json").read_text())
    assert {"split", "arms", "improvement"} <= written.keys()
    assert written["arms"].keys() == {"hyper", "blind"}
    assert {"seeds", "iqm", "ci95", "worst_tenth", "mean"} <= written["arms"]["hyper"].keys()
    assert written["improvement"].keys() == {"hyper > blind", "blind > hyper"}
    assert "for agents of any seed, on these 4 variants, from any start" in " ".join(out.split())
    figure = own_runs / "hyper" / "seed-0" / "figures" / "compare-interpolation.png"
    assert f"figure: {figure}" in out
    assert figure.exists()
    for agent in ("hyper", "blind"):
        for seed in range(2):
            run = hyperrl.load(own_runs / agent / f"seed-{seed}")
            events = EventAccumulator(str(run.folder / "compare-interpolation")).Reload()
            (mean,) = events.Scalars("compare/interpolation/mean")
            expected = hyperrl.compare([run], episodes=2, variants=4).arms[0].means_T.mean()
            assert mean.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("default:.*outside the training ranges")
def test_several_splits_are_a_list_and_one_seed_is_said(cli, own_runs):
    words = ["--variants", "2", "--episodes", "1", "--split", "interpolation", "extrapolation"]
    run = own_runs / "hyper" / "seed-1"
    words += ["--json", own_runs / "found.json"]
    status, out, err = cli("compare", run, *words)
    assert status == 0
    assert "outside the training ranges" in err
    assert [part["split"] for part in json.loads((own_runs / "found.json").read_text())] == words[-4:-2]
    assert "nothing is said about other seeds" in out


def test_what_the_command_refuses(cli, own_runs):
    run, there = own_runs / "hyper", own_runs / "there.png"
    there.write_text("mine")
    for words, said in (
        ([run, run], "name one of them"),
        ([own_runs / "none"], "holds no run"),
        ([run, "--png", there], "--force"),
        ([run, "--json", run / "seed-0" / "config.json"], "config.json"),
        ([run, "--png", "x.png", "--split", "interpolation", "extrapolation"], "one file for 2 splits"),
        ([run, "--split", "none"], "none"),
        ([run, "--variants", "0"], "variants"),
        ([], "RUN"),
    ):
        status, out, err = cli("compare", *words)
        assert (status, out) == (2, "")
        *announced, mistake = err.splitlines()
        assert all(line.startswith("family: running") for line in announced[:1])
        assert len(announced) <= 1
        assert said in mistake
    assert there.read_text() == "mine"
