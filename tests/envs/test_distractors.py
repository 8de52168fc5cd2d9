"""Parameters without effect: what they change, and that they change nothing else."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperrl.envs import InputError, Parameter, PhysicsVectorEnv, registry
from hyperrl.envs.distractors import distractors

PLAIN = registry.get("cartpole_continuous")
FAMILIES = [registry.get(name) for name in ("cartpole", "ode2", "point", "pendulum_signed")]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@each_family
def test_the_other_parameters_and_their_variants_stay(family):
    wrapped = distractors(family, 3)
    own = len(family.names)
    assert wrapped.name == f"{family.name}_d3"
    assert wrapped.names == (*family.names, "distractor_0", "distractor_1", "distractor_2")
    assert wrapped.splits == family.splits
    for split in ("train", *family.splits):
        table_TP = wrapped.variants(split, 64)
        np.testing.assert_array_equal(table_TP[:, :own], family.variants(split, 64))
        assert (table_TP[:, own:] == (1 if split in ("train", "validation") else 0)).all()
    sampled, plain = (f.sample(32, np.random.default_rng(5)) for f in (wrapped, family))
    np.testing.assert_array_equal(sampled[:, :own], plain)
    assert (sampled[:, own:] == 1).all()


@each_family
def test_distractors_do_not_act(family):
    wrapped = distractors(family, 2, train=3.0, evaluation=-1.0)
    wrapped.check()
    plain_TP = family.variants("train", 4)
    tables = [np.pad(plain_TP, ((0, 0), (0, 2)), constant_values=value) for value in (3.0, -1.0, 50.0)]
    envs = [PhysicsVectorEnv(family, plain_TP, copies=2)]
    envs += [PhysicsVectorEnv(wrapped, table_TP, copies=2) for table_TP in tables]
    starts = [env.reset(seed=0)[0] for env in envs]
    assert all(torch.equal(starts[0], start) for start in starts)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        action = 2 * torch.rand(8, *family.action_space.shape, generator=generator) - 1
        action = (action > 0).long() if isinstance(family.action_space, gymnasium.spaces.Discrete) else action
        answers = [env.step(action)[:4] for env in envs]
        assert all(torch.equal(a, b) for other in answers[1:] for a, b in zip(answers[0], other, strict=True))


def test_distractors_reach_the_context_as_they_are():
    wrapped = distractors(PLAIN, 20)
    context_TC = wrapped.encode(torch.as_tensor(wrapped.variants("train", 5)))
    assert context_TC.shape == (5, PLAIN.context_size + 20) == (5, wrapped.context_size)
    assert (context_TC[:, PLAIN.context_size :] == 1).all()
    judged_TC = wrapped.encode(torch.as_tensor(wrapped.variants("interpolation", 5)))
    assert (judged_TC[:, PLAIN.context_size :] == 0).all()
    plain_TC = PLAIN.encode(torch.as_tensor(PLAIN.variants("interpolation", 5)))
    assert torch.equal(judged_TC[:, : PLAIN.context_size], plain_TC)


def test_what_a_user_leaves_out_is_as_in_evaluation_and_far_from_nothing():
    wrapped = distractors(PLAIN, 2)
    assert wrapped.variant(force=-8)["distractor_1"] == 0
    table_TP = wrapped.table([{"distractor_0": 99.0}])
    assert wrapped.in_training_ranges(table_TP).all()
    assert wrapped.range_note(table_TP) == ""
    assert wrapped.distance(wrapped.table([{"force": 20.0}])) == PLAIN.distance(PLAIN.table([{"force": 20.0}]))


@pytest.mark.parametrize(("name", "k"), [("cartpole_continuous_d20", 20), ("cartpole_continuous_d100", 100)])
def test_registered_with_distractors(name, k):
    family = registry.get(name)
    assert family.name == name
    assert sum(parameter.distractor for parameter in family.parameters) == k
    assert family.names[:2] == PLAIN.names
    env = gymnasium.make(family.env_id, force=-12.0, distractor_3=7.0, render_mode="rgb_array")
    plain = gymnasium.make(PLAIN.env_id, force=-12.0, render_mode="rgb_array")
    np.testing.assert_array_equal(env.reset(seed=1)[0], plain.reset(seed=1)[0])
    action = np.array([0.3], dtype=np.float32)
    np.testing.assert_array_equal(env.step(action)[0], plain.step(action)[0])
    np.testing.assert_array_equal(env.render(), plain.render())
    env.close()
    plain.close()


def test_the_twin_is_given_what_it_knows():
    seen = []

    def twin(render_mode=None, **parameters):
        seen.append((render_mode, parameters))
        return registry.get("cartpole").twin(render_mode)

    wrapped = distractors(dataclasses.replace(registry.get("cartpole"), twin=twin), 2)
    wrapped.variant_action_space(wrapped.defaults)
    assert seen == [(None, registry.get("cartpole").defaults)]


def test_the_names_are_free_or_refused():
    assert distractors(PLAIN, 1, name="other", env_id="hyperrl/Other-v0").name == "other"
    for k in (0, 2.5, -1):
        with pytest.raises(InputError, match=f"^k={k}: must be 1 or more distractors, a whole number; use the family"):
            distractors(PLAIN, k)
    with pytest.raises(InputError, match=r"^k='two': must be a number$"):
        distractors(PLAIN, "two")
    with pytest.raises(InputError, match="different names"):
        distractors(distractors(PLAIN, 1), 1)
    with pytest.raises(InputError, match="distractor_0"):
        distractors(PLAIN, 1, train=float("nan"))


@given(st.integers(1, 5), st.floats(-9, 9), st.floats(-9, 9))
@settings(max_examples=20)
def test_any_number_and_values(k, train, evaluation):
    wrapped = distractors(PLAIN, k, train, evaluation)
    assert (wrapped.variants("train", 3)[:, 2:] == train).all()
    assert (wrapped.variants("combination", 3)[:, 2:] == evaluation).all()
    assert wrapped.defaults == PLAIN.defaults | {f"distractor_{i}": evaluation for i in range(k)}


def test_a_distractor_may_have_a_range_in_training():
    """Declared by hand: it is drawn in training, and held at its default elsewhere."""
    loose = Parameter("colour", "1", 0.0, (-1, 1), (-1, 1), distractor=True)
    family = dataclasses.replace(PLAIN, parameters=(*PLAIN.parameters, loose))
    assert len(np.unique(family.variants("train", 50)[:, 2])) == 50
    assert (family.variants("extrapolation", 50)[:, 2] == 0).all()
