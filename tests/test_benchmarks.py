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


@pytest.mark.parametrize(("page", "fill"), [("docs/results.md", "page"), ("README.md", "readme")])
def test_a_page_is_what_the_committed_results_say(script, page, fill):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert getattr(script("results_page"), fill)(text) == text, "written anew by python benchmarks/results_page.py"
