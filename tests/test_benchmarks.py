"""Committed results have the keys that their scripts write, and the pages say what the committed results say."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

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
