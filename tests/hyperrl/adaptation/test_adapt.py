"""Adaptation: budgets, curves and what is kept, on a family whose episodes' lengths and returns are known by hand."""

import dataclasses
import json
import re
import shlex
import shutil
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hyperrl
from hyperrl import api
from hyperrl.adapt import MODES, adapt
from hyperrl.adaptation import learning, session
from hyperrl.adaptation.inference import play_unknown
from hyperrl.adaptation.result import EPISODES
from hyperrl.adaptation.selection import JUDGED, MARKS, PATIENCE, Selection
from hyperrl.adaptation.session import rounds
from hyperrl.envs import InputError
from hyperrl.envs.drift import Walk
from hyperrl.evaluation.statistics import interval
from hyperrl.play.episodes import START_SEED, Episodes
from hyperrl.reports.adaptation import save_adaptation
from hyperrl.seeds import numpy_generator, seed_of
from hyperrl.storage import checkpoint, files

PAGE = Path(__file__).parents[3] / "docs" / "adaptation.md"
KEYS = ["family", "agent", "seed", "parameters", "unknown", "mode", "inferred", "curve", "expert"]
OUTSIDE = pytest.mark.filterwarnings("default:.* outside the training range")
VARIANTS = ({"target": 0.9, "ends": 2}, {"target": -0.7, "ends": 5}, {"target": 0.1, "ends": 3, "pay": 1})
ENDS = np.array([2, 5, 3])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few and small steps of learning: how well it learns is tested elsewhere."""
    for name, value in {"UPDATES": 2, "VALUE_UPDATES": 2, "ROWS": 16}.items():
        monkeypatch.setattr(learning, name, value)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Whatever is written by default lands in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def table(ticks):
    return ticks.table(VARIANTS)


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A run's folder that may be written to."""
    folder = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    state = checkpoint.load(folder / "checkpoint.pt")
    state["best"]["agent"]["normaliser.var"] *= 100  # hardly trained, it sees in play what it never saw in training
    checkpoint.save(folder / "checkpoint.pt", state)
    return folder


def zero_shot(run, table_TP):
    context_TC = run.family.encode(torch.as_tensor(table_TP, dtype=torch.float32))
    return run.agent.whole(run.agent.generate(context_TC))


class Offers:
    """A learner that learns nothing, and has what it is given."""

    tested = True

    def __init__(self, practice, weights):
        self.practice, self.offered = practice, weights

    def weights(self):
        return self.offered

    def learn(self, episodes):
        self.practice.play(self.offered, episodes)


def offer(monkeypatch, weights_of):
    """``all`` is offered what ``weights_of(adaptation)`` yields, one after the other."""

    def learners(adaptation):
        return (Offers(adaptation.practice, weights) for weights in weights_of(adaptation))

    monkeypatch.setattr(session._Session, "learners", learners)


# budgets


@given(st.integers(0, 1000))
def test_rounds_add_up_and_meet_the_marks(episodes):
    sizes = list(rounds(episodes))
    assert sum(sizes) == episodes
    assert all(size >= 1 for size in sizes)
    assert {mark for mark in MARKS if mark <= episodes} <= set(accumulate(sizes))


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_steps_are_those_of_the_episodes_asked_for(ticks_run, table, mode, unknown):
    """Every episode of a variant lasts ``ends`` steps, whatever is done."""
    seen = []
    found = adapt(ticks_run, table, mode, 6, unknown, progress=lambda *told: seen.append(told))
    assert found.episodes_K == [0, 1, 2, 5, 6]
    np.testing.assert_array_equal(found.steps_KT, np.outer(found.episodes_K, ENDS))
    assert np.isfinite(found.returns_KT).all()
    judgements_KT = found.judged_steps_KT / (JUDGED * ENDS)
    if mode == "all":  # what has not changed is not judged, which takes a trial that found nothing better
        assert not judgements_KT[0].any()
        judgements_KT[0] = 1  # what is compared with: it is played before anything is learned, and counted after that
        assert set(np.diff(judgements_KT, axis=0).flat) <= ({0, 1} if unknown else {1})
        judgements_KT[0] = 0
    else:
        assert not judgements_KT.any()
    np.testing.assert_array_equal(found.judged_KT, JUDGED * judgements_KT)
    np.testing.assert_array_equal(found.learned_KT, np.outer(found.episodes_K, [1, 1, 1]))
    np.testing.assert_array_equal(found.played_KT, found.learned_KT + found.judged_KT)
    np.testing.assert_array_equal(found.played_steps_KT, found.played_KT * ENDS)
    assert found.seconds_K == sorted(found.seconds_K)
    assert found.seconds_K[0] == 0 < found.seconds_K[1]
    assert [played for played, _ in seen] == list(accumulate(rounds(6)))
    assert {asked for _, asked in seen} == {6}
    assert (found.mean_TP is None) == (mode in ("context", "weights") and not unknown)


def test_without_episodes_it_is_the_zero_shot_policy(ticks_run, table):
    found = adapt(ticks_run, table, "weights", 0)
    assert found.episodes_K == [0]
    assert torch.equal(found.weights_TW, zero_shot(ticks_run, table))
    np.testing.assert_array_equal(found.area_T, found.returns_KT[0])


def test_the_area_is_the_mean_height_of_the_curve(ticks_run, table):
    found = dataclasses.replace(
        adapt(ticks_run, table[:2], "weights", 0),
        learned_KT=np.array([[0, 0], [1, 1], [2, 2], [5, 5]]),
        judged_KT=np.array([[0, 0], [0, 10], [0, 15], [0, 20]]),
        returns_KT=np.array([[0.0], [10.0], [20.0], [20.0]]).repeat(2, 1),
    )
    # over 0, 1, 2 and 5 episodes, and over 0, 11, 17 and 25 where those that judge are counted
    np.testing.assert_allclose(found.area_T, [(5 + 15 + 3 * 20) / 5, (11 * 5 + 6 * 15 + 8 * 20) / 25])


def test_points_are_judged_on_the_episodes_of_evaluate(ticks_run, table, ticks):
    found = adapt(ticks_run, table, "weights", 1)
    for variant, mean in zip(ticks.untable(table), found.returns_KT[0], strict=True):
        np.testing.assert_allclose(ticks_run.evaluate(episodes=EPISODES, **variant).means_T, mean, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_twice_and_another_seed(ticks_run, table, mode):
    one, again, other = (adapt(ticks_run, table, mode, 3, True, seed) for seed in (0, 0, 1))
    assert torch.equal(one.weights_TW, again.weights_TW)
    np.testing.assert_array_equal(one.returns_KT, again.returns_KT)
    if mode in ("context", "weights"):  # of the others, one draws nothing here, the other may have kept what it had
        assert not torch.equal(one.weights_TW, other.weights_TW)


# what is known


def test_an_unknown_variant_begins_like_any_other(ticks_run, table):
    unknown, known = (adapt(ticks_run, table, "weights", 0, unknown) for unknown in (True, False))
    torch.testing.assert_close(unknown.weights_TW, unknown.weights_TW[:1].expand(3, -1), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(known.weights_TW, known.weights_TW[:1], atol=1e-4)


@pytest.mark.parametrize("mode", ["infer", "all"])
def test_what_is_inferred_follows_from_all_that_was_played(ticks_run, table, mode):
    before, after = (adapt(ticks_run, table, mode, episodes) for episodes in (0, 5))
    np.testing.assert_allclose(before.mean_TP, before.mean_TP[:1].repeat(3, 0), rtol=1e-5)
    assert (np.abs(np.diff(after.mean_TP[:, 0])) > 1e-3).all()


def test_infer_begins_with_what_it_is_told_and_then_follows_what_it_infers(ticks_run, table):
    found = adapt(ticks_run, table, "infer", 2)
    assert torch.equal(adapt(ticks_run, table, "infer", 0).weights_TW, zero_shot(ticks_run, table))
    agent, family, encoder, belief = ticks_run.agent, ticks_run.family, ticks_run.encoder, None
    starts = numpy_generator("adaptation starts", 0)
    for _ in range(2):
        seed = int(starts.integers(2**31))
        belief = play_unknown(agent, family, encoder, table, 1, 1, seed, belief=belief).belief
    expected = agent.whole(agent.generate(belief.context_BC))
    torch.testing.assert_close(found.weights_TW, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found.weights_TW, zero_shot(ticks_run, table), atol=1e-4)


# what is kept


def test_all_gives_back_what_it_began_with_where_only_worse_is_learned(ticks_run, table, monkeypatch):
    def garbage(adaptation):
        generator = torch.Generator().manual_seed(0)
        start, target = adaptation.weights_TW, adaptation.target
        while True:
            worse = start + torch.randn(start.shape, generator=generator)
            policy, value = target.split(worse)
            policy[-2] = -10 * torch.as_tensor(table[:, :1]).float().sign()  # as far from the target as can be
            yield target.join(policy, value)

    offer(monkeypatch, garbage)
    found = adapt(ticks_run, table, "all", 50)
    assert torch.equal(found.weights_TW, zero_shot(ticks_run, table))
    assert (found.returns_KT == found.returns_KT[0]).all()
    assert found.episodes_K == [0, 1, 2, 5, 10, 20]  # and it does not go on for ever
    np.testing.assert_array_equal(found.steps_KT[-1], 20 * ENDS)
    np.testing.assert_array_equal(found.judged_steps_KT[-1], 6 * JUDGED * ENDS)


def test_all_keeps_the_better_of_each_variant(ticks_run, table, monkeypatch):
    def one_action(adaptation):
        while True:
            zeros = torch.zeros_like(adaptation.weights_TW)
            policy, value = adaptation.target.split(zeros)
            policy[-2] = torch.tensor([[0.9], [0.9], [-1.0]])
            yield adaptation.target.join(policy, value)

    offer(monkeypatch, one_action)
    found = adapt(ticks_run, table, "all", 1)
    same_T = (found.weights_TW == zero_shot(ticks_run, table)).all(1)
    assert same_T.tolist() == [False, True, True]
    assert found.returns_KT[1, 0] == pytest.approx(0, abs=1e-5) != found.returns_KT[0, 0]
    np.testing.assert_array_equal(found.returns_KT[1, 1:], found.returns_KT[0, 1:])


def test_a_variant_that_gains_nothing_stops_while_another_goes_on(ticks_run, table, monkeypatch):
    def better_on_the_first(adaptation):
        for action in np.linspace(0.6, 0.9, len(list(rounds(50)))):
            policy, value = adaptation.target.split(torch.zeros_like(adaptation.weights_TW))
            policy[-2] = torch.tensor([[float(action)], [1.0], [-1.0]])
            yield adaptation.target.join(policy, value)

    offer(monkeypatch, better_on_the_first)
    found = adapt(ticks_run, table, "all", 50)
    assert found.episodes_K == [0, 1, 2, 5, 10, 20, 50]
    played = np.array([[0, 1, 2, 5, 10, 20, 50], [0, 1, 2, 5, 10, 20, 20], [0, 1, 2, 5, 10, 20, 20]]).T
    np.testing.assert_array_equal(found.steps_KT, played * ENDS)
    judged = np.array([[0, 2, 3, 4, 5, 6, 7], [0, 2, 3, 4, 5, 6, 6], [0, 2, 3, 4, 5, 6, 6]]).T
    np.testing.assert_array_equal(found.judged_steps_KT, judged * JUDGED * ENDS)
    np.testing.assert_array_equal(found.learned_KT, played)
    np.testing.assert_array_equal(found.judged_KT, judged * JUDGED)
    assert (np.diff(found.returns_KT[:, 0]) > 0).all()
    assert (found.returns_KT[:, 1:] == found.returns_KT[0, 1:]).all()


class Judged:
    """Plays networks that are one number w each: they return ``luck + w * gain``, t + 1 steps an episode."""

    def __init__(self, luck_TE, gain_TE):
        self.luck_TE, self.gain_TE, self.times = luck_TE, gain_TE, 0

    def __call__(self, weights_TW):
        self.times += 1
        returns_TE = self.luck_TE + weights_TW.numpy() * self.gain_TE
        lengths_TE = np.arange(1, len(returns_TE) + 1)[:, None].repeat(returns_TE.shape[1], 1)
        return Episodes(returns_TE, lengths_TE, returns_TE, torch.zeros(0))

    def selection(self, looks=1):
        """Begins with networks 0."""
        return Selection(torch.zeros(len(self.luck_TE), 1), self, looks)


def offered(selection, weights, patient=False, **tested):
    """What is kept of each variant, where nothing was spent."""
    kept_TW = selection.offer(torch.as_tensor(weights).view(-1, 1), 0, np.zeros(len(weights)), patient, **tested)
    return kept_TW.flatten().tolist()


def test_a_gain_must_be_sure():
    """Five gains 0, 1, 2, 3, 4 have the deviation sqrt(10 / 4) and their mean the error sqrt(10 / 4 / 5) = 0.7071.

    The t distribution of 4 degrees of freedom has 5 % above 2.132: times the error that is 1.507.
    """
    gain_TE = np.arange(-2.0, 3.0) + np.array([[2.0], [1.52], [1.49], [-1.52], [0.0]])
    gain_TE[4] = 0.001  # little, and sure
    luck_TE = np.array([3.0, -8.0, 40.0, 0.0, 100.0]) * np.arange(1, 6)[:, None]  # which both have
    judged = Judged(luck_TE, gain_TE)
    selection = judged.selection()
    kept = np.array([1, 1, 0, 0, 1])
    assert offered(selection, torch.ones(5)) == kept.tolist()
    np.testing.assert_allclose(selection.returns_TE, luck_TE + kept[:, None] * gain_TE)
    assert selection.idle_T.tolist() == [0, 0, 1, 1, 0]
    assert offered(selection, torch.full((5,), 0.5)) == kept.tolist()
    assert offered(selection, torch.zeros(5), patient=True) == kept.tolist()
    assert selection.idle_T.tolist() == [1, 1, 2, 2, 1]
    assert judged.times == 4


@pytest.mark.parametrize(("looks", "critical_t"), [(1, 2.132), (2, 2.776), (5, 3.747), (10, 4.604)])
def test_several_looks_need_a_surer_gain_each(looks, critical_t):
    """Of the t distribution of 4 degrees of freedom, 5 %, 2.5 %, 1 % and 0.5 % lie above (any table of it)."""
    error = np.sqrt(10 / 4 / 5)
    gain_TE = np.arange(-2.0, 3.0) + error * np.array([[critical_t + 0.01], [critical_t - 0.01]])
    assert offered(Judged(np.zeros((2, JUDGED)), gain_TE).selection(looks), torch.ones(2)) == [1, 0]


@pytest.mark.parametrize(("episodes", "looks"), [(0, 0), (1, 1), (5, 3), (6, 4), (50, 6), (60, 7)])
def test_all_counts_its_looks_beforehand(ticks_run, table, monkeypatch, episodes, looks):
    """At 1, 2, 5, 10, 20 and 50 episodes, and at the end."""
    counted, begin = [], Selection.__init__

    def counting(self, weights_TW, judge, looks):
        counted.append(looks)
        begin(self, weights_TW, judge, looks)

    monkeypatch.setattr(Selection, "__init__", counting)
    offers, offer = [], Selection.offer
    monkeypatch.setattr(Selection, "offer", lambda *told: offers.append(1) or offer(*told))
    adapt(ticks_run, table[:1], "all", episodes)
    assert counted == [looks]
    assert len(offers) <= looks


def test_what_was_inferred_need_only_do_better():
    gain_TE = np.arange(-2.0, 3.0) + np.array([[0.1], [-0.1]])
    selection = Judged(np.zeros((2, JUDGED)), gain_TE).selection()
    assert learning.Descent.tested
    assert learning.Trial.tested
    assert learning.Evolution.tested
    assert not learning.Inference.tested
    assert offered(selection, torch.ones(2)) == [0, 0]
    assert offered(selection, torch.ones(2), tested=False) == [1, 0]


def test_only_what_has_changed_is_judged():
    judged = Judged(np.zeros((3, JUDGED)), np.ones((3, JUDGED)))
    selection, once = judged.selection(), JUDGED * np.array([1, 2, 3])
    np.testing.assert_array_equal(selection.steps_T, once)
    assert offered(selection, [0.0, 1.0, 0.0]) == [0, 1, 0]
    np.testing.assert_array_equal(selection.steps_T, once * [1, 2, 1])
    for _ in range(PATIENCE - 1):
        offered(selection, [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(selection.steps_T, once * [1, 2, 1])
    assert judged.times == 2
    assert selection.active_T.tolist() == [False, True, False]
    assert offered(selection, torch.full((3,), 5.0)) == [0, 5, 0]
    np.testing.assert_array_equal(selection.steps_T, once * [1, 3, 1])  # nor is what has stopped


@pytest.mark.parametrize("mode", MODES)
def test_a_family_with_starts_to_be_judged_from_is_experimented_on_from_them(ticks_run, table, ticks, mode):
    """Episodes that begin at the second tick are a step shorter."""
    run = hyperrl.load(ticks_run.folder, ticks)
    run.family = dataclasses.replace(ticks, judged_start=lambda draws, p: 1 + 0 * draws)
    found = adapt(run, table, mode, 3, unknown=True)
    np.testing.assert_array_equal(found.steps_KT, np.outer([0, 1, 2, 3], ENDS - 1))
    if mode == "all":
        judgements_T = found.judged_steps_KT[1] / (JUDGED * (ENDS - 1))
        assert set(judgements_T) <= {1, 2}
    else:
        assert not found.judged_steps_KT.any()


@pytest.mark.parametrize("seed", [0, 7])
def test_all_is_judged_on_other_starts_than_the_curve(ticks_run, table, monkeypatch, seed):
    """An episode's start is that of the seed plus its place: the two ranges have nothing in common."""
    played, play = [], session.play

    def watched(family, variants_TP, actor, episodes, seed, device):
        played.append((episodes, seed))
        return play(family, variants_TP, actor, episodes, seed, device)

    monkeypatch.setattr(session, "play", watched)
    adapt(ticks_run, table, "all", 5, seed=seed)
    judged = seed_of("adaptation judgement", seed)
    assert set(played) == {(EPISODES, START_SEED), (JUDGED, judged)}
    assert played.count((EPISODES, START_SEED)) == 4
    assert judged not in range(START_SEED - JUDGED, START_SEED + EPISODES)


@pytest.mark.parametrize(("mode", "left"), [("context", 0.8), ("weights", 0.5), ("all", 0.5)])
def test_adaptation_improves_where_it_must(ticks_run, ticks, monkeypatch, mode, left):
    """Hardly trained, the agent knows no target, and its weights hardly follow the context; every step is paid for."""
    monkeypatch.undo()
    monkeypatch.setattr(learning, "WEIGHTS_RATE", 3e-3)
    monkeypatch.setattr(learning, "CONTEXT_RATE", 3e-1)
    table_TP = ticks.table({"target": target, "ends": 6} for target in (-1.0, 0.9, 1.0))
    found = adapt(ticks_run, table_TP, mode, 50)
    assert (found.returns_KT[-1] > left * found.returns_KT[0]).all()  # all are losses
    assert (found.area_T > found.returns_KT[0]).all()


# mistakes


def test_mistakes_are_said(ticks_run, table, ticks):
    with pytest.raises(InputError, match=r"^mode 'best': unknown; choose from infer, context, weights, all$"):
        adapt(ticks_run, table, "best")
    for episodes in (-1, 2.5, float("nan"), float("inf")):
        with pytest.raises(
            InputError, match=rf"^episodes={episodes}: must be a whole number, 0 or more, at most 10000; leave it out"
        ):
            adapt(ticks_run, table, episodes=episodes)
    for seed in (-1, 0.5, 2**32, 2**64):
        with pytest.raises(InputError, match=rf"^seed={seed}: must be a whole number within \[0, 2\*\*32\); choose an"):
            adapt(ticks_run, table, episodes=0, seed=seed)
    for shape in ((0, 4), (2, 3), (4,)):
        with pytest.raises(
            InputError, match=rf"^variants of shape {re.escape(str(shape))}: must be \(T, 4\) with T >= 1"
        ):
            adapt(ticks_run, np.ones(shape))
    with pytest.raises(InputError, match=r"^ends=9.0: must be within \[1, 8\]"):
        adapt(ticks_run, np.array([[0.0, 3.0, 0.0, 1.0], [0.0, 9.0, 0.0, 1.0]]))
    with pytest.raises(InputError, match=r"^pay=nan: must be within"):
        adapt(ticks_run, np.array([[0.0, 3.0, np.nan, 1.0]]))
    with pytest.raises(InputError, match=r"^3 variants were adapted to: take one of their policies$"):
        _ = adapt(ticks_run, table, "weights", 0).policy
    with pytest.raises(InputError, match=r"^ends=9.0: must be within \[1, 8\]"):
        ticks_run.adapt(ends=9)
    run = hyperrl.load(ticks_run.folder, ticks)
    run.family = dataclasses.replace(ticks, drift={"target": Walk(0.01)})
    with pytest.raises(InputError, match=r"^family 'ticks': its parameters drift, there is no one variant"):
        adapt(run, table)


def test_distractors_alone_leave_nothing_to_infer(ticks_run, table, ticks):
    run = hyperrl.load(ticks_run.folder, ticks)
    idle = tuple(dataclasses.replace(parameter, distractor=True) for parameter in ticks.parameters)
    run.family = dataclasses.replace(ticks, parameters=idle)
    for mode, unknown in (("infer", False), ("weights", True), ("all", True)):
        with pytest.raises(InputError, match=r"^family 'ticks': every parameter is a distractor, there is nothing to"):
            adapt(run, table, mode, 1, unknown)
    assert adapt(run, table, "all", 1).mean_TP is None


def test_variants_outside_the_training_ranges_are_said_where_they_are_told(ticks_run, ticks):
    with pytest.warns(UserWarning, match=r"^target=1.5 lies outside the training range -1 to 1 1$"):
        ticks_run.adapt("weights", 0, target=1.5)
    ticks_run.adapt("weights", 0, unknown=True, target=1.5)


# what users see


def sound(results, episodes, mode, unknown):
    """The contract, and what follows from it."""
    for result in results:
        assert list(result) == KEYS
        assert (result["mode"], result["unknown"]) == (mode, unknown)
        assert result["curve"][0]["episodes"] == result["curve"][0]["steps"] == 0
        for point in result["curve"]:
            assert list(point) == ["episodes", "learned", "steps", "return", "seconds"]
            judged, rest = divmod(point["episodes"] - point["learned"], JUDGED)
            assert (judged >= 0, rest) == (True, 0)
            assert judged == 0 or mode == "all"
        marks = [point["learned"] for point in result["curve"]]
        assert marks == sorted({0, *(mark for mark in MARKS if mark < episodes), episodes})[: len(marks)]
        for told in (result["inferred"] or {}).values():
            assert list(told) == ["mean", "std"]
    return results


def curves(folder):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


@OUTSIDE
def test_one_variant(cli, copied):
    events = {path.name for path in copied.glob("events*")}
    words = ["adapt", copied, "--set", "length=1.7", "--episodes", "2", "--json", "new/result.json"]
    status, out, err = cli(*words, "--format", "sb3", "--out", "new/policy.zip")
    assert (status, err) == (0, "warning: length=1.7 lies outside the training range 0.25 to 1 m\n")
    (result,) = sound([json.loads(Path("new/result.json").read_text())], 2, "all", False)
    told = {key: result[key] for key in ("family", "agent", "seed", "parameters", "expert")}
    family = hyperrl.load(copied).family
    assert told == {
        "family": "cartpole",
        "agent": "hyper",
        "seed": 0,
        "parameters": {**family.defaults, "length": 1.7},
        "expert": None,
    }
    assert list(result["inferred"]) == list(family.changeable)
    lines = [line.split() for line in out.splitlines()]
    for point in result["curve"]:
        counts = [f"{point[name]:,}" for name in ("episodes", "learned", "steps")]
        assert [*counts, f"{point['return']:.1f}", f"{point['seconds']:.1f}"] in lines
    for parameter in family.parameters:
        inferred, true = result["inferred"][parameter.name], result["parameters"][parameter.name]
        values = [f"{value:.3g}" for value in (inferred["mean"], inferred["std"], true)]
        assert [parameter.name, parameter.unit, *values] in lines
    assert re.search(r"judgements, 5 episodes each, took [\d,]+ of the steps;\nby them, what is kept", out)
    (worse,) = [result["curve"][-1]["return"] <= result["curve"][0]["return"]]
    assert ("no better than at first, on the 10 greedy episodes that the curve rests on: the policy" in out) == worse
    assert f"figure: {copied / 'figures' / 'adaptation-variant-all.png'}" in out
    with Image.open(copied / "figures" / "adaptation-variant-all.png") as image:
        assert min(image.size) > 500
    # the same from Python, and the file
    with pytest.warns(UserWarning, match=r"^length=1.7 lies outside"):
        found = hyperrl.load(copied).adapt(length=1.7, episodes=2)
    again = {**found.json()[0], "curve": None}
    assert again == {**result, "curve": None}
    obs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    action, _ = PPO.load("new/policy.zip", device="cpu").predict(obs, deterministic=True)
    np.testing.assert_array_equal(action, found.policy.predict(obs, deterministic=True)[0])
    assert found.policy.parameters == result["parameters"]
    assert "written: new/policy.zip\nchecked against the policy: actions differ by " in out
    # the run's folder
    assert {path.name for path in copied.glob("events*")} == events
    assert json.loads((copied / "adaptations" / "variant-all.json").read_text()) == result
    logged = curves(copied / "adaptations" / "variant-all")
    for kind in ("mean", "worst"):
        for tag, axis in ((f"adapt/{kind}_reward", "steps"), (f"adapt/{kind}_reward_by_episode", "episodes")):
            expected = [(point[axis], pytest.approx(point["return"])) for point in result["curve"]]
            assert logged[tag] == expected
    assert len(logged) == 4


@OUTSIDE
def test_a_split(cli, copied, monkeypatch):
    records = [{"mean": 450.0}, None, {"mean": 1.0}]
    monkeypatch.setattr("hyperrl.adaptation.result.cached_experts", lambda family, table_TP, root: records)
    words = ["adapt", copied, "--split", "extrapolation", "--variants", "3", "--unknown", "--mode", "infer"]
    status, out, err = cli(*words, "--episodes", "2", "--seed", "4", "--experts", "kept", "--json", "result.json")
    assert (status, err) == (0, "")
    results = sound(json.loads(Path("result.json").read_text()), 2, "infer", True)
    family = hyperrl.load(copied).family
    assert [result["parameters"] for result in results] == family.untable(family.variants("extrapolation", 3))
    assert [result["expert"] for result in results] == [450.0, None, 1.0]
    lines = [" ".join(line.split()) for line in out.splitlines()]
    returns = np.array([[point["return"] for point in result["curve"]] for result in results])
    steps = np.array([[point["steps"] for point in result["curve"]] for result in results])
    for k, point in enumerate(results[0]["curve"]):
        found = interval(returns[None, :, k, None], np.mean, over=("variants",))
        numbers = f"{returns[:, k].mean():.1f} {returns[:, k].min():.1f} {found.low:.1f} to {found.high:.1f}"
        counts = f"{point['episodes']} {point['learned']} {steps[:, k].mean():,.0f}"
        shown = f"{counts} {numbers} {point['seconds']:.1f}"
        assert shown in lines
    gaps = [(np.array([450.0, 1.0]) - returns[[0, 2], k]).mean() for k in (0, -1)]  # none of them rounds to 0
    assert f"experts of 2 of 3 variants: 225.5; gap {gaps[0]:.1f} at first, {gaps[1]:.1f} after 2 episodes" in lines
    closed = (returns[0, -1] - returns[0, 0]) / (450 - returns[0, 0])
    assert f"share of the gap closed: {100 * closed:.0f} %, of the 1 variants" in out
    assert "judged" not in out
    for t, result in enumerate(results, 1):
        told = result["inferred"]["length"]
        cell = f"{told['mean']:.3g} ± {told['std']:.3g} ({result['parameters']['length']:.3g})"
        assert any(line.startswith(f"{t} ") and cell in line for line in lines)
    assert (copied / "figures" / "adaptation-extrapolation-infer-unknown.png").exists()
    assert curves(copied / "adaptations" / "extrapolation-infer-unknown")["adapt/worst_reward"][0][1] == pytest.approx(
        returns[:, 0].min()
    )


def test_a_split_without_experts_says_how_to_get_them(cli, copied):
    words = ["adapt", copied, "--split", "interpolation", "--variants", "2", "--episodes", "0", "--mode", "weights"]
    status, out, _ = cli(*words, "--experts", "my experts")
    assert status == 0
    train = "hyperrl experts cartpole --variants 2 --split interpolation --experts 'my experts'"
    assert f"for the gap to experts: {train}\n" in out
    assert json.loads((copied / "adaptations" / "interpolation-weights.json").read_text())[0]["inferred"] is None


def test_names_do_not_collide_and_a_repeat_replaces(ticks_run, table, tmp_path):
    run = hyperrl.load(shutil.copytree(ticks_run.folder, tmp_path / "run"), ticks_run.family)
    for mode in MODES:
        for unknown in (False, True):
            found = adapt(run, table, mode, 1, unknown)
            for split in (None, "interpolation", "extrapolation"):
                save_adaptation(found, found.json(), split)
    saved = run.folder / "adaptations"
    assert len(list(saved.glob("*.json"))) == len([path for path in saved.iterdir() if path.is_dir()]) == 4 * 2 * 3
    figures = {path.name for path in (run.folder / "figures").glob("adaptation*")}
    assert figures == {f"adaptation-{path.stem}.png" for path in saved.glob("*.json")}
    longer = adapt(run, table, "infer", 2)
    save_adaptation(longer, longer.json())
    logged = curves(saved / "variant-infer")
    assert [step for step, _ in logged["adapt/mean_reward_by_episode"]] == [0, 1, 2]
    np.testing.assert_allclose([step for step, _ in logged["adapt/mean_reward"]], longer.steps_KT.mean(1), atol=0.5)
    assert len(list((saved / "variant-infer").iterdir())) == 1
    assert len(json.loads((saved / "variant-infer.json").read_text())["curve"]) == 3


REFUSED = {
    "set and split": ("--set length=1 --split train", "--set length=1, --split train", "leave out either"),
    "variants of one": ("--variants 3", "--variants 3", "needs --split"),
    "out of a split": ("--split train --out new --format onnx", "--out new", "leave out --split train"),
    "out alone": ("--out new", "--out new", "needs --format beside it"),
    "format alone": ("--format sb3", "--format sb3", "needs --out beside it"),
    "format": ("--format tflite --out new", "'tflite'", "unknown; choose from sb3, onnx, torch"),
    "there": ("--format onnx --out {onnx}", "{onnx}", "is there already; overwrite it with --force"),
    "below a file": ("--format onnx --out {file}/new.onnx", "{file}", "cannot be written"),
    "json below a file": ("--json {file}/new.json", "{file}", "cannot be written"),
    "json here": ("--json .", ".", "is a folder; name a file"),
    "json a folder": ("--json {folder}", "{folder}", "is a folder; name a file"),
    "no split": ("--split ''", "split ''", "unknown; choose from train"),
    "variants 0": ("--split train --variants 0", "variants=0", "must be 1 or more"),
    "split": ("--split test", "split 'test'", "unknown; choose from train"),
    "parameter": ("--set mass=1", "mass", "unknown parameter of family 'cartpole'"),
    "bounds": ("--set length=-1", "length=-1.0", "must be within (0, 10] m"),
    "episodes word": ("--episodes few", "--episodes: few", "must be a whole number"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_said_before_an_episode_is_played(cli, tiny_run, tmp_path, monkeypatch, mistake):
    monkeypatch.setattr(api, "adapt", lambda *_: pytest.fail("it has begun"))
    places = {"file": tmp_path / "file", "onnx": tmp_path / "mine.onnx", "folder": tmp_path}
    for name in ("file", "onnx"):
        places[name].write_text("mine")
    words, value, remedy = (text.format(**places) for text in REFUSED[mistake])
    status, out, err = cli("adapt", tiny_run.folder, *shlex.split(words))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert value in err
    assert remedy in err
    assert (tmp_path / "file").read_text() == "mine"
    assert not Path("new").exists()


@pytest.mark.parametrize("name", ["adaptations", "figures"])
def test_a_file_in_the_place_of_a_folder_is_said_before_an_episode_is_played(cli, copied, monkeypatch, name):
    monkeypatch.setattr(api, "adapt", lambda *_: pytest.fail("it has begun"))
    shutil.rmtree(copied / name, ignore_errors=True)
    (copied / name).write_text("mine")
    status, out, err = cli("adapt", copied)
    assert (status, out) == (2, "")
    assert err == f"hyperrl: {copied / name}: cannot be written (File exists); choose a folder that can\n"
    assert (copied / name).read_text() == "mine"


def test_what_json_cannot_take_is_in_the_run_all_the_same(cli, copied, monkeypatch):
    def full(path, content):
        raise InputError(f"{path}: cannot be written (the disk is full)")

    monkeypatch.setattr(files, "write_json", full)
    words = ["adapt", copied, "--episodes", "1", "--mode", "weights", "--json", "result.json"]
    status, _, err = cli(*words)
    assert (status, err) == (2, "hyperrl: result.json: cannot be written (the disk is full)\n")
    sound([json.loads((copied / "adaptations" / "variant-weights.json").read_text())], 1, "weights", False)
    assert (copied / "figures" / "adaptation-variant-weights.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--mode best", "mode 'best': unknown; choose from infer, context, weights, all"),
        ("--episodes -1", "episodes=-1: must be a whole number, 0 or more, at most 10000; leave it out for 5"),
        ("--seed -1", "seed=-1: must be a whole number within [0, 2**32); choose another"),
        (f"--seed {2**64}", f"seed={2**64}: must be a whole number within [0, 2**32); choose another"),
    ],
)
def test_what_adapt_refuses_is_one_line_too(cli, copied, words, told):
    status, out, err = cli("adapt", copied, *words.split())
    assert (status, out, err) == (2, "", f"hyperrl: {told}\n")


def test_ctrl_c_is_one_line(cli, tiny_run, monkeypatch):
    def stop(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning.Practice, "play", stop)
    assert cli("adapt", tiny_run.folder, "--mode", "weights") == (130, "", "hyperrl: stopped\n")


def test_the_python_example_runs(copied, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    shutil.copytree(copied, tmp_path / "runs" / "cartpole-hyper-0")
    with pytest.warns(UserWarning, match=r"^length=1.7 lies outside"):
        exec(code, names := {})
    assert names["adaptation"].episodes_K == [0, 1, 2, 5]
    assert PPO.load("policy.zip", device="cpu").gamma == names["run"].config.gamma


def test_the_page_shows_the_contract():
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert list(json.loads(shown)) == KEYS
    assert set(re.findall(r"^\| `(\w+)`", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)) == set(MODES)


def test_six_looks_together_accept_what_is_no_better_in_5_of_100():
    """Each look offers other weights whose returns differ from the first by luck alone, on the same five starts.

    With the level of a single look, 16 to 20 of 100 variants would keep something.
    """
    rng, shape, looks = np.random.default_rng(0), (4000, JUDGED), 6
    first_TE = rng.normal(size=shape)
    accepted = {}
    for corrected in (looks, 1):
        returns = iter([first_TE, *(first_TE + rng.normal(size=shape) for _ in range(looks))])

        def judge(weights_TW, returns=returns):
            found_TE = next(returns)
            return Episodes(found_TE, np.ones(shape, dtype=np.int64), found_TE, torch.zeros(0))

        selection = Selection(torch.zeros(len(first_TE), 1), judge, corrected)
        for look in range(1, looks + 1):
            selection.offer(torch.full((len(first_TE), 1), float(look)), 0, np.zeros(len(first_TE)), patient=True)
        accepted[corrected] = float((selection.weights_TW != 0).float().mean())
    assert accepted[looks] <= 0.05 + 2 * (0.05 * 0.95 / len(first_TE)) ** 0.5
    assert accepted[1] >= 0.15
