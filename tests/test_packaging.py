"""What is installed: every version pinned, every file of the rooms in the wheel."""

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
    installed = {plain(distribution.name) for distribution in distributions()}
    assert installed - {"hyperrl", "pip"} - {plain(line[1]) for line in pinned} == set()


@pytest.mark.slow
def test_the_wheel_holds_every_file(tmp_path):
    source = tmp_path / "source"  # a build leaves folders behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = tmp_path.glob("hyperrl-*.whl")
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    files = [f"{ROOMS[room]}/{path.name}" for room in ROOMS for path in (ROOT / room).glob("*.py")]
    assert sorted(held) == sorted([*files, "hyperrl/py.typed"])
