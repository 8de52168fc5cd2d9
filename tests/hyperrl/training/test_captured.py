"""Iterations as a CUDA graph, with one of the test's own that needs no GPU: it repeats recorded calls in place."""

import copy
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hyperrl.agents.adam import Adam
from hyperrl.api import train
from hyperrl.training.captured import WARM_UP, Captured, tf32
from hyperrl.training.finite import Unusable
from hyperrl.training.trainer import Trainer


class Recorder(TorchDispatchMode):
    """Records every call, those of gradients among them."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, answer))
        return answer


class Graph:
    """What a ``torch.cuda.CUDAGraph`` does: the same calls, on the same memory, whatever Python would do now."""

    def __init__(self):
        self.calls, self.generators, self.replays = [], [], 0

    def register_generator_state(self, generator):
        self.generators.append(generator)

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        if self.replays == 1:
            return  # the calls were made while they were recorded
        for func, args, kwargs, recorded in self.calls:
            answers = zip(tree_leaves(recorded), tree_leaves(func(*args, **kwargs)), strict=True)
            for before, now in answers:
                if isinstance(now, Tensor) and now.data_ptr() != before.data_ptr():
                    before.copy_(now)


@pytest.fixture
def graphs(monkeypatch):
    """All that are captured."""
    made = []

    @contextmanager
    def graph(found):
        made.append(found)
        with Recorder(found.calls):
            yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    return made


@pytest.fixture
def make_captured(monkeypatch, make_trainer, graphs):
    def make(*args, **settings):
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "_reason_against_capturing", lambda trainer: "")
            return make_trainer(*args, **settings)

    return make


def numbers(trainer):
    return torch.cat([value.detach().flatten() for value in trainer.agent.state_dict().values()])


@pytest.mark.parametrize(
    ("family", "agent"),
    [*((family, "hyper") for family in ("cartpole", "pendulum", "point")), ("cartpole", "adapter"), ("point", "film")],
)
def test_repeated_iterations_are_those_of_python(make_trainer, make_captured, graphs, family, agent):
    """Through new variants, ends of episodes, the schedule of the learning rate, and a checkpoint on the way."""
    settings = {"agent": agent, "lifetime": 0.1, "target_kl": 0.001}
    settings["steps"] = 4 * 2 * 16 * 12
    eager = make_trainer(family, **settings)
    captured = make_captured(family, **settings)
    for iteration in range(10):
        if iteration == 7:
            state = copy.deepcopy(captured.state_dict())
        assert str(captured.iterate()) == str(eager.iterate())
        assert torch.equal(numbers(captured), numbers(eager))
    assert [graph.replays for graph in graphs] == [10 - WARM_UP]
    assert graphs[0].generators == [*captured.generators.values(), captured.env.generator]
    captured.load_state_dict(state)
    for _ in range(3):
        captured.iterate()
    assert torch.equal(numbers(captured), numbers(eager))
    assert len(graphs) == 1


def test_what_is_replaced_is_captured_anew(make_trainer, make_captured, graphs):
    eager, captured = make_trainer("cartpole"), make_captured("cartpole")
    for iteration in range(6):
        if iteration == 5:
            eager.begin_anew()
            captured.begin_anew()
        assert str(captured.iterate()) == str(eager.iterate())
    assert len(graphs) == 2


def test_an_unusable_iteration_leaves_the_agent_as_it_is(make_captured, graphs):
    trainer = make_captured("cartpole")
    for _ in range(WARM_UP + 2):
        trainer.iterate()
    before = numbers(trainer)
    trainer.env.moment.state_TEX[1, 0] = float("nan")
    with pytest.raises(Unusable, match=r"observation.*nan at step"):
        trainer.iterate()
    assert torch.equal(numbers(trainer), before)
    assert trainer.iteration == WARM_UP + 2
    assert graphs[0].replays == 3


def test_what_cannot_be_captured_goes_on_call_by_call_and_says_so_once(graphs, monkeypatch):
    @contextmanager
    def refuses(graph):
        yield
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuses)
    counted = []
    double = Captured(lambda: counted.append(1) or len(counted), [], lambda: [])
    for _ in range(WARM_UP):
        double()
    with pytest.warns(UserWarning, match="^not captured in a CUDA graph: RuntimeError: operation not permitted when"):
        double()
    before = len(counted)
    assert double() == before + 1
    assert double.fails


def test_why_an_iteration_is_not_captured(make_trainer, monkeypatch):
    """The reasons in their order, each without those before it."""

    def reason(family="cartpole", device="cuda", **settings):
        trainer = make_trainer(family, **settings)
        trainer.device = torch.device(device)
        return trainer._reason_against_capturing()

    assert reason() == ""
    assert reason(device="cpu") == "there is no GPU"
    assert reason(compile="off") == "as asked"
    assert reason(agent="recurrent") == "the agent has a state"
    assert reason("cartpole_drift") == "the physics is no function of tensors"
    assert reason(ahead="on") == "the physics is no function of tensors"


def test_the_first_line_says_that_iterations_are_captured(make_captured, tiny, tmp_path, capsys, monkeypatch, graphs):
    monkeypatch.setattr(Trainer, "_reason_against_capturing", lambda trainer: "")
    train("cartpole", run=tmp_path / "run", encoder=False, **tiny)
    assert capsys.readouterr().err.splitlines()[0].endswith("captured in a CUDA graph")
    assert len(graphs) == 1


def test_products_are_rounded_only_within_an_iteration(make_trainer, monkeypatch):
    seen, step = [], Adam.step

    def watched(*args, **kwargs):
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return step(*args, **kwargs)

    monkeypatch.setattr(Adam, "step", watched)
    before = torch.backends.cuda.matmul.fp32_precision
    make_trainer("cartpole").iterate()
    assert set(seen) == {"tf32"}
    assert torch.backends.cuda.matmul.fp32_precision == before != "tf32"
    with pytest.raises(KeyError), tf32():
        raise KeyError
    assert torch.backends.cuda.matmul.fp32_precision == before
