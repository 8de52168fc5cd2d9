"""Exported policies: the same actions as the policy's, through the libraries that users load them with."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

import hyperrl
from hyperrl.agents import ARMS
from hyperrl.agents.spec import ACTIVATIONS
from hyperrl.agents.target import OrdinaryAgent
from hyperrl.api import Policy
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.envs.drift import Walk
from hyperrl.export import FORMATS, difference, export, export_all
from hyperrl.export import write as writing
from hyperrl.export.plain import plain
from hyperrl.storage.agent import build_agent

CPU = torch.device("cpu")
ORDINARY = [arm for arm, kind in ARMS.items() if issubclass(kind, OrdinaryAgent)]
SOME = ["hyper", "concat", "blind", "film"]
PAGE = Path(__file__).parents[3] / "docs" / "export.md"
VARIANTS = {
    "cartpole": {"gravity": 12.0, "length": 0.8},
    "acrobot": {},
    "pendulum": {"g": 12.0, "max_torque": 1.5},  # the variant's actions are narrower than the family's
    "point": {},  # two actions
}


@pytest.fixture
def policy_of(shaken):
    """A policy of any arm, moved away from its start, on a variant."""

    def make(name, agent="hyper", variant=None, scale=0.1, gamma=0.97, **settings):
        family = registry.get(name) if isinstance(name, str) else name
        settings = {"log_std": -0.7, "hidden": (16, 8), **settings}
        arm = shaken(build_agent(family, Config(family=family.name, agent=agent, **settings), CPU), scale)
        given = VARIANTS[family.name] if variant is None else variant
        return Policy(arm.requires_grad_(False), family, family.variant(**given), gamma=gamma)

    return make


def forward(policy, obs_NO):
    """Distribution over actions and values (1, N) of the policy's own arm, whose state is empty."""
    obs_1NO = torch.as_tensor(obs_NO)[None]
    distribution, value_1N, _ = policy.agent(policy.weights_1D, obs_1NO, policy.agent.begin(*obs_1NO.shape[:2]))
    return distribution, value_1N


def observations(policy, n=200, spread=2.0):
    normaliser = policy.agent.normaliser
    normal = np.random.default_rng(5).normal(0, spread, (n, len(normaliser.mean)))
    return (normaliser.mean.numpy() + normal * np.sqrt(normaliser.var.numpy())).astype(np.float32)


def acts_like_sb3(path):
    model = PPO.load(path, device="cpu")
    return lambda obs: model.predict(obs, deterministic=True)[0]


def acts_like_onnx(path):
    session = onnxruntime.InferenceSession(path)
    return lambda obs: session.run(None, {"obs": obs})[0]


def acts_like_torch(path):
    program = torch.export.load(path).module()
    return lambda obs: program(torch.as_tensor(obs)).numpy()


LOADED = {"sb3": acts_like_sb3, "onnx": acts_like_onnx, "torch": acts_like_torch}


def same(policy, act, obs):
    expected, _ = policy.predict(obs, deterministic=True)
    action = act(obs)
    assert action.dtype == expected.dtype
    assert action.shape == expected.shape
    assert len(np.unique(action, axis=0)) > 1  # so that the test tells observations apart
    np.testing.assert_allclose(action, expected, atol=2e-5)


@pytest.mark.parametrize("agent", SOME)
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("format", FORMATS)
def test_actions_are_the_policys(policy_of, tmp_path, format, name, agent):
    policy, path = policy_of(name, agent), tmp_path / f"policy.{FORMATS[format].suffix}"
    assert 0 <= policy.export(path, format) < 1e-5
    act = LOADED[format](path)
    same(policy, act, observations(policy))
    for n in (1, 3, 1500):
        obs = observations(policy, n)
        np.testing.assert_allclose(act(obs), policy.predict(obs, deterministic=True)[0], atol=2e-5)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_activation(policy_of, tmp_path, format, activation):
    policy = policy_of("pendulum", activation=activation, hidden=(12, 8, 6))
    policy.export(tmp_path / f"p.{FORMATS[format].suffix}", format)
    same(policy, LOADED[format](tmp_path / f"p.{FORMATS[format].suffix}"), observations(policy))


@pytest.mark.parametrize("agent", ORDINARY)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_plain_networks_worked_out_in_numpy(policy_of, name, agent):
    policy = policy_of(name, agent)
    found, obs = plain(policy), observations(policy, 20)
    x = np.clip((obs - found.mean_O.numpy()) * found.scale_O.numpy(), -10, 10)
    outputs = []
    for layers in (found.policy, found.value):
        y = x.T.astype(np.float64)
        for i in range(0, len(layers), 2):
            y = np.tanh(y) if i else y
            y = layers[i].numpy() @ y + layers[i + 1].numpy()[:, None]
        outputs.append(y.T)
    with torch.no_grad():
        distribution, value_TN = forward(policy, obs)
    np.testing.assert_allclose(outputs[1][:, 0], value_TN[0].numpy(), rtol=1e-4, atol=1e-4)
    if found.log_std_A is None:
        shifted = outputs[0] - distribution.logits[0].numpy()  # logits are normalised: equal up to one number a row
        np.testing.assert_allclose(shifted, np.broadcast_to(shifted[:, :1], shifted.shape), atol=1e-5)
        return
    half = {"pendulum": 4.0, "point": 1.0}[name]
    np.testing.assert_allclose(outputs[0], half * distribution.mean[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.log_std_A.exp().numpy(), half * distribution.stddev[0, 0].numpy(), rtol=1e-5)


@pytest.mark.parametrize("format", FORMATS)
def test_far_observations_are_clipped_where_the_file_can(policy_of, tmp_path, format):
    policy = policy_of("pendulum", scale=0.02)
    policy.export(tmp_path / f"p.{FORMATS[format].suffix}", format)
    obs = observations(policy, 100, spread=60.0)
    apart = np.abs(
        LOADED[format](tmp_path / f"p.{FORMATS[format].suffix}")(obs) - policy.predict(obs, deterministic=True)[0]
    ).max()
    assert (apart < 1e-5) == FORMATS[format].clips


def test_a_file_that_cannot_clip_is_refused_where_play_needs_it(policy_of, tmp_path):
    policy = policy_of("pendulum")
    policy.agent.normaliser.var.fill_(1e-4)
    with pytest.raises(InputError, match=r"p\.zip: not written: in play, observations lie \d+ deviations .* onnx or"):
        policy.export(tmp_path / "p.zip", "sb3")
    assert not list(tmp_path.iterdir())
    policy.export(tmp_path / "p.onnx", "onnx")


# Stable-Baselines3


@pytest.mark.parametrize("agent", SOME)
@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_learning_goes_on_from_the_same_policy_and_value(policy_of, tmp_path, name, agent):
    policy = policy_of(name, agent)
    policy.export(tmp_path / "p.zip", "sb3")
    env = policy.family.single(**policy.parameters)
    model = PPO.load(tmp_path / "p.zip", env=env, n_steps=128, device="cpu")
    assert model.gamma == 0.97
    obs = observations(policy)
    with torch.no_grad():
        distribution, value_TN = forward(policy, obs)
        found = model.policy.get_distribution(torch.as_tensor(obs)).distribution
        value = model.policy.predict_values(torch.as_tensor(obs))[:, 0]
    np.testing.assert_allclose(value.numpy(), value_TN[0].numpy(), rtol=1e-4, atol=1e-4)
    if name == "cartpole":
        np.testing.assert_allclose(found.probs.numpy(), distribution.probs[0].numpy(), atol=1e-5)
    else:  # +-4 N m
        np.testing.assert_allclose(found.mean.numpy(), 4 * distribution.mean[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(found.stddev.numpy(), 4 * distribution.stddev[0].numpy(), rtol=1e-5)
    before = {key: value.clone() for key, value in model.policy.state_dict().items()}
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(256)
    assert model.num_timesteps == 256
    after = model.policy.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert env.action_space.contains(model.predict(env.reset(seed=0)[0], deterministic=True)[0])


def test_stable_baselines3_needs_bounded_actions(policy_of, tmp_path):
    space = Box(-np.inf, np.inf, shape=(1,))
    family = dataclasses.replace(registry.get("pendulum"), action_space=space, twin=None)
    policy = policy_of(family)
    with pytest.raises(InputError, match="needs bounded actions; choose onnx or torch"):
        policy.export(tmp_path / "p.zip", "sb3")
    for format in ("onnx", "torch"):
        policy.export(tmp_path / f"p.{FORMATS[format].suffix}", format)
        same(policy, LOADED[format](tmp_path / f"p.{FORMATS[format].suffix}"), observations(policy))


# what else stands in a file


def test_onnx_says_what_it_is(policy_of, tmp_path):
    policy = policy_of("pendulum")
    policy.export(tmp_path / "p.onnx", "onnx")
    model = onnx.load(tmp_path / "p.onnx")
    assert json.loads({entry.key: entry.value for entry in model.metadata_props}["variant"]) == policy.parameters
    inputs, outputs = model.graph.input, model.graph.output
    assert [(x.name, x.type.tensor_type.shape.dim[0].dim_param) for x in (*inputs, *outputs)] == [
        ("obs", "N"),
        ("action", "N"),
    ]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Sub", "Mul", "Clip", "Gemm", "Tanh", "Gemm", "Tanh", "Gemm", "Max", "Min"]


@pytest.mark.slow
def test_the_files_need_no_hyperrl(policy_of, tmp_path):
    policy = policy_of("pendulum")
    paths = {format: tmp_path / f"policy.{FORMATS[format].suffix}" for format in FORMATS}
    for format, path in paths.items():
        policy.export(path, format)
    obs = observations(policy, 5)
    np.save(tmp_path / "obs.npy", obs)
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(snippets) == 3
    code = "import sys\nsys.modules['hyperrl'] = None\nimport numpy as np\nobs = np.load('obs.npy')\n"
    code += "".join(f"{snippet}print(np.asarray(action).tolist())\n" for snippet in snippets)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected, _ = policy.predict(obs, deterministic=True)
    for line in done.stdout.splitlines():
        np.testing.assert_allclose(json.loads(line), expected, atol=1e-5)
    assert len(done.stdout.splitlines()) == 3
    assert "hyperrl" not in done.stderr


def test_other_weights_of_a_variant(policy_of, tmp_path):
    zero_shot = policy_of("pendulum")
    noise = 0.1 * torch.randn(zero_shot.weights_1D.shape, generator=torch.Generator().manual_seed(3))
    weights_1D = (zero_shot.weights_1D + noise).requires_grad_()  # as an optimiser leaves them
    adapted = Policy(zero_shot.agent, zero_shot.family, zero_shot.parameters, weights_1D=weights_1D)
    obs = observations(adapted)
    for format in FORMATS:
        adapted.export(tmp_path / f"p.{FORMATS[format].suffix}", format)
        same(adapted, LOADED[format](tmp_path / f"p.{FORMATS[format].suffix}"), obs)
        apart = np.abs(
            LOADED[format](tmp_path / f"p.{FORMATS[format].suffix}")(obs)
            - zero_shot.predict(obs, deterministic=True)[0]
        )
        assert apart.max() > 0.1


# many at once


@pytest.mark.parametrize("format", FORMATS)
def test_many_are_generated_at_once_and_equal_single_ones(tiny_run, tmp_path, monkeypatch, format):
    run = hyperrl.load(tiny_run.folder)
    run.agent.normaliser.var.mul_(100)  # hardly trained, it sees in play what it never saw in training
    calls, generate = [], run.agent.generate
    monkeypatch.setattr(run.agent, "generate", lambda context: calls.append(context) or generate(context))
    variants = run.family.untable(run.family.variants("interpolation", 4))
    policies = run.policies(variants)
    found = export_all(policies, tmp_path / "new", format)
    assert [context.shape[0] for context in calls] == [4]
    index = json.loads((tmp_path / "new" / "index.json").read_text())
    assert [entry["difference"] for entry in index["variants"]] == found
    for entry, variant in zip(index["variants"], variants, strict=True):
        assert entry["parameters"] == variant
        single = run.policy(**variant)
        assert single.gamma == run.config.gamma
        act, obs = LOADED[format](tmp_path / "new" / entry["file"]), observations(single)
        np.testing.assert_array_equal(act(obs), single.predict(obs, deterministic=True)[0])


def test_policies_of_several_agents_are_refused(policy_of, tmp_path):
    with pytest.raises(ValueError, match="several agents"):
        export([policy_of("pendulum"), policy_of("pendulum")], [tmp_path / "a.onnx", tmp_path / "b.onnx"], "onnx")


# what may go wrong


def test_nothing_is_overwritten_without_force(policy_of, tmp_path):
    policy, path = policy_of("pendulum"), tmp_path / "p.onnx"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"p\.onnx: is there already; overwrite it with --force"):
        policy.export(path, "onnx")
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(InputError, match=r"index\.json: is there already; .* choose another name"):
        export_all([policy], tmp_path, "onnx")
    assert path.read_text() == "mine"
    policy.export(path, "onnx", force=True)
    same(policy, LOADED["onnx"](path), observations(policy))


def test_an_unknown_format(policy_of, tmp_path):
    with pytest.raises(InputError, match="format 'tflite': unknown; choose from sb3, onnx, torch"):
        policy_of("pendulum").export(tmp_path / "new" / "p", "tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_acts_otherwise_is_not_left(policy_of, tmp_path, monkeypatch, format, name):
    policies = [policy_of(name)]
    policies.append(Policy(policies[0].agent, policies[0].family, policies[0].family.defaults))
    wrong = Policy(policies[0].agent, policies[0].family, policies[0].parameters)
    wrong.weights_1D = wrong.weights_1D + 1e-2
    written = []

    def write(policy, path):  # the second file holds other weights
        FORMATS[format].write(wrong if written else policy, path)
        written.append(path)

    monkeypatch.setattr(writing, "FORMATS", {format: FORMATS[format]._replace(write=write)})
    with pytest.raises(InputError, match=r"001\..*: not written: its actions differ from the policy's by .* at most"):
        export_all(policies, tmp_path / "new", format)
    assert len(written) == 2
    assert not (tmp_path / "new").exists()
    assert not any(path.exists() for path in written)


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_what_is_not_finite_differs(policy_of, answer):
    policy = policy_of("pendulum")
    assert difference(policy, lambda obs: np.full((len(obs), 1), answer), observations(policy)) == np.inf
    assert difference(policy, lambda obs: np.zeros(len(obs)), observations(policy)) == np.inf


def test_how_differences_are_counted(policy_of):
    policy = policy_of("pendulum")  # +-4 N m
    obs = observations(policy)
    own, _ = policy.predict(obs, deterministic=True)
    assert difference(policy, lambda obs: own + 0.1, obs) == pytest.approx(0.1 / 4)
    policy = policy_of("cartpole")
    own, _ = policy.predict(obs := observations(policy), deterministic=True)
    assert difference(policy, lambda obs: own, obs) == 0
    with torch.no_grad():
        p = forward(policy, obs)[0].probs[0].numpy()
    row = 7
    other = own.copy()
    other[row] = 1 - own[row]
    expected = np.log(p[row, own[row]] / p[row, other[row]])
    assert difference(policy, lambda obs: other, obs) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_library_is_named_with_its_extra(policy_of, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    expected = f"format 'onnx': what writes and checks it is not installed ({missing}); pip install 'hyperrl[export]'"
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        policy_of("pendulum").export(tmp_path / "p.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_drift_is_warned_of(policy_of, tmp_path):
    family = dataclasses.replace(registry.get("cartpole"), drift={"gravity": Walk(0.01)})
    with pytest.warns(UserWarning, match="^gravity drift within an episode; a file keeps the weights"):
        policy_of(family, variant={}).export(tmp_path / "p.onnx", "onnx")
