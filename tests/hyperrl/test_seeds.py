"""No two streams of random numbers are alike, and all of them come from one place."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperrl.seeds import STREAMS, drawing, next_seed, numpy_generator, seed_of, stream, torch_generator

ROOT = Path(__file__).parents[2] / "hyperrl"


def test_no_two_streams_are_equal():
    """Every stream of 300 seeds, and of the first iterations of some: as states, and as one number each."""
    keys = [(name, seed) for name in STREAMS for seed in range(300)]
    keys += [("variants", seed, iteration) for seed in range(20) for iteration in range(200)]
    states = {tuple(stream(*key).generate_state(4)) for key in keys}
    assert len(states) == len(keys)
    first = {int(torch_generator(*key).initial_seed()) for key in keys}
    assert len(first) == len(keys)
    assert len({seed_of(name, seed) for name in STREAMS for seed in range(300)}) == len(STREAMS) * 300


def test_neighbouring_seeds_share_no_draw():
    """The actions of seed s were the starts of seed s + 1 once, and the encoder's noise a function of its starts."""
    draws = [torch.rand(1000, generator=torch_generator(name, seed)) for name in STREAMS for seed in range(4)]
    for i, one in enumerate(draws):
        for other in draws[i + 1 :]:
            assert not torch.isin(one, other).float().mean() > 0.01
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


def test_a_stream_is_the_same_again():
    assert numpy_generator("variants", 3, 7).random() == numpy_generator("variants", 3, 7).random()
    assert torch_generator("actions", 3).initial_seed() == torch_generator("actions", 3).initial_seed()
    assert next_seed(5, 0) == 5
    assert len({next_seed(5, number) for number in range(100)}) == 100
    with pytest.raises(ValueError, match="not in tuple"):
        stream("nothing")


def test_nothing_else_in_hyperrl_seeds_a_generator():
    makes = {"manual_seed", "default_rng", "SeedSequence", "RandomState", "seed_everything"}
    found = []
    for path in ROOT.rglob("*.py"):
        if path.name == "seeds.py" or {"envs", "agents"} & set(path.relative_to(ROOT).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if called in makes and "seed_of(" not in ast.unparse(node):
                found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_weights_are_drawn_from_their_stream_whatever_threads_do():
    def first(seed, found):
        with drawing("weights", seed):
            found.append((seed, torch.nn.Linear(200, 200).weight.clone()))

    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    found = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: first(seed, found), [0, 1] * 20))
    for seed in (0, 1):
        weights = [weight for drawn, weight in found if drawn == seed]
        assert all(torch.equal(weights[0], weight) for weight in weights)
    assert not torch.equal(dict(found)[0], dict(found)[1])
    assert torch.equal(torch.rand(5), expected)
