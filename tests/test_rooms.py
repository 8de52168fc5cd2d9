"""The rooms stay apart: envs and agents do not know each other, and hyperrl names no arm and no family."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hyperrl.agents import ARMS
from hyperrl.envs import registry

ROOT = Path(__file__).parents[1]
ROOMS = ("envs", "agents", "hyperrl")
FILES = {room: sorted((ROOT / room).glob("*.py")) for room in ROOMS}
OUTSIDE = [path for folder in ("tests", "examples", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> list[str]:
    """Dotted names that a file imports; `from a import b` gives a and a.b."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_room_is_read():
    assert all(len(FILES[room]) > 3 for room in ROOMS)


@pytest.mark.parametrize("path", FILES["envs"], ids=relative)
def test_envs_knows_only_itself(path):
    foreign = [name for name in imports(path) if within(name, ("hyperrl",)) and not within(name, ("hyperrl.envs",))]
    assert [name for name in foreign if name != "hyperrl"] == [], (
        "envs/ stands on the ground: it may import hyperrl.envs only"
    )
    assert "hyperrl" not in foreign, "import hyperrl.envs..., not hyperrl"


@pytest.mark.parametrize("path", FILES["agents"], ids=relative)
def test_agents_knows_only_itself(path):
    names = imports(path)
    foreign = [name for name in names if within(name, ("hyperrl",)) and not within(name, ("hyperrl.agents",))]
    assert foreign == [], "agents/ stands on the ground: it may import hyperrl.agents only"
    assert [name for name in names if within(name, ("gymnasium", "gym", "mujoco"))] == [], "agents/ never names a task"


@pytest.mark.parametrize("path", [*FILES["envs"], *FILES["agents"], *FILES["hyperrl"], *OUTSIDE], ids=relative)
def test_rooms_are_imported_as_parts_of_hyperrl(path):
    wrong = [name for name in imports(path) if within(name, ("envs", "agents"))]
    assert wrong == [], "import hyperrl.envs and hyperrl.agents: other packages install a top-level agents"


def string_constants(tree: ast.AST, skip: set[int]) -> list[ast.Constant]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip
    ]


@pytest.mark.parametrize("path", FILES["hyperrl"], ids=relative)
def test_hyperrl_names_no_arm_and_no_family(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defaults = set()
    if path.name == "config.py":
        defaults = {
            id(field.value)
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            for field in node.body
            if isinstance(field, ast.AnnAssign)
        }
    named = {*ARMS, *registry.families()}
    found = [
        f"line {node.lineno}: {node.value!r}" for node in string_constants(tree, skip=defaults) if node.value in named
    ]
    assert found == [], "arms and families are looked up in ARMS and the registry, never named in shared code"
    arms = {f"hyperrl.agents.{name}" for name in ARMS}
    assert [name for name in imports(path) if name in arms] == [], "arms are built through ARMS"


def test_importing_envs_in_a_fresh_process_is_light():
    code = (
        "import sys, hyperrl.envs\n"
        "heavy = {'torch', 'stable_baselines3', 'tensorboard', 'matplotlib'} & set(sys.modules)\n"
        "other = {n for n in sys.modules if n.startswith('hyperrl.') and not n.startswith('hyperrl.envs')}\n"
        "print(sorted(heavy | other))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_wheel_holds_every_file_of_the_rooms():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {package: table["package-dir"].get(package, package) for package in table["packages"]}
    assert folders == {"hyperrl": "hyperrl", "hyperrl.envs": "envs", "hyperrl.agents": "agents"}
    for room in ROOMS:
        for folder, _, files in os.walk(ROOT / room, followlinks=False):
            python = [file for file in files if file.endswith(".py")]
            assert not python or Path(folder) == ROOT / room, f"{folder}: rooms are flat; packages does not list it"


@pytest.mark.parametrize("room", ["envs", "agents"])
def test_editors_and_mypy_see_the_rooms_under_hyperrl(room):
    link = ROOT / "hyperrl" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"
