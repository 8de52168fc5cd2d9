"""Experts: the adapter to Stable-Baselines3, its cache, and the scale of normalised returns."""

import dataclasses
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from hyperrl.envs import InputError, PhysicsVectorEnv, registry
from hyperrl.experts import pool
from hyperrl.experts.cache import Job, cached_experts, normalised
from hyperrl.experts.environment import VariantVecEnv
from hyperrl.experts.pool import train_experts
from hyperrl.experts.settings import expert_settings, greedy_returns, make_expert, schedule
from hyperrl.play.actors import Act
from hyperrl.play.episodes import play
from hyperrl.seeds import seed_of

CARTPOLE = registry.get("cartpole")
VARIANT = {"gravity": 12.0, "length": 0.8}
LAYERS = ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net")
TINY = {"total_timesteps": 256, "n_envs": 8, "n_steps": 32, "n_epochs": 1}


def short(steps, family=CARTPOLE, **changes):
    return dataclasses.replace(family, max_episode_steps=steps, **changes)


def test_adapter_returns_what_the_variant_environment_does():
    family, copies = short(15), 5
    adapter = VariantVecEnv(family, VARIANT, copies)
    reference = PhysicsVectorEnv(family, family.table([VARIANT]), copies)
    adapter.seed(3)
    obs, (expected, _) = adapter.reset(), reference.reset(seed=seed_of("starts", 3))
    np.testing.assert_array_equal(obs, expected.numpy())
    rng, lengths, returns, ends = np.random.default_rng(0), np.zeros(copies), np.zeros(copies), 0
    for _ in range(60):
        action = rng.integers(2, size=copies)
        before, kept = obs, obs.copy()
        obs, reward, done, infos = adapter.step(action)
        np.testing.assert_array_equal(before, kept)  # SB3 still uses the last observations after a step
        expected, expected_reward, terminated, truncated, info = reference.step(torch.as_tensor(action))
        np.testing.assert_array_equal(obs, expected.numpy())
        np.testing.assert_array_equal(reward, expected_reward.numpy())
        np.testing.assert_array_equal(done, (terminated | truncated).numpy())
        assert (obs.dtype, reward.dtype, done.dtype) == (np.float32, np.float32, np.bool_)
        lengths, returns = lengths + 1, returns + reward
        for e in range(copies):
            assert infos[e]["TimeLimit.truncated"] == bool(truncated[e] and not terminated[e])
            assert ("terminal_observation" in infos[e]) == ("episode" in infos[e]) == done[e]
            if done[e]:
                np.testing.assert_array_equal(infos[e]["terminal_observation"], info["final_obs"][e].numpy())
                assert infos[e]["episode"]["l"] == lengths[e]
                assert infos[e]["episode"]["r"] == returns[e]
                lengths[e] = returns[e] = 0
                ends += 1
    assert ends > 10


def test_adapter_follows_gymnasiums_cartpole():
    variant, copies = CARTPOLE.variant(**VARIANT), 4
    adapter = VariantVecEnv(short(12), variant, copies, seed=1)
    twins = [CARTPOLE.twin(**variant) for _ in range(copies)]
    obs, lengths = adapter.reset(), [0] * copies
    rng, seen = np.random.default_rng(1), set()
    for _ in range(80):
        # copy 0 is pushed to one side and falls, the others wander
        action = rng.integers(2, size=copies)
        action[0] = 1
        for twin, row in zip(twins, obs, strict=True):
            twin.reset()
            twin.state = row.astype(np.float64)
        obs, reward, done, infos = adapter.step(action)
        for e, twin in enumerate(twins):
            after, twin_reward, terminated, _, _ = twin.step(int(action[e]))
            lengths[e] += 1
            late = lengths[e] == 12
            np.testing.assert_allclose(infos[e].get("terminal_observation", obs[e]), after, atol=1e-5)
            assert reward[e] == twin_reward
            assert done[e] == (terminated or late)
            assert infos[e]["TimeLimit.truncated"] == (late and not terminated)
            if done[e]:
                assert infos[e]["episode"]["l"] == infos[e]["episode"]["r"] == lengths[e]
                assert np.all(np.abs(obs[e]) <= 0.05)
                seen.add("truncated" if infos[e]["TimeLimit.truncated"] else "terminated")
                lengths[e] = 0
    assert seen == {"truncated", "terminated"}


def test_adapter_answers_like_a_vec_env():
    adapter = VariantVecEnv(CARTPOLE, {}, 3)
    assert adapter.action_space == CARTPOLE.action_space
    assert adapter.get_attr("copies") == [3, 3, 3]
    assert not adapter.has_attr("gravity")
    with pytest.raises(NotImplementedError, match="new VariantVecEnv"):
        adapter.set_attr("gravity", 3.0)
    with pytest.raises(InputError, match="length=-1"):
        VariantVecEnv(CARTPOLE, {"length": -1})
    # evaluate_policy warns, which fails here, unless episode statistics are there
    mean, _ = evaluate_policy(PPO("MlpPolicy", adapter, n_steps=8, batch_size=24, device="cpu"), adapter, 3)
    assert mean > 0


def test_starts_follow_the_seed_once():
    adapter = VariantVecEnv(CARTPOLE, {}, 2)
    adapter.seed(5)
    first, second = adapter.reset(), adapter.reset()
    adapter.seed(5)
    np.testing.assert_array_equal(adapter.reset(), first)
    assert not np.array_equal(first, second)


ODE2 = registry.get("ode2")


def test_an_expert_practises_from_the_starts_that_adaptation_plays_from():
    adapter = VariantVecEnv(ODE2, {"c0": 2.0}, 16, judged_starts=True)
    np.testing.assert_array_equal(adapter.reset(), np.ones((16, 1)))
    idle = np.zeros((16, 2), dtype=np.float32)
    for _ in range(ODE2.max_episode_steps):
        obs, _, done, _ = adapter.step(idle)
    assert done.all()
    np.testing.assert_array_equal(obs, np.ones((16, 1)))  # so starts what follows an end
    assert set(VariantVecEnv(ODE2, {}, 64).reset()[:, 0]) == {-1.0, -0.5, 0.5, 1.0}
    expert = make_expert(ODE2, {}, expert_settings(ODE2, {"judged_starts": True}))
    np.testing.assert_array_equal(expert.env.reset(), np.ones((expert.n_envs, 1)))


def test_experts_of_other_starts_are_other_experts(tmp_path):
    table, settings = ODE2.table([{}]), {"total_timesteps": 256, "n_envs": 4, "n_steps": 64, "n_epochs": 1}
    judged = settings | {"judged_starts": True}
    (record,) = train_experts("ode2", table, tmp_path, workers=1, overrides=judged)
    assert record["settings"]["judged_starts"] is True
    assert cached_experts(ODE2, table, tmp_path, overrides=judged) == [record]
    assert cached_experts(ODE2, table, tmp_path, overrides=settings) == [None]


def test_starts_that_a_family_has_not_are_refused():
    with pytest.raises(InputError, match="leave it out"):
        make_expert(CARTPOLE, {}, expert_settings(CARTPOLE, {"judged_starts": True}))
    with pytest.raises(InputError, match="must be true or false"):
        expert_settings(ODE2, {"judged_starts": 1})


def continuous(seen):
    """CartPole under a push in proportion to the action, within limits that are the variant's own."""

    def step(state, action, p):
        seen.append(action.abs().max().item())
        return CARTPOLE.step(state, (action[..., 0] + 1) / 2, p)

    def twin(render_mode=None, **parameters):
        env = CARTPOLE.twin(render_mode, **parameters)
        env.action_space = Box(-0.25, 0.25, (1,), np.float32)
        return env

    return short(50, step=step, twin=twin, action_space=Box(-1, 1, (1,), np.float32))


def test_actions_are_clipped_to_the_variants_own_space():
    seen = []
    family = continuous(seen)
    settings = expert_settings(family, TINY | {"log_std_init": 1.0})
    expert = make_expert(family, {}, settings)
    assert expert.action_space == Box(-0.25, 0.25, (1,), np.float32)
    expert.learn(256)
    with torch.no_grad():
        expert.policy.action_net.bias.fill_(9)
    assert greedy_returns(expert, family, {}).shape == (10,)
    assert max(seen) == 0.25


def test_normaliser_is_frozen_and_used(tmp_path, monkeypatch):
    family = short(50)
    monkeypatch.setattr(pool, "resolve", lambda reference: family)
    settings = expert_settings(family, TINY | {"normalize": True})
    job = Job("any", family.defaults, 0, settings, tmp_path, family.name)
    pool._train(job)
    record = json.loads((tmp_path / f"{job.key}.json").read_text())
    assert record == job.cached(family)
    scales = record["normaliser"]
    # the record alone is enough to play the model again
    with np.load(tmp_path / f"{job.key}.npz", allow_pickle=False) as weights:
        layers = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in LAYERS]
    low = np.array(scales["mean"]) - np.sqrt(np.array(scales["var"]) + scales["epsilon"])
    assert np.all(np.isfinite(low))

    def act(obs):
        sigma = np.sqrt(np.array(scales["var"]) + scales["epsilon"])
        scaled = np.clip((obs.numpy() - scales["mean"]) / sigma, -scales["clip"], scales["clip"])
        hidden = scaled.astype(np.float32)
        for weight, bias in layers[:-1]:
            hidden = np.tanh(hidden @ weight.T + bias)
        weight, bias = layers[-1]
        return torch.as_tensor((hidden @ weight.T + bias).argmax(axis=1))

    played = play(family, family.table([{}]), Act(act), 10)
    assert played.returns_TE[0].tolist() == record["returns"]


def test_settings_reach_ppo():
    settings = expert_settings(
        CARTPOLE, TINY | {"normalize": True, "ortho_init": False, "activation_fn": "ReLU", "net_arch": [8]}
    )
    expert = make_expert(CARTPOLE, {}, settings)
    assert expert.get_vec_normalize_env().gamma == expert.gamma == 0.98
    assert isinstance(expert.policy.mlp_extractor.policy_net[1], torch.nn.ReLU)
    assert expert.policy.action_net.in_features == 8
    assert expert.policy.ortho_init is False
    assert (expert.lr_schedule(1.0), expert.clip_range(0.5)) == (0.001, 0.1)
    published = TINY | {"n_envs": 1, "n_steps": 8, "batch_size": 256}  # rl-zoo's, which SB3 warns of
    make_expert(CARTPOLE, {}, expert_settings(CARTPOLE, published))
    bare = dataclasses.replace(CARTPOLE, name="bare", origin="bare")
    assert expert_settings(bare) == {"total_timesteps": 100_000, "n_envs": 1}


def test_schedule():
    falling = schedule("learning_rate", "lin_0.001")
    assert [falling(left) for left in (1.0, 0.25, 0.0)] == pytest.approx([0.001, 0.00025, 0.0])
    assert schedule("learning_rate", 3e-4) == 3e-4
    assert schedule("clip_range_vf", None) is None
    for wrong in ("cos_0.1", "lin_", "lin_x", "0.1", "lin_nan"):
        with pytest.raises(InputError, match="'lin_'"):
            schedule("learning_rate", wrong)


def test_normalised_by_hand():
    assert normalised([20, 110, 200, 245], 20, 200).tolist() == [0, 0.5, 1, 1.25]
    # one random policy and one expert a variant; negative returns; a scale without a unit
    per_variant = normalised([[-150, -100], [-200, -200]], [[-200], [-200]], [[-100], [-200]])
    assert per_variant[0].tolist() == [0.5, 1]
    assert np.isnan(per_variant[1]).all()
    assert math.isnan(normalised(5, 3, 2))


def test_train_once_then_from_the_cache(tmp_path, monkeypatch):
    table = CARTPOLE.table([VARIANT])
    (record,) = train_experts("cartpole", table, tmp_path, seed=2, workers=1, overrides=TINY)
    assert record["family"] == "cartpole"
    assert record["parameters"] == CARTPOLE.variant(**VARIANT)
    assert (record["seed"], record["steps"], record["settings"]["n_epochs"]) == (2, 256, 1)
    assert len(record["returns"]) == 10
    assert record["mean"] == pytest.approx(np.mean(record["returns"]))
    assert 5 < record["random"] < 60
    assert record["seconds"] > 0
    (path,) = (tmp_path / "cartpole").glob("*.json")
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.stem}.npz"]

    trained = []
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: trained.extend(jobs) or [])
    twice = np.concatenate([table, table])
    assert train_experts("cartpole", twice, tmp_path, seed=2, overrides=TINY) == [record, record]
    assert not trained

    assert cached_experts(CARTPOLE, table, tmp_path) == [None]  # trained with other settings than the family's
    cached = partial(cached_experts, overrides=TINY)
    near, other = table + 1e-12, CARTPOLE.table([{}])
    assert cached(CARTPOLE, np.concatenate([near, other]), tmp_path) == [record, None]
    assert cached(CARTPOLE, table, tmp_path, seed=0) == [None]
    assert cached(CARTPOLE, table, tmp_path / "none") == [None]

    better = record | {"seed": 3, "mean": record["mean"] + 1}
    (path.parent / "another.json").write_text(json.dumps(better))
    (path.parent / "foreign.json").write_text('[1, {"family": "cartpole"}]')
    (path.parent / "family.json").write_text(json.dumps(better | {"family": "acrobot"}))
    (path.parent / "empty.json").write_text(json.dumps(better | {"returns": []}))
    (path.parent / "nan.json").write_text(json.dumps(better | {"mean": math.nan}))
    (path.parent / "bytes.json").write_bytes(b"\xff\xfe\x00")
    assert cached(CARTPOLE, table, tmp_path) == [better]

    path.write_text(path.read_text()[:-40])
    assert cached(CARTPOLE, table, tmp_path, seed=2) == [None]
    with pytest.raises(InputError, match="just trained are not there"):  # nothing is trained by the stand-in
        train_experts("cartpole", table, tmp_path, seed=2, overrides=TINY)
    assert [job.key for job in trained] == [path.stem]


def test_key_tells_experts_apart(tmp_path):
    job = Job("cartpole", CARTPOLE.defaults, 0, {"n_envs": 8}, tmp_path, "cartpole")
    changes = {
        "parameters": CARTPOLE.variant(**VARIANT),
        "seed": 1,
        "settings": {"n_envs": 4},
        "family_name": "acrobot",
    }
    keys = {dataclasses.replace(job, **{name: value}).key for name, value in changes.items()} | {job.key}
    assert len(keys) == 5
    backwards = dict(reversed(job.parameters.items()))
    assert dataclasses.replace(job, parameters=backwards, reference="a path").key == job.key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "carpole"}, "carpole"),
        ({"variants_TP": np.empty((0, 5))}, r"\(0, 5\): must be \(T, 5\) with T >= 1"),
        ({"variants_TP": np.ones((2, 4))}, r"\(2, 4\): must be \(T, 5\)"),
        ({"variants_TP": -np.ones((1, 5))}, "gravity=-1.0: must be within"),
        ({"workers": 0}, "workers=0: must be 1 or more"),
        ({"seed": -1}, "seed=-1: must be within"),
        ({"overrides": {"n_step": 4}}, "n_step: unknown expert setting of family 'cartpole'; choose from"),
        ({"overrides": {"total_timesteps": 0}}, "total_timesteps=0: must be a whole number of 1 or more"),
        ({"overrides": {"clip_range": "lin"}}, "clip_range='lin': must be a number"),
        ({"overrides": {"activation_fn": "Tan"}}, "activation_fn='Tan': must be"),
        ({"overrides": {"policy_kwargs": {1j: 2}}}, "must be numbers, texts, lists"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    usual = {"reference": "cartpole", "variants_TP": CARTPOLE.table([{}]), "root": tmp_path}
    with pytest.raises(InputError, match=message) as caught:
        train_experts(**(usual | arguments))
    assert "\n" not in str(caught.value)


def test_mistakes_that_ppo_finds():
    settings = expert_settings(CARTPOLE, TINY | {"batch_size": 1})
    with pytest.raises(InputError, match="refused by PPO") as caught:
        make_expert(CARTPOLE, {}, settings)
    assert "\n" not in str(caught.value)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/cartpole: cannot be written \(.*\); choose a folder that can"):
        train_experts("cartpole", CARTPOLE.table([{}]), tmp_path / "file")


def test_learning_matches_sb3s_own_vector_environment():
    """Statistics that PPO keeps of episodes are there, as with DummyVecEnv."""
    expert = make_expert(CARTPOLE, {}, expert_settings(CARTPOLE, TINY))
    expert.learn(256)
    own = PPO("MlpPolicy", "CartPole-v1", n_steps=256, n_epochs=1, batch_size=256, device="cpu")
    own.set_logger(expert.logger)
    own.learn(256)
    assert isinstance(own.env, DummyVecEnv)
    assert expert.ep_info_buffer[0].keys() == own.ep_info_buffer[0].keys()
    lengths = [episode["l"] for episode in expert.ep_info_buffer]
    assert 5 < np.mean(lengths) < 60


def test_an_expert_of_other_physics_is_none(tmp_path, monkeypatch):
    family = short(50)
    monkeypatch.setattr(pool, "resolve", lambda reference: family)
    monkeypatch.setattr(pool, "_train_all", lambda jobs, *_: [pool._train(job) for job in jobs])
    table_TP = family.table([{}])
    (first,) = train_experts("any", table_TP, tmp_path, overrides=TINY)
    heavier = short(
        50, step=lambda state, action, p: CARTPOLE.step(state, action, {**p, "masscart": 1.2 * p["masscart"]})
    )
    assert cached_experts(family, table_TP, tmp_path, overrides=TINY) == [first]
    assert cached_experts(heavier, table_TP, tmp_path, overrides=TINY) == [None]
    monkeypatch.setattr(pool, "resolve", lambda reference: heavier)
    (second,) = train_experts("any", table_TP, tmp_path, overrides=TINY)
    assert second["fingerprint"] != first["fingerprint"]
    # a better one of other physics does not hide the one that fits
    (tmp_path / "cartpole" / "foreign.json").write_text(json.dumps(first | {"mean": second["mean"] + 1, "seed": 9}))
    assert cached_experts(heavier, table_TP, tmp_path, overrides=TINY) == [second]


@pytest.mark.parametrize("name", ["gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm"])
def test_settings_that_ppo_would_not_check_are_numbers(name):
    for value in ("high", None, True):
        with pytest.raises(InputError, match=rf"^{name}=.*: must be a number; mend the expert setting of family"):
            expert_settings(CARTPOLE, {name: value})
    assert expert_settings(CARTPOLE, {name: 1})[name] == 1
