"""What is installed: every version pinned, every file of the rooms in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"envs": "hyperrl/envs", "agents": "hyperrl/agents", "hyperrl": "hyperrl"}


def python(names):
    """Those that are modules."""
    return [name for name in names if name.endswith(".py")]


def plain(name):
    """One spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != ROOT / ".venv", reason="not in the .venv that make install sets up: other packages"
)
def test_every_installed_distribution_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [re.fullmatch(r"([\w.-]+)==[\w.!]+", line) for line in lines]
    assert all(pinned), "NAME==VERSION, without a local label such as +cpu"
    found = [each for each in distributions() if "_vendor" not in str(each.locate_file(""))]  # setuptools' own
    installed = {plain(distribution.name) for distribution in found}
    assert installed - {"hyperrl", "pip"} - {plain(line[1]) for line in pinned} == set()


@pytest.mark.slow
def test_the_wheel_holds_every_file_and_every_module_is_imported_from_it(tmp_path):
    source = tmp_path / "source"  # a build leaves folders behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = tmp_path.glob("hyperrl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
        archive.extractall(tmp_path / "installed")
    files = [
        f"{ROOMS[room]}/{(Path(parent) / name).relative_to(ROOT / room)}"
        for room in ROOMS
        for parent, _, names in os.walk(ROOT / room, followlinks=False)
        if "__pycache__" not in parent
        for name in names
    ]
    assert sorted(held) == sorted(files)
    imported = [
        f"import {name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for name in python(held)
    ]
    code = "\n".join([*imported, "import sys", "for name, module in sys.modules.items():"])
    code += "\n    if name.split('.')[0] == 'hyperrl': print(name, module.__file__)"
    elsewhere = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path, env=elsewhere)
    found = dict(line.split(" ") for line in done.stdout.splitlines() if line.startswith("hyperrl"))
    assert len(found) == len(python(held))
    assert all(file.startswith(str(tmp_path / "installed")) for file in found.values())
