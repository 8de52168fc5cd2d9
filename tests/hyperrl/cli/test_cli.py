"""The command line, as a newcomer types it."""

import dataclasses
import json
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hyperrl
from hyperrl.cli import build_parser
from hyperrl.config import Config
from hyperrl.envs import InputError, Parameter, registry
from hyperrl.envs.splits import SPLITS
from hyperrl.evaluation.statistics import iqm, worst_tenth
from hyperrl.experts import pool
from hyperrl.families import resolve
from hyperrl.play.actors import Act, random_actions
from hyperrl.play.episodes import play

CONTRACT = {"family", "agent", "seed", "split", "episodes", "mean", "worst", "iqm", "ci95", "variants"}
OURS = {"drift", "worst_tenth", "experts", "calibration", "ci95_method", "ci95_about"}
COMMANDS = ("families", "train", "evaluate", "compare", "adapt", "experts", "play", "map", "export", "audit")
OUTSIDE = pytest.mark.filterwarnings("default:.* outside the training range")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Whatever is written by default lands in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def words(tiny):
    """The tiny settings as they are typed."""
    return [word for name, value in tiny.items() for word in (f"--{name}", value)]


def consistent(result):
    """The numbers of an evaluation agree with its returns; returns the table of returns."""
    assert set(result) == CONTRACT | OURS
    returns = np.array([variant["returns"] for variant in result["variants"]])
    assert returns.shape[1] == result["episodes"]
    for variant, row in zip(result["variants"], returns, strict=True):
        assert set(variant) == {"parameters", "returns", "mean", "predicted", "discounted"}
        assert variant["mean"] == pytest.approx(row.mean())
    means = returns.mean(1)
    assert result["mean"] == pytest.approx(means.mean())
    assert result["worst"] == means.min()
    assert result["worst_tenth"] == worst_tenth(means)
    assert result["iqm"] == pytest.approx(iqm(returns))
    for name, key in (("predicted", "predicted"), ("measured", "discounted")):
        assert result["calibration"][name] == pytest.approx(np.mean([variant[key] for variant in result["variants"]]))
    if returns.shape[1] == 1:
        assert result["ci95"] is None, "one start tells nothing of others"
    else:
        low, high = result["ci95"]
        assert low <= result["iqm"] <= high
        assert low < high or (returns == returns[:, :1]).all()
        assert "starts" in result["ci95_method"]
        assert result["ci95_about"].startswith("this agent, on ")
    assert result["worst"] <= result["worst_tenth"] <= result["mean"]
    return returns


# what it says of itself


def test_no_command_shows_the_help(cli):
    status, out, err = cli()
    assert (status, err) == (0, "")
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli, command):
    status, out, err = cli(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: hyperrl {command}")


def test_train_help_shows_every_setting_with_its_default(cli):
    _, out, _ = cli("train", "--help")
    text = " ".join(out.split())
    for setting in fields(Config)[1:]:
        assert f"--{setting.name.replace('_', '-')} " in text
        assert f"[{setting.default}]" in text.replace("- ", "-")
    assert "environment steps in all" in text.lower()


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["train", "--bogus"]])
def test_help_does_not_load_torch(words):
    code = (
        "import sys\nfrom hyperrl.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'stable_baselines3', 'matplotlib', 'tensorboard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("columns", ["40", "80", "300"])
def test_families_lists_every_parameter(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    status, out, err = cli("families")
    assert (status, err) == (0, "")
    tables = out.split("combination split:")
    for name, table, after in zip(registry.families(), tables, tables[1:], strict=False):
        family = registry.get(name)
        assert name in table
        assert family.env_id in table
        for p in (p for p in family.parameters if not p.distractor):
            (line,) = [line for line in table.splitlines() if line.split()[:1] == [p.name] and p.bounds in line]
            for cell in (p.unit, f"{p.default:g}", p.bounds, p.note):
                assert cell in line
            if not p.gap:
                for low, high in (p.train, p.wide):
                    assert f"{low:g} to {high:g}" in line
        for key, intervals in family.held_out.items():
            for low, high in intervals:
                assert f"{low:g} to {high:g}" in after.splitlines()[0].partition(f"{key} ")[2]
    assert all(split in out for split in SPLITS)


GAP = Parameter("push", "N", 2.0, (-3, 3), (-4, 4), gap=1)
SIGN = Parameter("sign", "1", 1.0, (-1, 1), (-1, 1), gap=1)
NOISE = tuple(Parameter(f"noise_{i}", "1", 0.0, (1, 1), (0, 1), distractor=True) for i in range(100))


@pytest.fixture
def registered(monkeypatch):
    """Register families, and nothing else; an error in place of a family is raised."""

    def register(**families):
        def get(name):
            if isinstance(families[name], Exception):
                raise families[name]
            return families[name]

        monkeypatch.setattr(registry, "families", lambda: list(families))
        monkeypatch.setattr(registry, "get", get)

    return register


def test_families_shows_gaps_distractors_and_fixed_splits(cli, registered, own_family):
    plain = resolve(str(own_family))
    odd = dataclasses.replace(
        plain, parameters=(GAP, SIGN, *NOISE), fixed={"train": np.zeros((16, 102)), "extrapolation": np.zeros((9, 102))}
    )
    missing = InputError("family 'lander': its simulator is not installed (no Box2D); pip install 'hyperrl[box2d]'")
    registered(plant=plain, lander=missing, odd=odd)
    status, out, err = cli("families")
    assert (status, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert str(missing) in lines
    assert "push N 2 -3 to -1 and 1 to 3 -4 to -1 and 1 to 4 (-inf, inf)" in lines
    assert "sign 1 1 -1 and 1 -1 and 1 (-inf, inf)" in lines
    (row,) = [line for line in lines if line.startswith("noise")]
    assert row == "noise_0 ... noise_99 1 0 1 0 to 1 (-inf, inf) distractor; 100 of them"
    assert "train: 16 fixed variants" in lines
    assert "extrapolation: 9 fixed variants" in lines


def test_version(cli):
    assert cli("--version") == (0, f"hyperrl {hyperrl.__version__}\n", "")


@pytest.mark.parametrize("value", ["-1e-1", "-.5", "-2", "-1E1"])
def test_negative_numbers_are_numbers_however_they_are_written(value):
    assert build_parser().parse_args(["train", "cartpole", "--log-std", value]).log_std == float(value)


def test_the_command_to_go_on_is_quoted(cli, monkeypatch):
    def stop(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("hyperrl.api.train", stop)
    words = ["train", "my family.py", "--run", "my runs/1", "--hidden", "8", "16", "--log-std", "-1e-7"]
    status, out, err = cli(*words)
    assert (status, out) == (130, "")
    begin, _, again = err.partition("; go on with: ")
    assert begin == "hyperrl: stopped"
    first, last = (vars(build_parser().parse_args(line)) for line in (words, shlex.split(again)[1:]))
    assert last == {**first, "resume": True}


def test_ctrl_c_elsewhere_is_one_line(cli, monkeypatch):
    def stop(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("hyperrl.experts.pool.train_experts", stop)
    assert cli("experts", "cartpole", "--variants", "1") == (130, "", "hyperrl: stopped\n")


def test_experts_are_kept_and_looked_for_where_one_says(cli, tiny_run, monkeypatch):
    asked = []
    monkeypatch.setattr("hyperrl.experts.pool.train_experts", lambda *args, **chosen: asked.append(chosen) or [])
    assert cli("experts", "cartpole", "--variants", "1", "--experts", "my experts") == (0, "", "")
    assert cli("experts", "cartpole", "--variants", "1") == (0, "", "")
    assert asked == [{"seed": 0, "root": Path("my experts")}, {"seed": 0}]
    monkeypatch.setattr("hyperrl.evaluation.evaluate.cached_experts", lambda *args: asked.append(args[2]) or [None])
    words = ["evaluate", tiny_run.folder, "--set", "length=0.8", "--episodes", "1"]
    assert "hyperrl experts cartpole --variants 8 --experts 'my experts'" in cli(*words, "--experts", "my experts")[1]
    assert cli(*words)[0] == 0
    assert asked[2:] == [Path("my experts"), Path("runs/experts")]


# a round trip


@OUTSIDE
def test_train_evaluate_play(cli, words):
    status, out, err = cli("train", "cartpole", "--seed", "3", *words)
    assert status == 0
    run = Path("runs/cartpole-hyper-3")
    assert f"kept in {run}" in out
    assert f"hyperrl evaluate {run}" in out
    assert "tensorboard --logdir runs" in out
    assert err.count("validation") == 2  # one line for each evaluation: this is no terminal
    assert {path.name for path in run.iterdir()} >= {"config.json", "checkpoint.pt"}
    assert list(run.glob("events*"))

    options = ["--episodes", "2", "--variants", "6", "--json", "result.json"]
    status, out, err = cli("evaluate", run, *options)
    assert (status, err) == (0, "")
    result = json.loads(Path("result.json").read_text())
    consistent(result)
    told = {name: result[name] for name in ("family", "agent", "seed", "split", "episodes", "experts")}
    assert told == {
        "family": "cartpole",
        "agent": "hyper",
        "seed": 3,
        "split": "interpolation",
        "episodes": 2,
        "experts": None,
    }
    family = registry.get("cartpole")
    played = [variant["parameters"] for variant in result["variants"]]
    assert played == family.untable(family.variants("interpolation", 6))
    for number in ("mean", "worst", "worst_tenth", "iqm"):
        assert f"{result[number]:.1f}" in out
    assert "hyperrl experts cartpole" in out
    assert json.loads((run / "evaluations" / "interpolation.json").read_text()) == result
    figures = [line.removeprefix("figure: ") for line in out.splitlines() if line.startswith("figure: ")]
    assert figures
    for path in figures:
        with Image.open(path) as image:
            assert min(image.size) > 300

    status, out, err = cli("play", run, "--set", "gravity=12", "length=0.8", "--gif", "new/play.gif")
    assert (status, err) == (0, "")
    assert out.startswith("return ")
    with Image.open("new/play.gif") as image:
        assert image.format == "GIF"
        assert image.n_frames > 1


@OUTSIDE
def test_several_splits_give_a_list(cli, tiny_run):
    splits = ("interpolation", "extrapolation", "combination", "validation", "train")
    options = ["--episodes", "1", "--variants", "3", "--json", "result.json"]
    status, out, err = cli("evaluate", tiny_run.folder, "--split", *splits, *options)
    assert status == 0
    results = json.loads(Path("result.json").read_text())
    assert [result["split"] for result in results] == list(splits)
    for result in results:
        consistent(result)
        assert result["split"] in out
    assert err == "warning: 3 of 3 variants lie outside the training ranges of cartpole\n"


@OUTSIDE
def test_one_variant_outside_the_training_ranges(cli, tiny_run):
    words = ["--set", "length=1.5", "--set", "gravity=20", "--episodes", "3", "--json", "result.json"]
    status, _, err = cli("evaluate", tiny_run.folder, *words)
    assert status == 0
    assert err == (
        "warning: gravity=20 lies outside the training range 5 to 15 m/s2; "
        "length=1.5 lies outside the training range 0.25 to 1 m\n"
    )
    result = json.loads(Path("result.json").read_text())
    assert consistent(result).shape == (1, 3)
    assert result["split"] is None
    defaults = registry.get("cartpole").defaults
    assert result["variants"][0]["parameters"] == {**defaults, "length": 1.5, "gravity": 20.0}


def test_parameters_drift_on_request(cli, tiny_run):
    words = ["evaluate", tiny_run.folder, "--set", "length=0.8", "--episodes", "2"]
    status, out, err = cli(*words, "--drift", "0.1", "--json", "walked.json")
    assert (status, err) == (0, "")
    assert "drift 0.1 a step" in out
    _, out, _ = cli(*words, "--json", "still.json")
    assert "drift" not in out
    walked, still = (json.loads(Path(name).read_text()) for name in ("walked.json", "still.json"))
    assert (walked["drift"], still["drift"]) == (0.1, None)
    assert consistent(walked).shape == consistent(still).shape
    assert walked["variants"][0]["returns"] != still["variants"][0]["returns"]
    assert json.loads((tiny_run.folder / "evaluations" / "variant-drift-0.1.json").read_text()) == walked


def test_one_variant_beside_a_split(cli, tiny_run, tmp_path):
    words = ["--set", "length=0.9", "--split", "combination", "train", "--json", tmp_path / "r.json"]
    status, _, err = cli("evaluate", tiny_run.folder, *words)
    assert (status, err) == (0, "warning: --set gives one variant; --split and --variants are left out\n")
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["split"], len(result["variants"])) == (None, 1)


def test_the_same_numbers_twice_and_no_warning_within(cli, tiny_run):
    said = []
    for _ in range(2):
        status, out, err = cli("evaluate", tiny_run.folder, "--set", "length=0.8", "--episodes", "4")
        assert (status, err) == (0, "")
        said.append(out)
    assert said[0] == said[1]


def test_resume_starts_or_finishes(cli, words):
    first = cli("train", "cartpole", "--agent", "blind", "--run", "run", "--resume", *words)
    again = cli("train", "cartpole", "--run", "run", "--resume", "--agent", "blind")
    assert first[:2] == again[:2]
    assert "warning" not in first[2] + again[2]
    assert again[0] == 0


# the audit


def test_audit_passes(cli):
    status, out, err = cli("audit", "cartpole", "--json", "new/audit.json")
    assert (status, err) == (0, "")
    assert out.endswith("passed: cartpole\n")
    family = registry.get("cartpole")
    result = json.loads(Path("new/audit.json").read_text())
    assert (result["family"], result["passed"], result["pairs"]) == ("cartpole", True, [])
    assert list(result["parameters"]) == list(family.names)
    for p in family.parameters:
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [p.name]]
        assert line.split()[1] == p.unit
        assert line.split()[-1] == "acts"
        assert f"{result['parameters'][p.name]['next_state']:.3g} sd" in line
    assert "conflict" not in result
    assert not Path("runs").exists()


def dead(path):
    """The plant with a parameter that nothing reads, and one that stands for the gain."""
    text = path.read_text().replace(
        'note="sign and strength of the actuator"),',
        'gap=0.5), Parameter("drag", "1", 1.0, (0.5, 2), (0.1, 4)), Parameter("lever", "m", 1.0, (0.5, 2), (0.1, 4)),',
    )
    path.write_text(text.replace('p["gain"]', '(p["gain"] * p["lever"])'))


def test_audit_fails_and_says_what_to_do(cli, own_family):
    dead(own_family)
    status, out, err = cli("audit", own_family, "--conflict", "--json", "audit.json")
    assert (status, err) == (1, "")
    assert out.splitlines()[-2] == (
        "failed: drag changes nothing; apply it and all that is derived from it in the physics, remove it, or declare "
        "it distractor=True"
    )
    assert out.splitlines()[-1] == "no experts are trained for --conflict before the audit passes"
    assert "gain and lever act as one: only the product gain * lever matters" in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["drag"]]
    assert line.split()[-2:] == ["NO", "EFFECT"]
    result = json.loads(Path("audit.json").read_text())
    assert result["passed"] is False
    assert result["parameters"]["drag"]["acts"] is False
    assert result["pairs"] == [{"parameters": ["gain", "lever"], "only": "product", "expression": "gain * lever"}]
    assert not Path("runs").exists()


def test_audit_of_a_distractor_that_acts(cli, own_family):
    own_family.write_text(own_family.read_text().replace("note=", "distractor=True, note="))
    status, out, _ = cli("audit", own_family)
    assert status == 1
    assert out.endswith("failed: gain is declared a distractor and acts; remove distractor=True\n")


def test_audit_with_conflict(cli, monkeypatch):
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: [pool._train(job) for job in jobs])
    words = ["--conflict", "--variants", "2", "--steps", "256", "--experts", "kept", "--json", "audit.json"]
    status, out, err = cli("audit", "cartpole", *words)
    assert (status, err) == (0, "")
    found = json.loads(Path("audit.json").read_text())["conflict"]
    assert found["experts"] == {"steps": 256, "seed": 0}
    assert np.shape(found["normalised"]) == np.shape(found["returns"]) == (2, 2)
    assert len(found["variants"]) == 2
    assert found["verdict"] in out.replace("\n", " ")
    assert "expert of B" in out
    assert len(list(Path("kept/cartpole").glob("*.json"))) == 2
    assert out.endswith("figure: runs/audit/cartpole-conflict.png\n")
    with Image.open("runs/audit/cartpole-conflict.png") as image:
        assert min(image.size) > 600
    again = cli("audit", "cartpole", *words[:-2], "--png", "new/matrix.png")
    assert again[1].endswith("figure: new/matrix.png\n")
    assert Path("new/matrix.png").exists()


@pytest.mark.parametrize("option", ["--variants 3", "--png a.png", "--steps 9", "--seed 1", "--workers 1"])
def test_audit_says_what_needs_conflict(cli, own_family, option):
    status, out, err = cli("audit", own_family, *option.split())
    name = option.split()[0]
    assert (status, out) == (2, "")
    assert err == f"hyperrl: {name}: needs --conflict; add it, or leave {name} out\n"


def test_a_split_that_is_named_twice_is_played_once(cli, tiny_run):
    words = "--variants 1 --episodes 1 --split validation validation --json twice.json --force"
    status, _, err = cli("evaluate", str(tiny_run.folder), *words.split())
    assert status == 0, err
    with open("twice.json") as file:
        assert json.load(file)["split"] == "validation"


# a family of one's own


def test_an_own_family_from_a_file(cli, own_family):
    settings = "--variants 16 --copies 4 --rollout 30 --steps 40e3 --evaluations 2 --learning-rate 3e-3"
    status, out, _ = cli("train", own_family, "--run", "run", "--device", "cpu", *settings.split())
    assert status == 0
    assert "validation" in out
    status, out, err = cli("evaluate", "run", "--split", "interpolation", "--json", "result.json")
    assert (status, err) == (0, "family: running plant.py, known from your own runs\n")
    result = json.loads(Path("result.json").read_text())
    returns = consistent(result)
    assert result["family"] == "plant"

    family = resolve(str(own_family))
    table_TP = family.variants("interpolation", 64)
    random = play(family, table_TP, random_actions(family), 10).returns_TE
    still = play(family, table_TP, Act(lambda obs: torch.zeros(len(obs), 1)), 10).returns_TE
    gain_T = np.array([variant["parameters"]["gain"] for variant in result["variants"]])
    for side in (gain_T < -0.5, gain_T > 0.5):
        assert side.sum() > 10
        assert returns[side].mean() > 0.2 * random[side].mean()
        assert returns[side].mean() > 0.2 * still[side].mean()

    status, _, err = cli("evaluate", "run", "--split", "combination", "--family", own_family)
    assert status == 2
    assert err == "hyperrl: split 'combination': family 'plant' has no variants in it; choose another split\n"
    status, _, err = cli("play", "run", "--gif", "play.gif")
    assert status == 2
    assert "family 'plant' has no renderer" in err

    own_family.write_text(own_family.read_text().replace("(-2, 2), (-3, 3)", "(-1, 2), (-3, 3)"))
    status, _, err = cli("evaluate", "run", "--family", own_family)
    assert status == 2
    assert "not as when the run was trained: parameter gain train was [-2.0, 2.0], is [-1.0, 2.0]; restore" in err


def test_an_own_family_from_a_module(cli, own_family, words, monkeypatch):
    monkeypatch.syspath_prepend(own_family.parent)
    assert cli("train", "plant:family", *words)[0] == 0
    assert cli("evaluate", "runs/plant-hyper-0", "--variants", "2", "--episodes", "1")[0] == 0
    sys.modules.pop("plant")


# files, and predictions


@OUTSIDE
def test_export_one(cli, tiny_run):
    words = ["export", tiny_run.folder, "--set", "gravity=20", "length=0.8", "--format", "onnx", "--out", "new/p.onnx"]
    status, out, err = cli(*words)
    assert (status, err) == (0, "warning: gravity=20 lies outside the training range 5 to 15 m/s2\n")
    assert out.startswith("written: new/p.onnx\nchecked against the policy: actions differ by ")
    first = Path("new/p.onnx").read_bytes()
    status, out, err = cli(*words)
    assert (status, out) == (2, "")
    assert err.endswith("hyperrl: new/p.onnx: is there already; overwrite it with --force, or choose another name\n")
    assert Path("new/p.onnx").read_bytes() == first
    assert cli(*words, "--force")[0] == 0
    assert [path.name for path in Path("new").iterdir()] == ["p.onnx"]


def test_export_many(cli, tiny_run):
    words = ["export", tiny_run.folder, "--all", "3", "--split", "validation", "--format", "onnx", "--out", "new"]
    status, out, err = cli(*words)
    assert (status, err) == (0, "")
    assert out.startswith("written: 3 files and index.json in new\n")
    index = json.loads(Path("new/index.json").read_text())
    told = {name: index[name] for name in ("family", "agent", "seed", "split", "format")}
    assert told == {"family": "cartpole", "agent": "hyper", "seed": 0, "split": "validation", "format": "onnx"}
    family = registry.get("cartpole")
    assert [v["parameters"] for v in index["variants"]] == family.untable(family.variants("validation", 3))
    assert [v["file"] for v in index["variants"]] == ["000.onnx", "001.onnx", "002.onnx"]
    assert {path.name for path in Path("new").iterdir()} == {"index.json", "000.onnx", "001.onnx", "002.onnx"}
    status, _, err = cli(*words)
    assert status == 2
    assert err == "hyperrl: new/index.json: is there already; overwrite it with --force, or choose another name\n"
    assert cli(*words, "--force")[0] == 0


def test_map(cli, tiny_run):
    words = ["map", tiny_run.folder, "--over", "length", "gravity", "--png", "new/m.png", "--json", "new/m.json"]
    status, out, err = cli(*words)
    assert (status, err) == (0, "")
    assert out.startswith("predicted discounted return (gamma 0.995) of 961 variants: ")
    assert out.endswith("figure: new/m.png\n")
    result = json.loads(Path("new/m.json").read_text())
    assert (result["family"], result["agent"], result["seed"]) == ("cartpole", "hyper", 0)
    assert result["over"] == ["length", "gravity"]
    assert np.shape(result["predicted"]) == (31, 31)
    assert [len(values) for values in result["values"]] == [31, 31]
    assert set(result["others"]) == {"masscart", "masspole", "force_mag"}
    with Image.open("new/m.png") as image:
        assert min(image.size) > 600
    status, out, _ = cli("map", tiny_run.folder)
    assert status == 0
    (path,) = [line.removeprefix("figure: ") for line in out.splitlines() if line.startswith("figure: ")]
    assert Path(path).parent == tiny_run.folder / "figures"
    assert Path(path).exists()


# mistakes


MISTAKES = {
    "unknown family": ("train nonsense", "'nonsense'", "unknown; choose from cartpole"),
    "unknown agent": (
        "train cartpole --agent nonsense",
        "'nonsense'",
        "unknown; choose from hyper, concat, blind",
    ),
    "unknown activation": ("train cartpole --activation gelu", "'gelu'", "unknown; choose from tanh"),
    "name too long": ("evaluate " + 300 * "x", "File name too long", "name another file or folder"),
    "lifetime": ("train cartpole --lifetime 1e20", "lifetime=1e+20", "at most 1000000"),
    "steps 0": ("train cartpole --steps 0", "steps=0", "must be 1 or more"),
    "minibatches uneven": ("train cartpole --minibatches 3", "minibatches=3", "a divisor of copies x rollout = "),
    "steps half": ("train cartpole --steps 1.5", "--steps: 1.5", "must be a whole number"),
    "steps word": ("train cartpole --steps many", "--steps: many", "must be a whole number"),
    "steps inf": ("train cartpole --steps inf", "--steps: inf", "must be a whole number"),
    "gamma": ("train cartpole --gamma 1.5", "gamma=1.5", "must be within [0, 1]"),
    "gamma nan": ("train cartpole --gamma nan", "gamma=nan", "must be within [0, 1]"),
    "log_std nan": ("train cartpole --log-std nan", "log_std=nan", "must be finite"),
    "lr inf": ("train cartpole --learning-rate inf", "learning_rate=inf", "must be finite"),
    "lr word": ("train cartpole --learning-rate fast", "'fast'", "--learning-rate: invalid float value"),
    "seed below": ("train cartpole --seed -1", "seed=-1", "must be within [0, 2**32)"),
    "seed above": ("train cartpole --seed 99999999999999999999", "seed=", "must be within [0, 2**32)"),
    "hidden": ("train cartpole --hidden 64 0", "hidden=(64, 0)", "must be one or more widths of 1 or more"),
    "minibatches": ("train cartpole --minibatches 9999", "minibatches=9999", "a divisor of copies x rollout = "),
    "device": ("train cartpole --device tpu", "'tpu'", "unknown; choose from auto, cpu, cuda"),
    "holds a run": (
        "train cartpole --run {run}",
        "{run}",
        "already holds a run; go on with --resume or choose",
    ),
    "other settings": (
        "train cartpole --run {run} --resume --steps 5",
        "steps=5",
        "was started with steps=768",
    ),
    "below a file": ("train cartpole --run {file}/run", "{file}/run", "cannot be written (Not a directory)"),
    "run is a file": ("train cartpole --run {file}", "{file}", "cannot be written"),
    "missing family file": ("train missing.py", "'missing.py'", "no such file; give the path"),
    "no family in it": ("train {empty}", "{empty}", "holds no hyperrl.envs.Family; define one there"),
    "family raises": ("train {raises}", "{raises}", "ZeroDivisionError: division by zero; mend the file"),
    "family exits": ("train {exits}", "{exits}", "SystemExit: 3; mend the file"),
    "no python": ("train {syntax}", "{syntax}", "SyntaxError: "),
    "bad parameter": ("train {ranges}", "'x'", "must lie within wide"),
    "no module": (
        "train nomodule:family",
        "'nomodule:family'",
        "No module named 'nomodule'; give module:attribute",
    ),
    "no attribute": ("train math:family", "'math:family'", "holds no hyperrl.envs.Family"),
    "no family": ("train math:pi", "'math:pi'", "holds no hyperrl.envs.Family"),
    "empty module": ("train :family", "':family'", "give module:attribute"),
    "relative module": ("train ..x:family", "'..x:family'", "give module:attribute"),
    "a folder": ("train {folder}", "{folder}", "unknown; choose from"),
    "no family given": ("train", "FAMILY", "required: FAMILY; see hyperrl train --help"),
    "unknown option": ("train cartpole --bogus", "--bogus", "unrecognized arguments: --bogus; see hyperrl"),
    "unknown command": ("bogus", "'bogus'", "choose from"),
    "missing run": (
        "evaluate {folder}/none",
        "{folder}/none",
        "holds no run; name a folder that hyperrl train",
    ),
    "run is no folder": ("evaluate {file}", "{file}", "holds no run; name a folder that hyperrl train wrote"),
    "unknown parameter": (
        "evaluate {run} --set mass=1",
        "mass",
        "unknown parameter of family 'cartpole'; choose from",
    ),
    "out of range": (
        "evaluate {run} --set length=-1",
        "length=-1.0",
        "must be within (0, 10] m for family 'cartpole'",
    ),
    "not a number": ("evaluate {run} --set length=long", "length=long", "must be a number within (0, 10] m"),
    "nan": ("evaluate {run} --set length=nan", "length=nan", "must be within (0, 10] m"),
    "inf": ("evaluate {run} --set length=inf", "length=inf", "must be within (0, 10] m"),
    "no equals": ("evaluate {run} --set length 0.5", "--set length", "must be NAME=VALUE, as in gravity=12"),
    "no value": ("evaluate {run} --set length=", "--set length=", "must be NAME=VALUE, as in gravity=12"),
    "twice": (
        "evaluate {run} --set length=1 length=2",
        "length",
        "is given more than once; give it one value",
    ),
    "nothing set": ("evaluate {run} --set", "--set", "expected at least one argument"),
    "drift below 0": ("evaluate {run} --drift -1", "drift=-1.0", "above 0 and at most 1 half-range a step"),
    "drift no number": ("evaluate {run} --drift fast", "--drift", "invalid float value: 'fast'"),
    "unknown split": ("evaluate {run} --split test", "split 'test'", "unknown; choose from train, validation"),
    "experts split": ("experts cartpole --variants 1 --split test", "split 'test'", "unknown; choose from train"),
    "episodes 0": ("evaluate {run} --episodes 0", "episodes=0", "must be 1 or more"),
    "episodes word": ("evaluate {run} --episodes ten", "--episodes: ten", "must be a whole number"),
    "variants 0": ("evaluate {run} --variants 0", "variants=0", "must be 1 or more"),
    "play out of range": (
        "play {run} --set gravity=-3 --gif a.gif",
        "gravity=-3.0",
        "must be within [0, 100] m/s2",
    ),
    "play missing run": (
        "play none --gif a.gif",
        "none",
        "holds no run; name a folder that hyperrl train wrote",
    ),
    "play below a file": ("play {run} --gif {file}/a.gif", "{file}/a.gif", "cannot be written"),
    "play without a file": ("play {run}", "--gif", "required: --gif; see hyperrl play --help"),
    "play seed": ("play {run} --gif a.gif --seed -1", "seed=-1", "must be 0 or more"),
    "map over one": ("map {run} --over length", "--over", "expected 2 arguments"),
    "map over the same": ("map {run} --over length length", "--over length length", "needs two different parameters"),
    "map unknown": ("map {run} --over length mass", "mass", "unknown parameter of family 'cartpole'; choose from"),
    "map missing run": ("map none", "none", "holds no run; name a folder that hyperrl train wrote"),
    "map a folder": ("map {run} --over length gravity --json .", ".", "is a folder; name a file"),
    "map below a file": ("map {run} --over length gravity --json {file}/m.json", "{file}/m.json", "cannot be written"),
    "export format": ("export {run} --format tflite --out a", "'tflite'", "unknown; choose from sb3, onnx, torch"),
    "export no format": ("export {run} --out a", "--format", "required: --format; see hyperrl export --help"),
    "export nowhere": ("export {run} --format onnx", "--out", "required: --out; see hyperrl export --help"),
    "export there": (
        "export {run} --format onnx --out {onnx}",
        "{onnx}",
        "is there already; overwrite it with --force",
    ),
    "export folder": ("export {run} --format onnx --out {folder}", "{folder}", "is a folder; name a file"),
    "export below a file": ("export {run} --format onnx --out {file}/a.onnx", "{file}", "cannot be written"),
    "export parameter": ("export {run} --set mass=1 --format onnx --out a.onnx", "mass", "unknown parameter of family"),
    "export bounds": (
        "export {run} --set length=-1 --format onnx --out a.onnx",
        "length=-1.0",
        "must be within (0, 10] m",
    ),
    "export missing run": (
        "export none --format onnx --out a.onnx",
        "none",
        "holds no run; name a folder that hyperrl",
    ),
    "export all and one": (
        "export {run} --all 3 --set length=1 --format onnx --out a",
        "--all 3",
        "takes variants of a split, --set gives one; leave out either",
    ),
    "export split of one": ("export {run} --split train --format onnx --out a.onnx", "--split train", "needs --all"),
    "export none": ("export {run} --all 0 --format onnx --out a.onnx", "variants=0", "must be 1 or more"),
    "export split": (
        "export {run} --all 2 --split test --format onnx --out a.onnx",
        "split 'test'",
        "unknown; choose from",
    ),
    "export all below a file": ("export {run} --all 2 --format onnx --out {file}", "{file}", "cannot be written"),
    "audit family": ("audit nonsense", "'nonsense'", "unknown; choose from cartpole"),
    "audit nothing": ("audit", "FAMILY", "required: FAMILY; see hyperrl audit --help"),
    "experts family": ("experts nonsense --variants 1", "'nonsense'", "unknown; choose from cartpole"),
    "experts variants": ("experts cartpole --variants 0", "variants=0", "must be 1 or more"),
    "experts workers": ("experts cartpole --variants 1 --workers 0", "workers=0", "must be 1 or more"),
}


@pytest.fixture(scope="module")
def places(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    files = {
        "file": "a regular file",
        "mine.onnx": "a regular file",
        "empty.py": "",
        "raises.py": "1 / 0",
        "exits.py": "raise SystemExit(3)",
        "syntax.py": "def",
        "ranges.py": "from hyperrl.envs import Parameter\nParameter('x', 'm', 1.0, (0, 3), (1, 2))",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    paths = {name.removesuffix(".py"): folder / name for name in files}
    return {**paths, "onnx": paths["mine.onnx"], "folder": folder, "run": tiny_run.folder}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_that_names_it(cli, places, mistake):
    command, value, remedy = (text.format(**places) for text in MISTAKES[mistake])
    status, out, err = cli(*command.split())
    assert status == 2
    assert out == ""
    assert err.startswith("hyperrl: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert value in err
    assert remedy in err
    assert not Path("runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none(cli):
    status, _, err = cli("train", "cartpole", "--device", "cuda")
    assert (status, err) == (2, "hyperrl: device 'cuda': PyTorch finds none here; choose cpu or auto\n")


def test_the_installed_command(tiny_run):
    command = Path(sys.executable).with_name("hyperrl")
    done = subprocess.run([command, "evaluate", tiny_run.folder, "--set", "length=-1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("hyperrl: length=-1.0: must be within (0, 10] m for family 'cartpole'; the default is 0.5\n")
    # python -m, and a warning that no filter of this test run has touched
    words = ["-m", "hyperrl", "evaluate", tiny_run.folder, "--set", "length=1.5", "--episodes", "1"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == "warning: length=1.5 lies outside the training range 0.25 to 1 m\n"
