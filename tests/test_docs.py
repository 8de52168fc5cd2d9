"""The documentation is true: its Python runs, its commands parse, its files and numbers are the code's."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import hyperrl
from hyperrl.cli import _build_parser
from hyperrl.envs import InputError, registry
from hyperrl.episodes import episode_returns, random_actions
from hyperrl.families import resolve

ROOT = Path(__file__).parents[1]
ROOMS = ("envs", "agents", "hyperrl")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "runs" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
NOT_HERE = {"tank.py", "train.py"}
"""The reader's own file, and the module of the first sketch that docs/architecture.md says is not there."""


def relative(path):
    return str(path.relative_to(ROOT))


def blocks(page, language):
    """Fenced blocks of a page in one language, "" for none."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)


def inline_code(page):
    """What stands between single backticks, blocks left out."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def block_with(page, word):
    (found,) = [block for block in blocks(page, "python") if word in block]
    return found


def commands(page):
    lines = [line.strip() for block in blocks(page, "") for line in block.splitlines()] + inline_code(page)
    return [line for line in lines if line.startswith("hyperrl ")]


@pytest.fixture
def tank(tmp_path):
    path = tmp_path / "tank.py"
    path.write_text(block_with(ROOT / "README.md", "family = PhysicsFamily("))
    return path


def test_own_family_is_15_lines(tank):
    assert len([line for line in tank.read_text().splitlines() if line.strip()]) <= 15


def test_own_family_trains(tank, tmp_path):
    run = hyperrl.train(str(tank), run=tmp_path / "run", steps=65_536, evaluations=1, device="cpu", quiet=True)
    family = run.family
    table_TP = family.variants("interpolation", 16)
    random, _ = episode_returns(family, table_TP, random_actions(family), 10)
    returns = run.evaluate("interpolation").means_T
    # a random policy gets -62, the best controller -1.3; after the family's own number of steps it is -1.7
    assert returns.mean() > random.mean() / 3
    action, _ = hyperrl.load(tmp_path / "run").policy(gain=1.7).predict(np.zeros(1), deterministic=True)
    assert action[0] > 0.2, "an empty tank is filled"


def test_own_family_passes_the_check_that_is_documented(tank, monkeypatch):
    code = block_with(ROOT / "docs" / "families.md", ".check()")
    monkeypatch.syspath_prepend(tank.parent)
    exec(code, {})
    monkeypatch.delitem(sys.modules, "tank")


def test_own_family_has_no_renderer(tank):
    with pytest.raises(InputError, match="no renderer"):
        resolve(str(tank)).single(render_mode="rgb_array")


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block_with(ROOT / "README.md", "evaluate_policy(")
    # the same calls, in a moment
    short = 'device="cpu", quiet=True, steps=512, variants=4, copies=2, rollout=16, evaluations=1'
    code = code.replace("seed=0)  #", f"seed=0, {short})  #").replace("n_eval_episodes=10", "n_eval_episodes=1")
    assert short in code
    names = {}
    exec(code, names)
    assert 1 <= names["mean"] <= 500
    assert names["env"].action_space.contains(names["action"])
    folder = re.search(r'hyperrl\.load\("(.+?)"\)', code).group(1)
    again, _ = hyperrl.load(folder).policy(gravity=12.0, length=0.8).predict(names["obs"], deterministic=True)
    assert again == names["action"]


def test_the_single_environments_that_are_named_are_registered():
    named = set(re.findall(r"`(hyperrl/\w+-v\d)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named
    assert named <= {registry.get(name).env_id for name in shipped()}


def command_names():
    (choices,) = [action.choices for action in _build_parser()._actions if action.choices]
    return set(choices)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_parse(page):
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        if len(words) == 1:  # a command spoken of by its name
            assert words[0] in command_names()
        else:
            _build_parser().parse_args(words)


def test_readme_shows_every_command():
    assert {shlex.split(command)[1] for command in commands(ROOT / "README.md")} == command_names()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = [link.partition("#")[0] for link in links if not re.match(r"\w+://", link)]
    missing = [file for file in files if file and not (page.parent / file).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_files_that_are_named_exist(page):
    named = [code for code in inline_code(page) if re.fullmatch(r"[\w./-]+\.(py|md|toml|txt|yaml)", code)]
    homes = [page.parent, ROOT, *(ROOT / room for room in ROOMS)]
    missing = [name for name in named if not any((home / name).exists() for home in homes)]
    assert set(missing) <= NOT_HERE


def test_architecture_lists_every_file_of_the_rooms():
    (listing,) = [block for block in blocks(ROOT / "docs" / "architecture.md", "") if block.startswith("envs/\n")]
    listed, room = {name: [] for name in ROOMS}, ""
    for line in listing.splitlines():
        if line.endswith("/"):
            room = line[:-1]
        else:
            listed[room].append(line.split()[0])
    files = {room: sorted(path.name for path in (ROOT / room).glob("*.py")) for room in ROOMS}
    assert {room: sorted(names) for room, names in listed.items()} == files


def shipped():
    return [name for name in registry.families() if (ROOT / "envs" / f"{name}.py").exists()]


def span(ends):
    return f"{ends[0]:g} to {ends[1]:g}"


@pytest.mark.parametrize("name", shipped())
def test_families_are_as_documented(name):
    family = registry.get(name)
    text = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    rows = [
        (f"`{p.name}`", p.unit, f"{p.default:g}", span(p.train), span(p.wide), p.bounds, p.note)
        for p in family.parameters
    ]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert lines == [f"| {' | '.join(row)} |" for row in rows]
    held_out = ", ".join(f"`{key}` {' and '.join(map(span, ends))}" for key, ends in family.held_out.items())
    solved = "" if family.solved is None else f"; solved at {family.solved:g}"
    for said in (f"`{family.env_id}`", f"{family.max_episode_steps} steps{solved}.", f"split: {held_out}."):
        assert said in section


def test_hooks_name_programs_of_the_virtual_environment_only():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    entries = re.findall(r"entry: \.venv/bin/(\w+)", text)
    assert len(entries) == len(re.findall(r"entry:", text)) == 3
    bin_folder = Path(sys.executable).parent
    assert all(shutil.which(program, path=str(bin_folder)) for program in entries)


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"(?:^|`)make (\w+)", text, flags=re.MULTILINE)) <= targets
