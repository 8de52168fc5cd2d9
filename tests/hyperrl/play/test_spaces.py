"""Action and observation spaces as people write them, from training to exported files."""

import numpy as np
import pytest
import torch
from gymnasium import Env
from gymnasium.spaces import Box, Discrete

import hyperrl
from hyperrl.adaptation.inference import rows
from hyperrl.envs import Attribute, GymnasiumFamily, InputError, Parameter
from hyperrl.envs.actions import fitting
from hyperrl.envs.audit import audit
from hyperrl.envs.audit.playing import actions_of
from hyperrl.experts.environment import VariantVecEnv, sb3_space
from hyperrl.export.write import FORMATS
from hyperrl.play.actors import random_actions, to_env_units

TINY = {"variants": 4, "copies": 2, "rollout": 16, "steps": 512, "evaluations": 1, "device": "cpu", "quiet": True}
LARGEST = float(np.finfo(np.float32).max)
SPACES = {
    "doubles": Box(np.array([-0.1, 0.0]), np.array([0.1, 0.3]), dtype=np.float64),
    "halves": Box(-0.1, 0.3, (2,), np.float16),
    "whole": Box(0, 10, (2,), np.int64),
    "bytes": Box(0, 255, (1,), np.uint8),
    "negative": Box(-3, 2, (1,), np.int8),
    "one": Box(-1, 1, (1,), np.float32),
    "equal": Box(np.array([-1.0, 0.5], np.float32), np.array([1.0, 0.5], np.float32)),
    "huge": Box(-1e30, 1e30, (1,), np.float32),
    "largest": Box(-LARGEST, LARGEST, (1,), np.float32),
    "open": Box(-np.inf, np.inf, (1,), np.float64),
    "half_open": Box(0, np.inf, (1,), np.float32),
    "any_integer": Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64),
    "from_minus_one": Discrete(3, start=-1),
    "from_seven": Discrete(4, start=7),
}
each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


class Cart(Env):
    """Pushed along a line by an action that it checks, and then overwrites."""

    def __init__(self, action_space):
        self.action_space, self.observation_space = action_space, Box(-np.inf, np.inf, (2,), np.float32)
        self.gain, self.seen = 1.0, np.zeros(4, dtype=np.float32)

    def observe(self):
        self.seen[::2] = self.x, self.v
        return self.seen[::2]  # one array for ever, and not contiguous

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1), 0.0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        push = np.tanh(float(np.asarray(action).flat[0]) / 5)
        if isinstance(self.action_space, Box):
            action *= 0
        self.v = 0.8 * self.v + 0.2 * self.gain * push
        self.x += 0.5 * self.v
        return self.observe(), -abs(self.x), False, False, {}


GAIN = Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0), "(0, 10]")


def cart(space, make=Cart, **more):
    given = {"name": "cart", "make": make, "parameters": (GAIN,), "apply": {"gain": Attribute("gain")}}
    return GymnasiumFamily(**given, arguments={"action_space": space}, max_episode_steps=20, **more)


TRAINED = ("doubles", "whole", "equal", "from_minus_one")


@pytest.fixture(params=[SPACES[name] for name in TRAINED], ids=TRAINED, scope="module")
def run(request, tmp_path_factory):
    """A run on a family with each of the spaces; every action of it was within the space."""
    folder = tmp_path_factory.mktemp("runs") / "cart"
    return hyperrl.train(cart(request.param), run=folder, encoder=False, **TINY)


def test_every_action_lies_in_the_space(run):
    space = run.family.action_space
    policy = run.policy(gain=1.5)
    obs = 9 * np.random.default_rng(0).normal(size=(200, 2))
    for deterministic in (True, False):
        actions, _ = policy.predict(obs, deterministic=deterministic)
        assert all(space.contains(action) for action in actions)
        assert space.contains(policy.predict(obs[0], deterministic=deterministic)[0])
    assert np.isfinite(run.evaluate("interpolation", episodes=2).returns_TE).all()


def test_files_of_every_format_answer_within_the_space(run, tmp_path):
    space, policy = run.family.action_space, run.policy(gain=1.5)
    obs = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for format, name in (("onnx", "p.onnx"), ("torch", "p.pt2")):
        assert policy.export(tmp_path / name, format) <= 1e-4
        actions = FORMATS[format].load(tmp_path / name)(obs)
        assert all(space.contains(action) for action in actions)
        np.testing.assert_allclose(actions, policy.predict(obs, deterministic=True)[0], rtol=1e-5, atol=1e-6)
    if isinstance(space, Discrete) or space.dtype not in (np.float32, np.float64):
        with pytest.raises(InputError, match=r"^format 'sb3': Stable-Baselines3 .*; choose onnx or torch$"):
            policy.export(tmp_path / "p.zip", "sb3")
    else:
        assert policy.export(tmp_path / "p.zip", "sb3") <= 1e-4


@each_space
def test_whatever_acts_stays_in_the_space(space):
    family = cart(space)
    actor = random_actions(family)
    drawn = np.concatenate([actor.act(torch.zeros(64, 2)).numpy() for _ in range(20)])
    audited = actions_of(family, 100, 8, 0).reshape(-1, *space.shape)
    for actions in (drawn, audited):
        assert all(space.contains(action) for action in fitting(space, actions))
        if isinstance(space, Discrete):
            assert set(actions.tolist()) == set(range(int(space.start), int(space.start + space.n)))
        elif np.issubdtype(space.dtype, np.integer) and space.high.max() <= 10:
            assert {*actions.flat} == set(range(int(space.low.min()), int(space.high.max()) + 1))
    experts = VariantVecEnv(family, {"gain": 1.5}, copies=3)
    assert experts.action_space == sb3_space(space)
    experts.reset()
    for _ in range(25):  # the cart asserts that the actions are in its space
        obs, *_ = experts.step(np.stack([experts.action_space.sample() for _ in range(3)]))
    assert np.isfinite(obs).all()
    experts.close()


@each_space
def test_transitions_as_the_encoder_reads_them_are_finite_and_of_moderate_size(space):
    family = cart(space)
    drawn = torch.randint(int(space.n), (6,)) if isinstance(space, Discrete) else torch.randn(6, *space.shape)
    action = to_env_units(space, torch.device("cpu"))(drawn)
    ((taken, _), _) = rows(family, torch.zeros(6, 2), action, torch.zeros(6), torch.ones(6, 2))
    assert taken.isfinite().all()
    assert (taken.abs() <= 5).all()
    if isinstance(space, Discrete):
        assert taken[:, 2:].argmax(1).tolist() == drawn.tolist()


def test_numbers_become_actions_as_computed_by_hand():
    whole = to_env_units(SPACES["whole"], torch.device("cpu"))
    assert whole(torch.tensor([[-9.0, 0.0], [0.15, 0.25], [1.0, 3.0]])).tolist() == [[0, 5], [6, 6], [10, 10]]
    assert to_env_units(SPACES["from_minus_one"], torch.device("cpu"))(torch.tensor([0, 1, 2])).tolist() == [-1, 0, 1]
    equal = to_env_units(SPACES["equal"], torch.device("cpu"))
    assert equal(torch.tensor([[0.5, 7.0]])).tolist() == [[0.5, 0.5]]
    assert to_env_units(SPACES["huge"], torch.device("cpu"))(torch.tensor([[2.5]])).tolist() == [[2.5]]
    # a float32 of 0.1 is larger than the float64
    found = fitting(SPACES["doubles"], np.array([[1.0, 1.0]], dtype=np.float32))
    assert found.dtype == np.float64
    assert found.tolist() == [[0.1, 0.3]]


def test_what_an_environment_overwrites_is_not_what_was_learned_from():
    """Actions, and the one array in which all copies observe."""
    shared = np.zeros(4, dtype=np.float32)

    class Sharing(Cart):
        def __init__(self, action_space):
            super().__init__(action_space)
            self.seen = shared

    twins = [cart(SPACES["one"], make) for make in (Cart, Sharing)]
    envs = [family.vector(np.array([[0.6], [1.9]]), copies=2, seed=4) for family in twins]
    seen = []
    for env in envs:
        obs, _ = env.reset(seed=4)
        action = torch.full((4, 1), 0.7)
        steps = [env.step(action) for _ in range(3)]
        assert (action == 0.7).all()
        seen.append(torch.stack([obs, *(step[0] for step in steps)]))
        env.close()
    assert torch.equal(*seen)
    assert len(seen[0][0].unique(dim=0)) == 4


def test_an_observation_of_negative_strides_is_read(run):
    policy = run.policy()
    obs = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    turned = obs[::-1, ::-1]
    same, _ = policy.predict(np.ascontiguousarray(turned), deterministic=True)
    np.testing.assert_array_equal(policy.predict(turned, deterministic=True)[0], same)


def test_the_audit_plays_discrete_actions_from_anywhere():
    assert audit(cart(SPACES["from_seven"])).passed
