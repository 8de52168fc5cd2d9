"""The documentation is true: its Python runs, its commands parse, its files and numbers are the code's."""

import importlib
import os
import re
import shlex
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hyperrl
from hyperrl.cli import build_parser
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.envs.audit import audit
from hyperrl.families import configured, resolve
from hyperrl.play.actors import random_actions
from hyperrl.play.episodes import play

ROOT = Path(__file__).parents[1]
ROOMS = ("envs", "agents", "hyperrl")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "runs" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
FAMILY_PAGES = ROOT / "docs" / "families"
NOT_HERE = {"tank.py", "my_family.py"}
"""The reader's own files."""
LONG_LINES = {"adaptation.md", "results.md", "speed.md"}
"""Pages in which lines of prose may be longer than elsewhere."""


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
    short = {"steps": 65_536, "evaluations": 1, "encoder": False}
    run = hyperrl.train(str(tank), run=tmp_path / "run", device="cpu", quiet=True, **short)
    family = run.family
    table_TP = family.variants("interpolation", 16)
    random = play(family, table_TP, random_actions(family), 10).returns_TE
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
    assert named <= {registry.get(name).env_id for name in registry.families()}


def command_names():
    (choices,) = [action.choices for action in build_parser()._actions if action.choices]
    return set(choices)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_parse(page):
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        if len(words) == 1:  # a command spoken of by its name
            assert words[0] in command_names()
        else:
            build_parser().parse_args(words)


def test_readme_shows_every_command():
    assert {shlex.split(command)[1] for command in commands(ROOT / "README.md")} == command_names()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in LONG_LINES], ids=relative)
def test_lines_of_prose_have_at_most_120_characters(page):
    """Rows of tables, code and addresses are as long as they must be."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    long = [line for line in text.splitlines() if len(line) > 120 and line[:1] != "|" and "://" not in line]
    assert long == []


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
    """In folders, by two spaces a level; a folder's own __init__.py is not listed, a room's is."""
    (listing,) = [block for block in blocks(ROOT / "docs" / "architecture.md", "") if block.startswith("envs/\n")]
    listed, folders = [], []
    for line in listing.splitlines():
        name = line.split()[0]
        del folders[(len(line) - len(line.lstrip())) // 2 :]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed.append("".join([*folders, name]))
    files = [
        path.relative_to(ROOT)
        for room in ROOMS
        for parent, _, names in os.walk(ROOT / room, followlinks=False)
        for path in (Path(parent) / name for name in names if name.endswith(".py"))
    ]
    rooms_and_files = [str(path) for path in files if path.name != "__init__.py" or len(path.parts) == 2]
    assert sorted(listed) == sorted(rooms_and_files)


def family_page(name, heading=""):
    """A family's page, or one section of it."""
    text = (FAMILY_PAGES / f"{name}.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0] if heading else text


def cells(text):
    """Rows of the tables in a text, without heads."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    lines = {i for i, row in enumerate(rows) if set(row[0]) == {"-"}}
    return [row for i, row in enumerate(rows) if not {i, i + 1} & lines]


def span(ends, gap=0.0):
    if ends == (-gap, gap) and gap:
        return f"{-gap:g} and {gap:g}"
    if gap:
        return f"{ends[0]:g} to {-gap:g} and {gap:g} to {ends[1]:g}"
    return f"{ends[0]:g} to {ends[1]:g}"


def parameter_row(p):
    turn = f"; {p.period:g} is one turn" if p.period else ""
    return [f"`{p.name}`", p.unit, f"{p.default:g}", span(p.train, p.gap), span(p.wide, p.gap), p.bounds, p.note + turn]


def grouped_names(family):
    """Parameters' names as a page shows them: distractors share a row."""
    idle = [p.name for p in family.parameters if p.distractor]
    names = [f"`{p.name}`" for p in family.parameters if not p.distractor]
    return names + ([f"`{idle[0]}` ... `{idle[-1]}`"] if idle else [])


def test_every_family_has_a_page_and_a_picture_and_nothing_else_has():
    for folder, kind in ((FAMILY_PAGES, "md"), (ROOT / "docs" / "pictures" / "families", "png")):
        assert {path.name for path in folder.iterdir()} == {f"{name}.{kind}" for name in registry.families()}


def test_the_table_of_families_leads_to_every_page():
    index = (ROOT / "docs" / "families.md").read_text(encoding="utf-8").partition("\n## Shipped families\n")[2]
    rows = [row for row in cells(index.partition("\n## ")[0]) if len(row) == 4]
    shown = {}
    for name, varied, simulator, page in rows:
        family = registry.get(name.strip("`"))
        shown[family.name] = page
        assert [part for part in varied.split(", ") if part[0] == "`"] == grouped_names(family)
        assert re.findall(r"hyperrl\[(\w+)\]", simulator) == list(filter(None, [registry.extra(family.name)]))
    assert shown == {name: f"[{name}.md](families/{name}.md)" for name in registry.families()}
    assert len(rows) == len(shown)


@pytest.mark.parametrize("name", registry.families())
def test_families_are_as_documented(name):
    family, text = registry.get(name), family_page(name)
    assert text.startswith(f"# {name}\n")
    shown = cells(family_page(name, "Parameters"))
    assert shown[: len(shown) - any(p.distractor for p in family.parameters)] == [
        parameter_row(p) for p in family.parameters if not p.distractor
    ]
    assert [row[0] for row in shown] == grouped_names(family)
    facts = dict(cells(text.partition("\n## Parameters\n")[0]))
    assert facts["single environment"] == f"`{family.env_id}`"
    assert facts["source of the physics"] == family.source
    assert facts["observations"] == str(family.observation_space.shape)
    space = family.action_space
    assert facts["actions"].startswith(f"continuous {space.shape}, " if space.shape else f"{space.n}, discrete")
    solved = "" if family.solved is None else f"; solved at a return of {family.solved:g}"
    assert facts["episode"] == f"{family.max_episode_steps} steps at most{solved}"
    extra = registry.extra(name)
    assert (f"`pip install 'hyperrl[{extra}]'`" in facts["simulator"]) if extra else facts["simulator"] == "PyTorch"
    splits = family_page(name, "Splits")
    assert f"held-out splits: {', '.join(family.splits)}\n" in splits
    held_out = ", ".join(f"{key} {' and '.join(map(span, ends))}" for key, ends in family.held_out.items())
    assert f"- combination split: {held_out or 'none'}" in splits
    assert all(f"- {split}: {len(rows)} fixed variants" in splits for split, rows in family.fixed.items())
    assert ("- drifting" in splits) == bool(family.drift)


@pytest.mark.parametrize("name", registry.families())
def test_settings_are_as_documented(name):
    defaults = asdict(Config(""))
    shown = {row[0].strip("`"): row[1:] for row in cells(family_page(name, "Settings"))}
    ours = {**asdict(configured(name, {})[1]), "family": ""}
    given = {key: value for key, value in ours.items() if value != defaults[key]}
    assert shown.keys() == given.keys(), "written anew by python benchmarks/family_pages.py"
    for key, value in given.items():
        for text, number in zip(shown[key], (value, defaults[key]), strict=True):
            assert tuple(map(float, text.replace(",", "").split())) == tuple(np.atleast_1d(number))


def audit_verdicts(name):
    section = family_page(name, "What the audit says")
    return section, {row[0]: row[-1] for row in cells(section)}


@pytest.mark.parametrize("name", registry.families())
def test_the_audit_on_a_page_names_every_parameter_and_passes(name):
    family = registry.get(name)
    section, verdicts = audit_verdicts(name)
    assert list(verdicts) == grouped_names(family)
    assert f"\n`hyperrl audit {name}` tried " in section
    assert "\nIt passes." in section
    passing = {"acts", "acts, in rare states", "acts only at reset", "distractor, no effect"}
    assert set(verdicts.values()) <= passing


@pytest.mark.parametrize("name", [name for name in registry.families() if not registry.extra(name)])
def test_the_audit_says_what_is_documented(name):
    family, found = registry.get(name), audit(registry.get(name))
    section, verdicts = audit_verdicts(name)
    for p in family.parameters:
        effect = found.parameters[p.name]
        said = (
            "acts only at reset" if effect.acts_only_at_reset else ["acts", "acts, in rare states"][not effect.states]
        )
        if p.distractor:
            assert verdicts[grouped_names(family)[-1]] == "distractor, no effect"
        else:
            assert verdicts[f"`{p.name}`"] == said
    assert section.count(" act as one: ") == len(found.pairs)


@pytest.mark.parametrize("name", registry.families())
def test_pictures_are_small_and_show_variants_of_the_family(name, strips):
    with Image.open(ROOT / "docs" / "pictures" / "families" / f"{name}.png") as picture:
        assert picture.width >= 400
        assert np.ptp(np.asarray(picture.convert("L"))) > 100
    assert (ROOT / "docs" / "pictures" / "families" / f"{name}.png").stat().st_size <= 60_000
    assert f"](../pictures/families/{name}.png)" in family_page(name)
    family, strip = registry.get(name), strips[name]
    assert 3 <= len(strip.variants) == len(strip.seeds) <= 5
    low, high = family.box("wide")
    table_TP = family.table(strip.variants)
    assert ((table_TP >= low) & (table_TP <= high)).all()


@pytest.fixture
def strips(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("family_pictures").STRIPS
    sys.modules.pop("family_pictures")


def test_what_is_written_by_hand_survives(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    pages = importlib.import_module("family_pages")
    text = family_page("point")
    again = pages.replaced(text, "anew")
    before, after = text.partition(pages.BEGIN)[0], text.partition(pages.END)[2]
    assert "drag" in after
    assert again == f"{before}{pages.BEGIN}\n\nanew\n\n{pages.END}{after}"
    for name in ("family_pages", "family_pictures"):
        monkeypatch.delitem(sys.modules, name)


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
