"""Compiled training against the same training as it stands."""

import copy
import warnings
from functools import partial

import pytest
import torch

from hyperrl.agents import Agent, AgentSpec
from hyperrl.api import train
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.training import compiling
from hyperrl.training.compiling import Compiled, reason_against

CPU = torch.device("cpu")
STATELESS = Agent(AgentSpec(1, 1, True, 1))
SHORT = {"variants": 4, "copies": 4, "rollout": 4, "epochs": 2, "steps": 4 * 4 * 4 * 12, "generator_hidden": (16,)}
"""Few operations: compiling takes as long as there are of them."""


@pytest.fixture
def new_cache(tmp_path, monkeypatch):
    """A cache in which nothing is compiled yet."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()


def numbers(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.agent.parameters()])


@pytest.mark.slow
@pytest.mark.usefixtures("new_cache")
def test_compiled_iterations_are_those_as_they_stand_and_go_on_bit_for_bit(make_trainer):
    eager, compiled = (make_trainer("pendulum", compile=choice, **SHORT) for choice in ("off", "on"))
    start = numbers(eager)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of PyTorch's own
        for iteration in range(10):
            if iteration == 5:
                state = copy.deepcopy(compiled.state_dict())
            expected, shown = eager.iterate(), compiled.iterate()
            assert shown == pytest.approx(expected, rel=1e-3, abs=1e-4, nan_ok=True)
        assert isinstance(compiled.terms, Compiled)
        assert compiled.terms.compiled
        assert compiled.steps_at_once.compiled
        resumed = make_trainer("pendulum", compile="on", **SHORT)
        resumed.load_state_dict(state)
        for _ in range(5):
            resumed.iterate()
    torch.testing.assert_close(numbers(compiled), numbers(eager), rtol=1e-3, atol=1e-5)
    assert (numbers(eager) - start).abs().max() > 1e-2
    assert torch.equal(numbers(resumed), numbers(compiled))


def test_what_cannot_be_compiled_stays_as_it_is_and_is_said_once(monkeypatch):
    def fails(function):
        raise RuntimeError("no such compiler\nand more")

    monkeypatch.setattr(compiling, "_compile", fails)
    double = Compiled(lambda x: 2 * x)
    with pytest.warns(UserWarning, match="^not compiled: .*no such compiler") as said:
        assert double(3) == 6
    assert len(said) == 1
    assert double(4) == 8
    assert not double.compiled


def test_an_error_of_the_function_itself_is_raised(monkeypatch):
    monkeypatch.setattr(compiling, "_compile", partial)
    inverse = Compiled(lambda x: 1 / x)
    assert inverse(2) == 0.5
    with pytest.warns(UserWarning, match="not compiled"), pytest.raises(ZeroDivisionError):
        inverse(0)


def test_a_run_is_compiled_if_it_is_long_enough_and_a_compiler_is_there(monkeypatch, tmp_path):
    cartpole = registry.get("cartpole")
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/bin/true")
    calls = 128 + 16
    few, many = (
        Config(family="cartpole", rollout=128, epochs=4, minibatches=4, variants=2, copies=1, steps=256 * iterations)
        for iterations in (compiling.EARNED // calls, compiling.EARNED // calls + 1)
    )
    assert reason_against(few, cartpole, CPU, STATELESS) == "the run is too short to earn it"
    assert reason_against(many, cartpole, CPU, STATELESS) == ""
    assert reason_against(Config(family="cartpole", compile="on"), cartpole, CPU, STATELESS) == ""
    assert reason_against(Config(family="cartpole", compile="off"), cartpole, CPU, STATELESS) == "as asked"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert reason_against(many, cartpole, CPU, STATELESS) == "there is no C++ compiler here"


def test_steps_of_a_simulator_are_not_counted_since_they_are_not_compiled(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/bin/true")
    steps = 256 * (compiling.EARNED // 144 + 1)
    settings = {"rollout": 128, "epochs": 4, "minibatches": 4, "variants": 2, "copies": 1, "steps": steps}
    lander = registry.get("lunar_lander")
    assert reason_against(Config(family="lunar_lander", **settings), lander, CPU, STATELESS)


def test_the_first_line_says_what_was_chosen(tiny, tmp_path, capsys):
    train("cartpole", run=tmp_path / "run", **tiny)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.endswith("not compiled: the run is too short to earn it")


def test_another_choice_is_refused(cli):
    status, out, err = cli("train", "cartpole", "--compile", "maybe")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "compile" in err
    assert "auto, on or off" in err
