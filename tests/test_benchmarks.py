"""Committed results have the keys that their scripts write, and the pages say what the committed results say."""

import dataclasses
import importlib
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import hyperrl
from hyperrl.envs import registry

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def script(monkeypatch):
    """A benchmark's module by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if "benchmarks" in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_a_result_has_the_keys_that_its_script_writes(script, path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "hardware"} <= result.keys()
    name = re.search(r"benchmarks/(\w+)\.py", result["command"]).group(1)
    module = script(name)
    keys = {"": ["calls"]} if path.stem.endswith("_latency") else getattr(module, "KEYS", None)
    if keys is not None:
        assert script("common").wrong_keys(result, keys) == []


@pytest.mark.parametrize(
    ("page", "module", "fill"),
    [
        ("docs/results.md", "results_page", "page"),
        ("README.md", "results_page", "readme"),
        ("docs/speed.md", "speed_page", "page"),
        ("docs/choosing.md", "choosing_page", "page"),
    ],
)
def test_a_page_is_what_the_committed_results_say(script, page, module, fill):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert getattr(script(module), fill)(text) == text, f"written anew by python benchmarks/{module}.py"


def run(name, steps, seconds, compile_s=0.0):
    return {"name": name, "steps": steps, "seconds": seconds, "compile_s": compile_s, "versions": {"torch": "2.13.0"}}


def test_peers_run_in_turn_and_each_begins_a_round(script):
    peers = script("peers")
    cells = peers.cells_of(peers.PEERS, 4)
    rounds = [peers.order(cells, round_) for round_ in range(len(cells))]
    assert {order[0] for order in rounds} == set(cells)
    assert all(sorted(order) == sorted(cells) for order in rounds)
    counts = {name: [cell.threads for cell in cells if cell.peer == name] for name in peers.PEERS}
    assert counts["stable-baselines3"] == counts["hyperrl hyper"] == [1, 4]
    assert counts["rejax"] == [1]
    assert {cell.name for cell in cells} >= {"hyperrl hyper, 1 thread", "hyperrl hyper, 4 threads", "rejax"}


def test_a_peers_row_is_the_median_of_its_runs_and_of_what_failed_the_reason(script):
    cells = [run("a", 100, 1.0, 2.0), run("a", 100, 4.0, 4.0), run("a", 100, 2.0, 9.0), run("b", 10**6, 2.0)]
    found = script("peers").table(cells, {"c": "pip install c: failed"})
    assert found["a"]["steps_per_second"] == {"median": 50, "least": 25, "most": 100}
    assert (found["a"]["compile_s"], found["a"]["runs"]) == (4.0, 3)
    assert found["a"]["seconds_of_a_million_steps"] == 20_004.0
    assert found["b"]["seconds_of_a_million_steps"] == 2.0
    assert found["c"] == {"not_measured": "pip install c: failed"}


def test_peers_are_kept_only_of_the_same_machine(script, tmp_path, monkeypatch):
    peers = script("peers")
    monkeypatch.setattr(peers, "RESULTS", tmp_path)
    assert peers.kept(40) == []
    result = {"hardware": peers.hardware(), "iterations": 40, "cells": [run("a", 1, 1.0)]}
    (tmp_path / "peers.json").write_text(json.dumps(result))
    assert peers.kept(40) == result["cells"]
    assert peers.kept(20) == []
    (tmp_path / "peers.json").write_text(json.dumps({**result, "hardware": {"processor": "another"}}))
    assert peers.kept(40) == []


def test_the_programs_of_the_peers_train_with_one_batch(script):
    """Each states it, since they share no code: 256 environments, rollouts of 64, 4 epochs, 4 minibatches, 64-64."""
    peers = script("peers")
    for program in {peer.program for peer in peers.PEERS.values() if peer.program} - {"ours.py"}:
        text = (peers.PROGRAMS / program).read_text(encoding="utf-8")
        assert re.search(r"ENVIRONMENTS, ROLLOUT(, WARM)? = 256, 64\b", text), program
        assert re.search(r"epochs\"?(=|: )4\b", text), program
        assert re.search(r"mini_?batch(es)?\"?(=|: )4\b|mini_batches\": 4|ROLLOUT // 4", text), program


@pytest.fixture
def matrix(script, tmp_path, monkeypatch):
    """A module of cells that keeps everything in a temporary folder, and a file of four cells of two tiny families."""
    cells = script("cells")
    monkeypatch.setattr(cells, "CELLS", tmp_path / "cells")
    monkeypatch.setattr(cells, "RUNS", tmp_path / "runs")
    path = tmp_path / "tiny.toml"
    settings = "{ steps = 2_000, variants = 4, copies = 2, rollout = 16, evaluations = 2, minibatches = 2 }"
    rows = f'families = ["ode1"]\narms = ["hyper", "recurrent"]\nseeds = 2\nsettings = {settings}\nepisodes = 2'
    path.write_text(f"[[rows]]\n{rows}\n")
    return cells, path


def measured(cells, seed, part="validation"):
    returns = {part: np.full((3, 2), float(seed))}
    return cells.Measured(1.5, 10, 2_000, float(seed), {}, [], {}, {part: np.zeros((3, 1))}, returns)


def test_a_matrix_begins_with_the_first_seeds_and_its_rows_keep_every_return(matrix):
    cells, path = matrix
    read = cells.read_matrix(path)
    assert [(cell.arm, cell.seed) for cell in read] == [("hyper", 0), ("recurrent", 0), ("hyper", 1), ("recurrent", 1)]
    first, second = read[0], read[2]
    assert not first.row.has(first)
    second.row.add(second, measured(cells, 1))
    first.row.add(first, measured(cells, 0))
    assert first.row.has(first)
    assert first.row.has(second)
    assert not read[1].row.has(read[1])
    assert list(first.row.read()["seeds"]) == ["1", "0"], "in the order in which they were measured"
    np.testing.assert_array_equal(first.row.arrays()["validation_returns"][:, 0, 0], [1, 0])


def test_seeds_of_a_matrix_may_be_listed(matrix):
    cells, path = matrix
    path.write_text(path.read_text().replace("seeds = 2", "seeds = [10, 12]"))
    assert [cell.seed for cell in cells.read_matrix(path)] == [10, 10, 12, 12]


@pytest.mark.parametrize(
    "text", ["[[rows]]\narms = 3", "rows", "[[rows]]\nfamilies = ['ode1']\narms = ['hyper']", None]
)
def test_what_is_no_matrix_is_one_line(matrix, text):
    cells, path = matrix
    path.write_text(text) if text else path.unlink()
    with pytest.raises(SystemExit, match="must be"):
        cells.read_matrix(path)


def test_a_row_forgets_other_settings_and_survives_a_kill_between_its_two_files(matrix):
    cells, path = matrix
    cell = cells.read_matrix(path)[0]
    other = dataclasses.replace(cell, settings={**cell.settings, "gamma": 0.5})
    assert other.folder != cell.folder
    assert other.folder.name == cell.folder.name
    cell.row.add(cell, measured(cells, 7))
    assert not cell.row.has(other)
    cell.row.add(other, measured(cells, 3))
    assert cell.row.has(other)
    assert not cell.row.has(cell)
    cell.row._add_returns(1, measured(cells, 5))  # the JSON file is not there yet
    again = dataclasses.replace(other, seed=1)
    assert not cell.row.has(again)
    again.row.add(again, measured(cells, 4))
    np.testing.assert_array_equal(cell.row.arrays()["validation_returns"][:, 0, 0], [3, 4])


def test_the_runner_measures_what_is_missing_keeps_what_fails_and_begins_nothing_late(script, matrix):
    cells, path = matrix
    measuring = script("measuring")
    cell = cells.read_matrix(path)[0]
    assert measuring.measure(0.0, cell) is None, "the deadline is over"
    found = measuring.measure(float("inf"), cell)
    assert set(found.returns) == {"validation", "interpolation", "extrapolation"}
    run = hyperrl.load(cell.folder)
    np.testing.assert_array_equal(found.returns["interpolation"], run.evaluate("interpolation", 2).returns_TE)
    failing = dataclasses.replace(cell, settings={**cell.settings, "gamma": 7})
    assert "gamma=7" in measuring.measure(float("inf"), failing)
    cell.row.add(cell, "gamma=7: must be within [0, 1]")
    assert not cell.row.has(cell), "it is tried again"
    assert cell.row.read()["failed"] == {"0": "gamma=7: must be within [0, 1]"}
    assert cell.row.seeds == 0
    cell.row.add(cell, found)
    assert cell.row.read()["failed"] == {}
    missing = script("runner").missing(cells.read_matrix(path))
    assert [(cell.arm, cell.seed) for cell in missing] == [("hyper", 1), ("recurrent", 0), ("recurrent", 1)]
    assert set(script("runner").seconds_of(missing)) == set(missing)


@pytest.mark.parametrize(
    "change", [{"episodes": 3}, {"judge": "cells:validation"}, {"variation": "ablation:rehearsal"}]
)
def test_a_row_is_begun_anew_where_it_is_measured_in_another_way(matrix, change):
    cells, path = matrix
    cell = cells.read_matrix(path)[0]
    other = dataclasses.replace(cell, **change)
    cell.row.add(cell, measured(cells, 7))
    assert not other.row.has(other)
    assert other.folder != cell.folder
    other.row.add(other, measured(cells, 3))
    assert other.row.has(other)
    assert not cell.row.has(cell)
    np.testing.assert_array_equal(cell.row.arrays()["validation_returns"][:, 0, 0], [3])


def test_a_variation_begins_anew_what_was_cut(script, matrix, monkeypatch):
    cells, path = matrix
    measuring = script("measuring")
    plain = cells.read_matrix(path)[0]
    for cell, left in ((plain, True), (dataclasses.replace(plain, variation="ablation:rehearsal"), False)):
        (cell.folder / "left").mkdir(parents=True)
        monkeypatch.setattr(
            measuring, "train", lambda *args, **kwargs: (_ for _ in ()).throw(measuring.InputError("x"))
        )
        assert measuring.measure(float("inf"), cell) == "x"
        assert (cell.folder / "left").exists() == left


def test_what_is_wrong_in_a_matrix_is_one_line(script, matrix, monkeypatch):
    _, path = matrix
    path.write_text(path.read_text().replace("ode1", "ode3"))
    monkeypatch.setattr(sys, "argv", ["runner.py", str(path)])
    with pytest.raises(SystemExit, match="ode3"):
        script("runner").main()


def test_searched_settings_stand_below_a_mark_and_replace_the_earlier_ones(script):
    written, text = script("search").written, "[training]\nsteps = 3\n"
    once = written(text, {"hyper": {"gamma": 0.9, "epochs": 2}, "concat": {"gamma": 0.8}})
    assert tomllib.loads(once) == {
        "training": {"steps": 3},
        "arms": {"hyper": {"gamma": 0.9, "epochs": 2}, "concat": {"gamma": 0.8}},
    }
    assert tomllib.loads(written(once, {"blind": {"epochs": 1}}))["arms"] == {"blind": {"epochs": 1}}


def test_families_for_the_ablation_of_encodings_stay_within_the_shipped_training_ranges(script):
    encoded = script("encoded")
    rows = tomllib.loads((ROOT / "benchmarks" / "matrices" / "encodings.toml").read_text())["rows"]
    for reference in rows[0]["families"]:
        name = reference.partition(":")[2]
        family, shipped = getattr(encoded, name), registry.get(name.partition("__")[0])
        for parameter, whole in zip(family.parameters, shipped.parameters, strict=True):
            assert parameter.wide == whole.train
            assert parameter.admits(parameter.train[0])
            assert parameter.gap == whole.gap
        outside = family.variants("extrapolation", 64)
        assert not shipped.distance(outside).any(), "nothing of the reported extrapolation"
        assert (family.distance(outside) > 0).all()
    torque = encoded.pendulum_signed__all["max_torque"]
    assert (torque.train, torque.wide, torque.scales) == ((-2, 2), (-3, 3), ("linear", "sign", "log", "reciprocal"))


def test_the_arm_to_choose_is_never_worse_than_even_and_ties_are_named(script):
    page = script("choosing_page")
    sure, even = (0.9, (0.7, 1.0)), (0.6, (0.3, 0.9))
    found = {("a", "b"): sure, ("b", "a"): (0.1, (0.0, 0.3)), ("a", "c"): even, ("c", "a"): (0.4, (0.1, 0.7))}
    found |= {("b", "c"): (0.2, (0.0, 0.4)), ("c", "b"): (0.8, (0.6, 1.0))}
    assert page.best_of(found) == ("a", ["c"])


@pytest.mark.parametrize("name", ["context_noise", "shared_trunk", "averaging", "family_scaled", "rehearsal"])
def test_a_variation_changes_the_training_and_only_as_long_as_it_lasts(script, matrix, name):
    cells, path = matrix
    measuring = script("measuring")
    settings = {"steps": 2_000, "variants": 4, "copies": 2, "rollout": 100, "minibatches": 2, "lifetime": 0.5}
    plain = dataclasses.replace(cells.read_matrix(path)[0], settings=settings)
    before = measuring.measure(float("inf"), plain).returns["validation"]
    varied = dataclasses.replace(plain, label=name, variation=f"ablation:{name}")
    assert not np.array_equal(measuring.measure(float("inf"), varied).returns["validation"], before)
    again = dataclasses.replace(plain, label="again")
    np.testing.assert_array_equal(measuring.measure(float("inf"), again).returns["validation"], before)


def test_bytes_are_those_that_calls_read_and_write(script):
    counter, a, b = script("gpu").Bytes(), np.ones((3, 4), np.float32), np.ones(4, np.float32)
    a, b = map(script("gpu").torch.from_numpy, (a, b))
    with counter:
        a + b
    assert counter.counted == a.nbytes + b.nbytes + a.nbytes
    with counter:
        a.t().unsqueeze(0)
    assert counter.counted == 2 * a.nbytes + b.nbytes, "a view moves nothing"
    with counter:
        b.mul_(2)
    assert counter.counted == 2 * a.nbytes + 3 * b.nbytes


def test_what_is_measured_on_a_gpu_runs_on_the_cpu(script, monkeypatch):
    gpu = script("gpu")
    monkeypatch.setattr(gpu, "SIZES", ((4, 2),))
    monkeypatch.setattr(gpu, "SOLVING", ((4, 2),))
    monkeypatch.setattr(gpu, "KINDS", {"call by call": {"compile": "off"}, "graph": {"compile": "auto"}})
    monkeypatch.setattr(gpu, "SOLVING_KIND", {"compile": "off"})
    for name, value in (("SOLVING_ITERATIONS", 7), ("SEEDS", 1), ("TIMED_S", 0.05), ("CHECKED", 4), ("SOLVED", 9.0)):
        monkeypatch.setattr(gpu, name, value)
    ceilings = gpu.ceilings("cpu", 32)
    assert min(ceilings.values()) > 0
    (row,) = gpu.speed("cpu", ceilings)
    assert set(row) == set(gpu.KEYS["speed"])
    (solved,) = gpu.solved("cpu")
    assert set(solved) == set(gpu.KEYS["solved"])
    (run,) = solved["runs"]
    assert run["seconds_to_475"] > 0
    assert run["steps_to_475"] == 4 * 2 * 64 * len(run["worst"])
    assert run["worst"][-1] >= 9 > max(run["worst"][:-1], default=0)


def test_operations_of_an_iteration_are_those_of_its_products(script):
    """Blind on CartPole: each step costs a policy to collect, two values to estimate, and both three times to learn."""
    gpu = script("gpu")
    sizes = {
        "variants": 4,
        "copies": 2,
        "rollout": 8,
        "minibatches": 2,
        "epochs": 3,
        "agent": "blind",
        "hidden": (16, 16),
    }
    trainer = gpu.trainer_of("cartpole", "cpu", **sizes, steps=10**4)
    operations, moved = gpu.work_of(trainer)
    steps = 4 * 2 * 8
    policy, value = (2 * (4 * 16 + 16 * 16 + 16 * out) for out in (2, 1))
    backward = (policy + value) * 2 - 2 * 2 * 4 * 16  # no gradient of the observations
    assert operations == steps * (policy + 2 * value + 3 * (policy + value + backward))
    assert moved > steps * 4 * 4


def test_what_others_published_is_judged_on_their_variants(script):
    """441 pairs of whole numbers up to 10 in size; 20 of the benchmark's own contexts of each split, all different."""
    published = script("published")
    grid = published.ode(registry.get("ode2"))[published.GRID]
    assert sorted(map(tuple, grid)) == [(a, b) for a in range(-10, 11) for b in range(-10, 11)]
    assert published.inside_training_range("ode2", grid).sum() == 11 * 11
    line = published.ode(registry.get("ode1"))[published.GRID]
    np.testing.assert_allclose(line[:, 0], np.linspace(-10, 10, 201), atol=1e-12)
    family = registry.get("double_integrator_friction")
    tables = published.actuator_inversion(family)
    assert set(tables) == {"validation", *(split for split in family.fixed if split != "train")}
    for split, rows in family.fixed.items():
        if split != "train":
            assert tables[split].shape == (20, len(family.parameters))
            assert len(np.unique(tables[split], axis=0)) == 20
            assert {tuple(row) for row in tables[split]} <= {tuple(row) for row in np.asarray(rows)}
