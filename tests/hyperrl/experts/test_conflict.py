"""The matrix of experts on each other's variants."""

import dataclasses
import hashlib
import io
import json
import pathlib
import pickle
import tempfile

import numpy as np
import pytest
import torch
from PIL import Image

from hyperrl.envs import InputError, Parameter, registry
from hyperrl.experts import pool
from hyperrl.experts.cache import cached_experts, load_expert
from hyperrl.experts.conflict import SERVES, Conflict, conflict, spread
from hyperrl.reports.figures import conflict_matrix, in_words, letters, save

CARTPOLE = registry.get("cartpole")
TINY = {"total_timesteps": 256, "n_envs": 8, "n_steps": 32, "n_epochs": 1}

PLANT = """
import torch
from gymnasium.spaces import Box
from hyperrl.envs import Parameter, PhysicsFamily


def step(state, action, p):
    after = (state + 0.5 * p["gain"].unsqueeze(-1) * action.clamp(-1, 1)).clamp(-2, 2)
    return after, 1 - after.squeeze(-1).abs(), torch.zeros_like(state[..., 0], dtype=torch.bool)


family = PhysicsFamily(
    name="plant",
    parameters=(Parameter("gain", "1/s", 1.0, RANGE, RANGE, GAP),),
    observation_space=Box(-2, 2, shape=(1,)),
    action_space=Box(-1, 1, shape=(1,)),
    max_episode_steps=20,
    draws=1,
    start=lambda draws, p: 4 * draws - 2,
    step=step,
    expert={"total_timesteps": 3072, "n_envs": 16, "n_steps": 16, "batch_size": 128, "gamma": 0.5,
            "learning_rate": 5e-3},
)
"""


def plant(path, ends, gap="note=''"):
    path.write_text(PLANT.replace("RANGE", str(ends)).replace("GAP", gap))
    return str(path)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Experts are trained without processes of their own, which take seconds to start."""
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: [pool._train(job) for job in jobs])


def made(normalised_TT, returns_TT=None):
    normalised_TT = np.array(normalised_TT, dtype=float)
    count = len(normalised_TT)
    returns_TT = np.nan_to_num(normalised_TT) * 100 if returns_TT is None else returns_TT
    return Conflict(CARTPOLE, spread(CARTPOLE, count), returns_TT, np.zeros(count), normalised_TT, 1000, 0)


def test_a_sign_that_flips_needs_a_context(tmp_path):
    reference = plant(tmp_path / "plant.py", (-2, 2), "gap=0.5")
    found = conflict(reference, 3, tmp_path / "experts")
    gain_T = found.variants_TP[:, 0]
    assert set(np.sign(gain_T)) == {-1, 1}
    same_TT = np.sign(gain_T)[:, None] == np.sign(gain_T)
    assert found.normalised_TT.max(axis=0) == pytest.approx(1)
    assert (np.diagonal(found.normalised_TT) > SERVES).all()
    assert (found.normalised_TT[~same_TT] < 0).all()  # pushed the wrong way: worse than random
    assert (found.normalised_TT[same_TT] > 0.5).all()
    assert found.context == "needed"
    assert found.verdict.startswith("a context is likely to be needed")
    # the experts are those of the cache, and their own returns are the diagonal
    records = cached_experts(found.family, found.variants_TP, tmp_path / "experts")
    assert [record["mean"] for record in records] == pytest.approx(list(np.diagonal(found.returns_TT)))


def test_a_gain_that_hardly_changes_needs_none(tmp_path):
    found = conflict(plant(tmp_path / "plant.py", (0.95, 1.05)), 2, tmp_path / "experts")
    assert found.context == "not needed"
    assert found.best_expert > 0.95
    assert found.verdict.startswith("one policy may serve all")


def test_a_second_call_trains_nothing_and_a_normaliser_is_used(tmp_path, monkeypatch):
    overrides = TINY | {"normalize": True}
    first = conflict("cartpole", 2, tmp_path, seed=1, overrides=overrides)
    monkeypatch.setattr(pool, "_train_all", lambda *args: pytest.fail("nothing is left to train"))
    again = conflict("cartpole", 2, tmp_path, seed=1, overrides=overrides)
    np.testing.assert_array_equal(first.returns_TT, again.returns_TT)
    records = cached_experts(CARTPOLE, first.variants_TP, tmp_path, overrides=overrides)
    assert all(record["normaliser"] for record in records)
    # played with its normaliser, each expert has on its own variant what it had when it was trained
    assert np.diagonal(first.returns_TT) == pytest.approx([record["mean"] for record in records])


def test_weights_that_do_not_belong_to_a_record_are_learned_anew(tmp_path):
    reference = plant(tmp_path / "plant.py", (-2, 2))
    found = conflict(reference, 2, tmp_path, overrides=TINY)
    first, second = sorted((tmp_path / "plant").glob("*.npz"))
    whole = second.read_bytes()
    damaged = bytearray(whole)
    damaged[-200] ^= 1
    for content in (None, first.read_bytes(), whole[:-1], bytes(damaged)):
        second.unlink()
        if content is not None:
            second.write_bytes(content)
        with pytest.warns(UserWarning, match=r"plant: 1 experts without the weights of their records; trained anew"):
            again = conflict(reference, 2, tmp_path, overrides=TINY)
        np.testing.assert_array_equal(found.returns_TT, again.returns_TT)
        assert second.read_bytes() == whole


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_no_code_in_the_folder_of_experts_runs(tmp_path):
    """Neither as an array of objects, nor as the pickle of an earlier version, whatever the record says."""
    family = conflict(plant(tmp_path / "plant.py", (-2, 2)), 2, tmp_path, overrides=TINY).family
    canary = tmp_path / "canary"
    pickled = pickle.dumps(Touch(canary))
    arrays = io.BytesIO()
    np.savez(arrays, **{"action_net.bias": np.array([Touch(canary)], dtype=object)})
    for content in (pickled, arrays.getvalue(), b"", b"\x93NUMPY"):
        for path in (tmp_path / "plant").glob("*.npz"):
            path.write_bytes(content)
            path.with_suffix(".zip").write_bytes(pickled)
            record = json.loads(path.with_suffix(".json").read_text())
            record["weights"] = hashlib.sha256(content).hexdigest()
            path.with_suffix(".json").write_text(json.dumps(record))
            with pytest.raises(InputError, match=r"\.npz: not this expert's weights; delete it") as caught:
                load_expert(family, record, tmp_path)
            assert "\n" not in str(caught.value)
    assert not canary.exists()
    pickle.loads(pickled)
    assert canary.exists()


def test_experts_leave_nothing_in_the_folder_of_temporary_files(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    conflict(plant(tmp_path / "plant.py", (-2, 2)), 2, tmp_path, overrides=TINY)
    assert not list((tmp_path / "temporary").iterdir())


def test_variants_are_spread_and_of_the_validation_split():
    candidates = {tuple(row) for row in CARTPOLE.variants("validation", 64)}
    picked_TP = spread(CARTPOLE, 6)
    assert len({tuple(row) for row in picked_TP}) == 6
    assert all(tuple(row) in candidates for row in picked_TP)
    np.testing.assert_array_equal(picked_TP[:4], spread(CARTPOLE, 4))

    def closest(table_TP):
        context_TC = CARTPOLE.encode(torch.as_tensor(table_TP))
        return torch.pdist(context_TC).min()

    assert closest(spread(CARTPOLE, 4)) > closest(CARTPOLE.variants("validation", 4))


def test_distractors_do_not_spread_variants():
    noise = Parameter("noise", "1", 1.0, (0, 100), (0, 100), distractor=True)
    family = dataclasses.replace(CARTPOLE, parameters=(*CARTPOLE.parameters, noise))
    assert (spread(family, 4)[:, -1] == 1).all()
    with pytest.raises(InputError, match=r"variants=2: must be within \[2, 1\]"):
        spread(dataclasses.replace(family, parameters=(noise,), held_out={}), 2)


@pytest.mark.parametrize("count", [0, 1, 65])
def test_how_many_variants(count):
    with pytest.raises(InputError, match=rf"variants={count}: must be within \[2, 64\]"):
        spread(CARTPOLE, count)


def test_numbers_by_hand():
    found = made([[1, 0.5, 0.25], [0.75, 1, 0.5], [-1, 0.9, 1]])
    assert found.mean == pytest.approx((0.5 + 0.25 + 0.75 + 0.5 - 1 + 0.9) / 6)
    assert found.worst == -1
    assert found.best_expert == 0.5
    assert found.context == "needed"
    for number in ("0.32", "-1.00", "0.50"):
        assert number in found.verdict
    one = made([[1, 0.5], [SERVES, 1]])
    assert (one.context, one.best_expert) == ("not needed", SERVES)


def test_experts_that_learned_too_little_decide_nothing():
    nan = np.nan
    beaten = made([[1, 0.5, 0.2], [0.3, 0.8, 0.4], [0.2, 1, 1]])  # the second one's own variant is another's strength
    assert beaten.context == "undecided"
    assert "after 1,000 steps 1 of 3 experts" in beaten.verdict
    nothing = made([[1, 0.5, nan], [0.3, 1, nan], [-4, -4, nan]])
    assert (nothing.mean, nothing.worst) == ((0.5 + 0.3 - 8) / 4, -4)
    assert nothing.context == "undecided"
    content = json.loads(json.dumps(nothing.json(), allow_nan=False))
    assert content["normalised"][0] == [1, 0.5, None]
    assert (content["best_expert"], content["context"]) == (None, "undecided")
    served = made([[0.8, 0.3], [1, 1]])  # the second one serves both, though the first learned little
    assert served.context == "not needed"


def test_the_figure_shows_every_number_and_variant(tmp_path):
    matrix = np.array([[1, -0.25, np.nan], [0.5, 1, np.nan], [0.125, 2, np.nan]])
    found = made(matrix, 200 * np.nan_to_num(matrix))
    figure = conflict_matrix(CARTPOLE, found.variants_TP, matrix, found.returns_TT, "what follows")
    axes, bar = figure.axes
    cells = [text.get_text() for text in axes.texts]
    assert cells[:6] == ["1.00", "200", "\N{MINUS SIGN}0.25", "\N{MINUS SIGN}50", "no scale", "0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["A", "B", "C"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("variant played", "expert trained on")
    assert "0: random, 1: best expert" in bar.get_ylabel()
    below = figure.get_supxlabel().replace("\N{NO-BREAK SPACE}", " ")
    assert below.startswith("what follows\nA: gravity")
    assert "m/s²" in below
    assert below.count("force_mag") == 3
    with Image.open(save(figure, tmp_path / "matrix.png")) as image:
        assert min(image.size) > 600


def test_variants_in_words():
    table_TP = CARTPOLE.table([{"gravity": 12, "length": 0.8}, {"gravity": 7}])
    assert in_words(CARTPOLE, table_TP) == ["gravity 12 m/s², length 0.8 m", "gravity 7 m/s², length 0.5 m"]
    assert letters(27)[::13] == ["A", "N", "27"]
