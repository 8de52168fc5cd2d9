"""The house stands: no circle of imports, floors that rise, rooms that stay apart, no arm and no family by name."""

import ast
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from hyperrl.agents import ARMS
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.experts.settings import expert_settings

ROOT = Path(__file__).parents[1]
ROOMS = {"envs": "hyperrl.envs", "agents": "hyperrl.agents", "hyperrl": "hyperrl"}
"""Folder -> what it is imported as."""
FLOORS = (
    ("config", "families", "jobs", "seeds", "settings", "sources", "streams"),
    ("storage",),
    ("play",),
    ("training",),
    ("experts",),
    ("evaluation",),
    ("adaptation",),
    ("reports",),
    ("export",),
    ("api",),
    ("adapt", "cli", "", "__main__"),
)
"""Of hyperrl, from the ground up; "" is its __init__.py."""
LARGEST_ROOT = 10
"""Python files that may stand in hyperrl/ itself."""
SAID_OF_TASKS = {"family", "seed", "steps", "variants", "copies", "device"}
"""Settings of a run whose names an environment uses as well."""


def python_files(folder: Path) -> Iterator[Path]:
    """Every Python file below a folder, links not followed."""
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(parent) / name for name in sorted(files) if name.endswith(".py"))


def dotted(path: Path, folder: Path, package: str) -> str:
    """The module that a file is; a package's __init__.py is the package."""
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])


FILES = {room: list(python_files(ROOT / room)) for room in ROOMS}
MODULES = {dotted(path, ROOT / room, ROOMS[room]): path for room in ROOMS for path in FILES[room]}
OUTSIDE = [path for folder in ("tests", "examples", "benchmarks") for path in python_files(ROOT / folder)]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> list[str]:
    """Dotted names that a file imports, in functions and under TYPE_CHECKING too; `from a import b` gives a and a.b."""
    names = []
    for node in ast.walk(read(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def imported_modules(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Those of ``modules`` that a file imports, at whatever time.

    ``from a import b`` is an import of the module a.b where there is one, else of a; that a package's __init__ runs
    before its modules counts for nothing. A lazy table in an __init__ (name -> module of the package) counts as well.
    The registry of families counts for nothing: it names modules as the entry points of other packages do.
    """
    found, tree = set(), read(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in ("import_module", "__import__"):
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
        elif isinstance(node, ast.Dict) and path.name == "__init__.py":
            package = next(name for name, at in modules.items() if at == path)
            found |= {f"{package}.{value.value}" for value in node.values if isinstance(value, ast.Constant)}
    return found & modules.keys()


def import_graph(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module -> modules that it imports."""
    return {name: imported_modules(path, modules) for name, path in modules.items()}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of imports, each module importing the one before it; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


GRAPH = import_graph(MODULES)


def test_every_room_is_read():
    assert all(len(FILES[room]) > 3 for room in ROOMS)
    assert {path.parent for path in FILES["hyperrl"]} > {ROOT / "hyperrl", ROOT / "hyperrl" / "training"}
    assert not any(within(relative(path).replace("/", "."), ("hyperrl.envs", "hyperrl.agents")) for path in OUTSIDE)
    assert GRAPH["hyperrl.training.trainer"] >= {"hyperrl.play.rollout", "hyperrl.agents.losses.ppo"}
    assert "hyperrl.api" in GRAPH["hyperrl"], "hyperrl.train and hyperrl.load are imported when asked for"
    assert "hyperrl.envs.vector" in GRAPH["hyperrl.envs"], "so are the names of hyperrl.envs"
    assert "hyperrl.export" in GRAPH["hyperrl.api"], "imports within a function are read"


# circles


def test_there_is_no_circle_of_imports():
    assert circle(GRAPH) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import p.b", "from p.a import x"),
        ("from p import b", "from p import a"),
        ("def f():\n    from p.b import x", "import p.a"),
        ("if TYPE_CHECKING:\n    from p.b import X", "def f():\n    import p.a"),
        ("importlib.import_module('p.b')", "import p.a"),
        ("import p.c", "from p import lazy"),  # b is found through the table of p/__init__.py
    ],
)
def test_circles_are_found_however_a_module_is_imported(tmp_path, first, second):
    sources = {"__init__": "HOME = {'lazy': 'a'}", "a": first, "b": second, "c": "import p.b"}
    paths = {name: tmp_path / f"{name}.py" for name in sources}
    for name, source in sources.items():
        paths[name].write_text(source)
    modules = {"p" if name == "__init__" else f"p.{name}": path for name, path in paths.items()}
    assert "p.a" in circle(import_graph(modules))
    paths["b"].write_text("import os.path")
    assert circle(import_graph(modules)) == []


def test_parent_packages_are_no_part_of_a_circle(tmp_path):
    """Importing p.b runs p/__init__.py first, which imports p.a, which imports p.b."""
    sources = {"__init__": "from p.a import x", "a": "import p.b", "b": "import os"}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    modules = {name: tmp_path / f"{file}.py" for name, file in (("p", "__init__"), ("p.a", "a"), ("p.b", "b"))}
    assert import_graph(modules) == {"p": {"p.a"}, "p.a": {"p.b"}, "p.b": set()}


# floors


def floor(module: str) -> int:
    """On which floor of hyperrl a module stands."""
    first = module.removeprefix("hyperrl").removeprefix(".").partition(".")[0]
    found = [number for number, names in enumerate(FLOORS) if first in names]
    assert found, f"{module}: on no floor; give it its place in FLOORS and in docs/architecture.md"
    return found[0]


@pytest.mark.parametrize("path", FILES["hyperrl"], ids=relative)
def test_floors_import_from_below_only(path):
    module = dotted(path, ROOT / "hyperrl", "hyperrl")
    own = {name for name in GRAPH[module] if not within(name, ("hyperrl.envs", "hyperrl.agents"))}
    assert {name for name in own if floor(name) > floor(module)} == set(), "an import from a floor above"


def test_few_files_stand_on_no_floor():
    assert len(list((ROOT / "hyperrl").glob("*.py"))) <= LARGEST_ROOT


# rooms


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


def settings_of_learners() -> set[str]:
    """What our PPO and Stable-Baselines3's can be set to, and a family's two mappings of it."""
    ours = {setting.name for setting in fields(Config)} - SAID_OF_TASKS
    theirs = set(inspect.signature(PPO).parameters) - {
        "env",
        "policy",
        "seed",
        "device",
        "verbose",
        "_init_setup_model",
    }
    experts = {"total_timesteps", "n_envs", "normalize", "log_std_init", "ortho_init", "net_arch", "activation_fn"}
    return ours | theirs | experts | {"training", "expert"}


def test_settings_of_experts_are_among_those_of_learners():
    assert {"learning_rate", "gamma", "n_steps", "clip_range", "clip", "minibatches"} <= settings_of_learners()
    for name in ("cartpole", "pendulum", "mountain_car_continuous"):
        assert set(expert_settings(registry.get(name))) <= settings_of_learners()


@pytest.mark.parametrize("path", FILES["envs"], ids=relative)
def test_envs_names_no_setting_of_a_learner(path):
    """Neither as a keyword argument nor as a key; a family's own fields `training` and `expert` are no arguments."""
    named = settings_of_learners()
    found = []
    for node in ast.walk(read(path)):
        if isinstance(node, ast.Call):
            found += [f"line {node.lineno}: {word.arg}=" for word in node.keywords if word.arg in named]
        elif isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            found += [f"line {node.lineno}: {key!r}" for key in keys if key in named]
    assert found == [], "what is needed to learn a task stands in hyperrl/settings/NAME.toml"


def string_constants(tree: ast.AST, skip: set[int]) -> list[ast.Constant]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip
    ]


@pytest.mark.parametrize("path", FILES["hyperrl"], ids=relative)
def test_hyperrl_names_no_arm_and_no_family(path):
    tree = read(path)
    defaults = set()
    if path == ROOT / "hyperrl" / "config.py":
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
    arms = [name for name in imports(path) if within(name, ("hyperrl.agents.arms",))]
    assert arms == [], "arms are built through ARMS"
    families = {path.stem for path in FILES["envs"] if registry_module(path)}
    tasks = [name for name in imports(path) if within(name, ("hyperrl.envs",)) and name.rpartition(".")[2] in families]
    assert tasks == [], "families are found through the registry"


def registry_module(path: Path) -> bool:
    """Whether a file of envs/ is one of the registry's."""
    return any(shipped.module.rpartition(".")[2] == path.stem for shipped in registry._SHIPPED.values())


def test_importing_envs_in_a_fresh_process_is_light():
    code = (
        "import sys, hyperrl.envs\n"
        "heavy = {'torch', 'stable_baselines3', 'tensorboard', 'matplotlib'} & set(sys.modules)\n"
        "other = {n for n in sys.modules if n.startswith('hyperrl.') and not n.startswith('hyperrl.envs')}\n"
        "print(sorted(heavy | other))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


# the wheel


def test_the_wheel_holds_every_file_of_the_rooms():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    listed = {package: table["package-dir"].get(package, package.replace(".", "/")) for package in table["packages"]}
    packages = {module: relative(path.parent) for module, path in MODULES.items() if path.name == "__init__.py"}
    assert listed == packages, "pyproject.toml names every package and its folder"
    for path in MODULES.values():
        assert (path.parent / "__init__.py").is_file(), f"{relative(path)}: its folder is no package"
    held = {
        path
        for package, patterns in table["package-data"].items()
        for pattern in patterns
        for path in (ROOT / listed[package]).glob(pattern)
    }
    data = {
        Path(parent) / name
        for room in ROOMS
        for parent, folders, files in os.walk(ROOT / room, followlinks=False)
        if "__pycache__" not in parent
        for name in files
        if not name.endswith(".py")
    }
    assert held == data, "package-data in pyproject.toml names what is no Python"


@pytest.mark.parametrize("room", ["envs", "agents"])
def test_editors_and_mypy_see_the_rooms_under_hyperrl(room):
    link = ROOT / "hyperrl" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"
