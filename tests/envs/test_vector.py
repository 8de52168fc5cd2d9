"""T variants x E copies as one vector environment that speaks torch."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode

from hyperrl.envs import InputError, Parameter, PhysicsFamily, PhysicsVectorEnv, registry

CARTPOLE = registry.get("cartpole")
SHORT = dataclasses.replace(CARTPOLE, max_episode_steps=7)
FAMILIES = [family for family in map(registry.get, registry.families()) if isinstance(family, PhysicsFamily)]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def actions(env, n, seed=0):
    """``n`` random actions for every copy."""
    generator = torch.Generator().manual_seed(seed)
    space = env.single_action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return torch.randint(int(space.n), (n, env.num_envs), generator=generator).to(env.device)
    unit = torch.rand(n, env.num_envs, *space.shape, generator=generator, dtype=env.dtype)
    return ((2 * unit - 1) * float(space.high[0])).to(env.device)


def rollout(env, action_steps):
    """Stack what ``step`` returns, with the last observation of each step."""
    steps = [env.step(action) for action in action_steps]
    return [torch.stack(column) for column in zip(*[(*step[:4], step[4]["final_obs"]) for step in steps], strict=True)]


def assert_same(left, right):
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@each_family
def test_shapes_spaces_and_dtypes(family):
    env = PhysicsVectorEnv(family, family.variants("train", 3), copies=2)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.num_envs == 6
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert env.single_observation_space == family.observation_space
    assert env.single_action_space == family.action_space
    obs, info = env.reset(seed=0)
    assert obs.dtype == torch.float32
    assert info == {}
    assert obs.numpy() in env.observation_space
    action = actions(env, 1)[0]
    assert action.numpy() in env.action_space
    obs, reward, terminated, truncated, info = env.step(action)
    assert obs.numpy() in env.observation_space
    assert info["final_obs"].shape == obs.shape
    assert reward.shape == terminated.shape == truncated.shape == info["_final_obs"].shape == (6,)
    assert reward.dtype == torch.float32
    assert terminated.dtype == truncated.dtype == torch.bool


@each_family
def test_rows_go_variant_by_variant(family):
    variants_TP = family.variants("train", 3)
    env = PhysicsVectorEnv(family, variants_TP, copies=2, dtype=torch.float64)
    env.reset(seed=0)
    state = env.state_dict()["state_TEX"]
    action = actions(env, 1)[0]
    _, reward, _, _, info = env.step(action)
    for row in range(6):
        t, e = divmod(row, 2)
        single = gymnasium.make(family.env_id, **family.untable(variants_TP)[t]).unwrapped
        single.reset()
        single.state = state[t, e].numpy()
        obs, want_reward, *_ = single.step(action[row].numpy())
        np.testing.assert_allclose(info["final_obs"][row], obs, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(reward[row], want_reward, rtol=1e-12)


def test_truncation_starts_anew_in_the_same_step():
    env = PhysicsVectorEnv(SHORT, SHORT.table([{}]), copies=3)
    env.reset(seed=0)
    for _ in range(2):
        for step in range(1, 8):
            obs, _, terminated, truncated, info = env.step(torch.tensor([0, 1, step % 2]))
            assert not terminated.any()
            assert truncated.tolist() == info["_final_obs"].tolist() == [step == 7] * 3
            if step < 7:
                assert torch.equal(obs, info["final_obs"])
        assert (obs.abs() <= 0.05).all()
        assert (info["final_obs"][:2, 1].abs() > 0.5).all()


def test_termination_restarts_only_the_copy_that_ended():
    env = PhysicsVectorEnv(CARTPOLE, CARTPOLE.table([{}]), copies=2)
    env.reset(seed=0)
    state = env.state_dict()
    state["state_TEX"][0, 0] = torch.tensor([0.0, 0.0, 0.209, 1.0])
    state["elapsed_TE"][:] = 100
    env.load_state_dict(state)
    obs, reward, terminated, truncated, info = env.step(torch.tensor([0, 0]))
    assert terminated.tolist() == info["_final_obs"].tolist() == [True, False]
    assert not truncated.any()
    assert reward.tolist() == [1.0, 1.0]
    assert info["final_obs"][0, 2] > 0.2095
    assert (obs[0].abs() <= 0.05).all()
    assert torch.equal(obs[1], info["final_obs"][1])
    assert env.state_dict()["elapsed_TE"].tolist() == [[0, 101]]


def test_termination_at_the_time_limit_is_both():
    env = PhysicsVectorEnv(CARTPOLE, CARTPOLE.table([{}]))
    env.reset(seed=0)
    state = env.state_dict()
    state["state_TEX"][0, 0, 2] = 1.0
    state["elapsed_TE"][:] = 499
    env.load_state_dict(state)
    _, _, terminated, truncated, _ = env.step(torch.tensor([0]))
    assert terminated.item()
    assert truncated.item()


def test_answers_are_not_overwritten_by_later_steps():
    env = PhysicsVectorEnv(CARTPOLE, CARTPOLE.variants("train", 2), copies=2)
    answers = [env.reset(seed=0)[0], *env.step(actions(env, 1)[0])[:4]]
    answers.append(env.replace(CARTPOLE.variants("validation", 2), np.array([True, False])))
    answers.append(env.load_state_dict(env.state_dict())[0])
    copies = [answer.clone() for answer in answers]
    rollout(env, actions(env, 20))
    assert_same(answers, copies)


@each_family
def test_replace_changes_only_the_named_variants(family):
    old, new = family.variants("train", 3), family.variants("validation", 3)
    env, other = (PhysicsVectorEnv(family, old, copies=2) for _ in range(2))
    before, _ = env.reset(seed=0)
    other.reset(seed=0)
    obs = env.replace(new, np.array([False, True, False]))
    kept = torch.tensor([True, True, False, False, True, True])
    assert torch.equal(obs[kept], before[kept])
    assert (obs[~kept] != before[~kept]).any(dim=1).all()
    expected = np.array([old[0], new[1], old[2]])
    np.testing.assert_allclose(env.variants_TP, expected, rtol=1e-6)
    mixed = PhysicsVectorEnv(family, expected, copies=2)
    mixed.load_state_dict(env.state_dict())
    more = actions(env, 5)
    after = rollout(env, more)
    assert_same(after, rollout(mixed, more))
    assert torch.equal(after[4][0][kept], other.step(more[0])[4]["final_obs"][kept])


def test_replace_restarts_the_clock():
    env = PhysicsVectorEnv(CARTPOLE, CARTPOLE.variants("train", 2), copies=2)
    env.reset(seed=0)
    rollout(env, actions(env, 3))
    env.replace(CARTPOLE.variants("validation", 2), np.array([True, False]))
    assert env.state_dict()["elapsed_TE"].tolist() == [[0, 0], [3, 3]]


@each_family
def test_state_dict_continues_bit_identically(family, tmp_path):
    family = dataclasses.replace(family, max_episode_steps=13)
    env = PhysicsVectorEnv(family, family.variants("train", 3), copies=2, seed=1)
    env.reset()
    rollout(env, actions(env, 10))
    torch.save(env.state_dict(), tmp_path / "env.pt")
    resumed = PhysicsVectorEnv(family, family.variants("validation", 3), copies=2, seed=2)
    obs, anew_N = resumed.load_state_dict(torch.load(tmp_path / "env.pt", weights_only=True))
    assert not anew_N.any()
    assert obs.shape == (6, *family.observation_space.shape)
    more = actions(env, 30, seed=1)
    assert_same(rollout(env, more), rollout(resumed, more))
    assert_same(env.reset()[0], resumed.reset()[0])


@each_family
def test_seeds_decide_the_starts(family):
    def run(seed, reset_seed=None):
        env = PhysicsVectorEnv(family, family.variants("train", 2), copies=2, seed=seed)
        return [env.reset(seed=reset_seed)[0], *rollout(env, actions(env, 20))]

    assert_same(run(1), run(1))
    assert_same(run(1, reset_seed=3), run(2, reset_seed=3))
    assert not torch.equal(run(1)[0], run(2)[0])
    starts = run(1)[0]
    # a family that is judged from a start of its own may train from a few
    assert family.judged_start or len(torch.unique(starts, dim=0)) == len(starts)


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.simulated], ids=lambda family: family.name)
def test_physics_reads_no_value_and_changes_no_input(family):
    """A tensor on the ``meta`` device has no values: a branch on one, or a copy to the host, would raise."""
    space = family.action_space
    for device in ("meta", "cpu"):
        p = family.values(torch.as_tensor(family.variants("train", 3), device=device))
        state = family.start(torch.full((3, 2, family.draws), 0.25, dtype=torch.float64, device=device), p)
        action = torch.ones(3, 2, *space.shape, dtype=torch.float64, device=device)
        inputs = [state, action, *p.values()]
        copies = [tensor.clone() for tensor in inputs]
        after, reward, terminated = family.step(state, action, p)
        assert after.shape == state.shape
        assert reward.shape == terminated.shape == (3, 2)
        assert family.observe(after, p).shape == (3, 2, *family.observation_space.shape)
        assert device == "meta" or all(torch.equal(a, b) for a, b in zip(inputs, copies, strict=True))


@pytest.mark.parametrize("variants_TP", [np.zeros((0, 5)), np.ones((2, 4)), np.ones(5)])
def test_variants_of_the_wrong_shape_are_refused(variants_TP):
    with pytest.raises(InputError, match=r"variants of shape .*: must be \(T, 5\) with T >= 1"):
        PhysicsVectorEnv(CARTPOLE, variants_TP)


def test_no_copies_and_wrong_actions_are_refused():
    with pytest.raises(InputError, match="copies=0: must be 1 or more"):
        PhysicsVectorEnv(CARTPOLE, CARTPOLE.table([{}]), copies=0)
    env = PhysicsVectorEnv(CARTPOLE, CARTPOLE.table([{}]), copies=3)
    with pytest.raises(RuntimeError, match="shape"):
        env.step(torch.zeros(4))


@each_family
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here: runs where there is one")
def test_cuda_agrees_with_the_cpu(family):
    variants_TP = family.variants("train", 4)
    cpu = PhysicsVectorEnv(family, variants_TP, copies=8, dtype=torch.float64)
    cuda = PhysicsVectorEnv(family, variants_TP, copies=8, dtype=torch.float64, device="cuda")
    obs, _ = cuda.reset(seed=0)
    assert obs.device.type == "cuda"
    cpu.reset(seed=0)
    start = cpu.state_dict()
    cuda.load_state_dict(start | {"generator": cuda.state_dict()["generator"]})
    action = actions(cpu, 1)[0]
    _, reward, terminated, _, info = cuda.step(action.cuda())
    _, want_reward, want_terminated, _, want_info = cpu.step(action)
    torch.testing.assert_close(info["final_obs"].cpu(), want_info["final_obs"], rtol=0, atol=1e-6)
    torch.testing.assert_close(reward.cpu(), want_reward, rtol=0, atol=1e-9)
    assert torch.equal(terminated.cpu(), want_terminated)
    resumed = PhysicsVectorEnv(family, variants_TP, copies=8, dtype=torch.float64, device="cuda")
    resumed.load_state_dict(cuda.state_dict())
    more = actions(cuda, 30)
    assert_same(rollout(cuda, more), rollout(resumed, more))


def test_the_table_that_was_given_stays_as_it_was():
    given_TP = CARTPOLE.variants("train", 2)
    before = given_TP.copy()
    env = PhysicsVectorEnv(CARTPOLE, given_TP, dtype=torch.float64)
    env.replace(CARTPOLE.variants("validation", 2), np.array([True, True]))
    np.testing.assert_array_equal(given_TP, before)


def test_changed_parameters_act_from_the_state_that_is():
    old, new = CARTPOLE.variants("train", 2), CARTPOLE.variants("interpolation", 2)
    env, other = PhysicsVectorEnv(CARTPOLE, old, copies=3), PhysicsVectorEnv(CARTPOLE, new, copies=3)
    env.reset(seed=0)
    for action in actions(env, 5):
        env.step(action)
    other.load_state_dict({**env.state_dict(), "variants_TP": other.variants_TP.clone()})
    env.change(torch.as_tensor(new))
    action = actions(env, 1, seed=1)[0]
    assert_same(env.step(action)[:4], other.step(action)[:4])


def test_a_step_may_answer_with_views_of_the_state_that_it_was_given():
    """What a step hands back by reference is not overwritten by the next start where the episode ends."""

    def step(state, action, p):
        return state, state[..., 0], state[..., 0] >= 0

    family = PhysicsFamily(
        "views",
        (Parameter("gain", "1", 1.0, (0, 1), (0, 2)),),
        Box(0, 1, (1,)),
        Discrete(2),
        max_episode_steps=3,
        draws=1,
        start=lambda draws, p: draws.clone(),
        step=step,
    )
    env = family.vector(family.variants("train", 2), copies=3, seed=0)
    obs, _ = env.reset(seed=0)
    before = obs.clone()
    after, reward, terminated, _, info = env.step(torch.zeros(6, dtype=torch.int64))
    assert terminated.all()
    torch.testing.assert_close(reward, before[:, 0])
    torch.testing.assert_close(info["final_obs"], before)
    assert (after != before).all()
