"""Wrong command lines: the parser says which options there are, and each gets wrong values of every type.

Each ends with exit status 2 and one line that names the value, or the option; nothing is begun, nothing written.
"""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

import hyperrl
from hyperrl.cli import build_parser, main
from hyperrl.cli.console import path_of, whole_number

SHORT = 19
"""One in so many lines is tried by default."""
COMMANDS = build_parser()._subparsers._group_actions[0].choices
CONTROL = ("\x1b[2J", "a\nb", "\x07")
COUNTS = ("-1", "1.5", "nan", "inf", "-inf", "1e30", "1e400", "word", "", "0x10", "1;2", "--", *CONTROL)
NUMBERS = ("nan", "inf", "-inf", "1e400", "1e30", "-1e30", "word", "", "1,5", *CONTROL)
FILES = (
    *("", ".", "/", "{folder}", "/dev/null", "/dev/full", "/dev/stdout", "{run}/config.json", "{run}/checkpoint.pt"),
    *("{run}/encoder.pt", "{mine}", "{mine}/x.json", "{link}", "x", "x.nope", "x.mp4", "x.jpg", "{run}", *CONTROL),
    *("{there}.json", "{there}.gif", "{there}.png", "{there}.onnx", 300 * "x" + ".json"),
)
RUNS = ("", ".", "/", "{folder}", "{mine}", "/dev/null", "{run}/config.json", "none", 300 * "x", "--", *CONTROL)
FAMILIES = ("", ".", "/", "{folder}", "{mine}", "{run}", "none.py", "/dev/null", "a:b:c", "os:path", ":", *CONTROL)
WORDS = ("", "nonsense", "0", "nan", "[/s]", "a=b", 500 * "x", *CONTROL)
PAIRS = ("=", "length", "length=", "=1", "length=nan", "length=inf", "length=-1", "length=1e400", "length=x", "self=1")
PAIRS = (*PAIRS, "mass=1", "split=1", "episodes=1", "mode=1", "seed=1", "render_mode=human", "length=1=1", "", *CONTROL)
VALID = {
    "evaluate": "{run}",
    "compare": "{run}",
    "adapt": "{run}",
    "play": "{run} --gif new.gif",
    "map": "{run}",
    "export": "{run} --format onnx --out new.onnx",
    "experts": "cartpole --variants 1",
    "audit": "cartpole --conflict",
    "train": "cartpole --run new",
    "tune": "cartpole --run new",
    "families": "",
}
"""A right line of each command, to which something wrong is added."""
FOLDER_OPTIONS = ("--experts", "--run")


def values_of(command, action):
    """Wrong values of an option."""
    name = action.option_strings[0] if action.option_strings else action.dest
    if name == "--set":
        return [value for value in PAIRS if value]
    if name in FOLDER_OPTIONS:
        return ["", *CONTROL, "{mine}"] if name == "--run" else ["", *CONTROL]
    if name == "--out" and command == "export":
        return FILES
    if not action.option_strings:
        return RUNS if action.type is path_of else FAMILIES
    if action.type is path_of:
        return FILES
    if action.type is whole_number:
        return COUNTS
    return NUMBERS if action.type is float else WORDS


def lines():
    """Every wrong command line: the command, its words, and what the answer must name."""
    for name, parser in COMMANDS.items():
        right = VALID[name].split()
        yield name, [*right, "--nonsense"], "--nonsense"
        yield name, [*right, "spare"], "spare"
        for action in parser._actions:
            if action.dest == "help":
                continue
            option = action.option_strings[-1:]
            if action.nargs == 0:
                yield name, [*right, f"{option[0]}=1"], option[0]
                continue
            if option and option[0] not in right:
                yield name, [*right, *option], option[0]
            for value in values_of(name, action):
                wrong = option[0] if option and value in ("", "-inf") else value  # argparse reads -inf as an option
                if not option:
                    yield name, [value, *right[1:]], value
                elif option[0] in right:
                    at = right.index(option[0])
                    yield name, [*right[:at], *option, value, *right[at + 2 :]], wrong
                else:
                    several = [value, value] if action.nargs == 2 else [value]
                    yield name, [*right, *option, *several], wrong
                    if action.nargs is None:
                        yield name, [*right, f"{option[0]}={value}"], value or option[0]
            if action.required:
                at = right.index(option[0]) if option else 0
                yield name, right[:at] + right[at + 2 if option else 1 :], option[0] if option else action.metavar
    for words in ([""], ["nonsense"], ["--nonsense"], ["\x1b[2J"], ["Train", "cartpole"]):
        yield None, words, words[0]


LINES = [([*([name] if name else []), *words], wrong) for name, words, wrong in lines()]
DAILY = LINES[::SHORT]
COUNTS_FILE = Path(__file__).with_name("counts") / "command_lines.json"


def test_so_many_lines_are_tried():
    found = Counter(words[0] if words and words[0] in COMMANDS else "none" for words, _ in LINES)
    assert json.loads(COUNTS_FILE.read_text()) == found


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A run, and files that are the user's."""
    folder = tmp_path_factory.mktemp("places")
    settings = {
        "variants": 2,
        "copies": 1,
        "rollout": 8,
        "steps": 32,
        "evaluations": 1,
        "device": "cpu",
        "hidden": (4,),
    }
    hyperrl.train("cartpole", run=folder / "run", quiet=True, encoder=False, **settings)
    (folder / "folder").mkdir()
    for name in ("mine", "there.json", "there.gif", "there.png", "there.onnx"):
        (folder / name).write_text("mine")
    (folder / "link").symlink_to(folder / "mine")
    return {name: folder / name for name in ("run", "folder", "mine", "link", "there")}


def state(folder):
    """Every file below a folder with its content's digest."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in folder.rglob("*")}


@pytest.fixture
def guarded(monkeypatch, tmp_path):
    """Whatever would begin to play, train or draw fails the test."""

    def begin(*_, **__):
        pytest.fail("it has begun")

    monkeypatch.chdir(tmp_path)
    for begun in (
        "hyperrl.training.trainer.Trainer.iterate",
        "hyperrl.training.loop.run_loop",
        "hyperrl.evaluation.evaluate.play",
        "hyperrl.reports.figures.save",
        "hyperrl.adaptation.session._Session",
        "hyperrl.envs.physics.PhysicsFamily.single",
        "hyperrl.experts.pool._train_all",
        "hyperrl.envs.audit.audit",
        "hyperrl.export.write._played",
    ):
        monkeypatch.setattr(begun, begin)
    return tmp_path


def is_named(wrong, said):
    """Whether a line names what is wrong: as it was typed, its spaces and escapes aside, or as it was read."""
    name, _, value = wrong.rpartition("=")
    if wrong.startswith("--"):
        return wrong.removeprefix("--").replace("-", "_") in said.replace("-", "_")
    if any(form in said for form in (" ".join(wrong.split()), repr(wrong)[1:-1][:20], f"{name}: unknown parameter")):
        return True
    try:
        number = float(value)
    except ValueError:
        return False
    return any(form in said for form in (f"{number:g}", str(number), str(int(number)) if abs(number) < 1e31 else "inf"))


def refused(words, wrong, places, here, capsys):
    *words, wrong = (re.sub(r"\{(\w+)\}", lambda found: str(places[found[1]]), word) for word in (*words, wrong))
    before = state(places["run"].parent)
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2, (words, out, err)
    assert err.startswith("hyperrl: "), err
    assert err.endswith("\n"), err
    assert err[:-1].isprintable(), err
    assert out == "", out
    assert "Traceback" not in err
    assert re.search(r"; \w|, as in |expected |invalid |required: |choose from", err), f"no remedy: {err}"
    assert is_named(wrong, err), f"{wrong!r} is not named: {err}"
    assert state(places["run"].parent) == before
    assert not list(here.iterdir()), "something was written"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("line", range(len(DAILY)))
def test_a_wrong_line_is_one_line(line, places, guarded, capsys):
    refused(*DAILY[line], places, guarded, capsys)


@pytest.mark.faults
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("line", range(len(LINES)))
def test_every_wrong_line_is_one_line(line, places, guarded, capsys):
    refused(*LINES[line], places, guarded, capsys)
