"""The notation of rl-baselines3-zoo's files: all that its hyperparams/ppo.yml has, read and never run."""

import dataclasses

import pytest
import torch

from hyperrl.envs import InputError, registry
from hyperrl.experts.settings import expert_settings, make_expert
from hyperrl.experts.zoo import literal

PENDULUM = dataclasses.replace(registry.get("pendulum"), name="bare", origin="bare")
BOTH = {"pi": [256, 256], "vf": [256, 256]}
# from https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/ppo.yml, as YAML reads it; "!!float 1e6" is a float
PUBLISHED = {
    "n_envs": 16,
    "n_timesteps": 1e6,
    "policy": "MlpPolicy",
    "n_steps": 512,
    "batch_size": 128,
    "n_epochs": 20,
    "gamma": 0.9,
    "gae_lambda": 0.98,
    "learning_rate": "lin_3e-4",
    "clip_range": "lin_0.4",
    "ent_coef": 0.00429,
    "vf_coef": 0.19,
    "max_grad_norm": 5,
    "use_sde": True,
    "sde_sample_freq": 4,
    "normalize": True,
}
POLICIES = {
    "dict(log_std_init=-3.29, ortho_init=False)": {"log_std_init": -3.29, "ortho_init": False},
    "dict(log_std_init=-2, ortho_init=False, activation_fn=nn.ReLU, net_arch=[dict(pi=[256, 256], vf=[256, 256])] )": {
        "log_std_init": -2,
        "ortho_init": False,
        "activation_fn": "ReLU",
        "net_arch": BOTH,
    },
    "dict( activation_fn=nn.GELU,\n  net_arch=dict(pi=[256, 256], vf=[256, 256]), )": {
        "activation_fn": "GELU",
        "net_arch": BOTH,
    },
    "{'net_arch': [256, 256], 'activation_fn': th.nn.Tanh}": {"net_arch": [256, 256], "activation_fn": "Tanh"},
    "dict(optimizer_kwargs=dict(eps=1e-5), full_std=True)": {"optimizer_kwargs": {"eps": 1e-5}, "full_std": True},
}
NORMALISERS = {
    "dict(norm_obs=True, norm_reward=False)": {"norm_obs": True, "norm_reward": False},
    "{'norm_obs': False, 'norm_reward': True}": {"norm_obs": False, "norm_reward": True},
}


def test_published_settings_reach_ppo():
    settings = expert_settings(PENDULUM, PUBLISHED)
    assert settings["total_timesteps"] == 1_000_000
    assert isinstance(settings["total_timesteps"], int)
    assert "n_timesteps" not in settings
    expert = make_expert(PENDULUM, {}, settings)
    named = ("n_envs", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "ent_coef", "vf_coef", "use_sde")
    assert {name: getattr(expert, name) for name in named} == {name: PUBLISHED[name] for name in named}
    assert (expert.lr_schedule(0.5), expert.clip_range(0.5)) == pytest.approx((1.5e-4, 0.2))
    assert expert.get_vec_normalize_env().gamma == 0.9


@pytest.mark.parametrize("text", POLICIES)
def test_policies(text):
    settings = expert_settings(PENDULUM, {"policy_kwargs": text})
    assert {name: settings[name] for name in POLICIES[text]} == POLICIES[text]
    assert expert_settings(PENDULUM, {"policy_kwargs": POLICIES[text]}) == settings
    policy = make_expert(PENDULUM, {}, settings).policy
    assert policy.activation_fn is getattr(torch.nn, settings.get("activation_fn", "Tanh"))
    assert policy.log_std_init == settings.get("log_std_init", 0)
    widths = [layer.out_features for layer in policy.mlp_extractor.policy_net if isinstance(layer, torch.nn.Linear)]
    assert widths == ([256, 256] if "net_arch" in settings else [64, 64])


@pytest.mark.parametrize("text", NORMALISERS)
def test_normalisers(text):
    settings = expert_settings(PENDULUM, {"normalize": text, "gamma": 0.5})
    assert settings["normalize"] == NORMALISERS[text]
    normaliser = make_expert(PENDULUM, {}, settings).get_vec_normalize_env()
    assert {name: getattr(normaliser, name) for name in NORMALISERS[text]} == NORMALISERS[text]
    assert normaliser.gamma == 0.5


def test_classes_themselves_and_a_familys_own_steps():
    family = dataclasses.replace(PENDULUM, expert={"n_timesteps": 4e3, "activation_fn": torch.nn.ELU})
    assert expert_settings(family) == {"total_timesteps": 4000, "n_envs": 1, "activation_fn": "ELU"}
    assert expert_settings(family, {"total_timesteps": 5})["total_timesteps"] == 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"env_wrapper": ["rl_zoo3.wrappers.FrameSkip"]}, "^env_wrapper: not supported as expert setting of"),
        ({"vec_env_wrapper": "rl_zoo3.x"}, "^vec_env_wrapper: not supported"),
        ({"frame_stack": 4}, "^frame_stack: not supported"),
        ({"callback": ["rl_zoo3.callbacks.X"]}, "^callback: not supported"),
        ({"monitor_kwargs": "dict(info_keywords=('x',))"}, "^monitor_kwargs: not supported"),
        ({"policy": "CnnPolicy"}, "^policy='CnnPolicy': must be 'MlpPolicy'"),
        ({"tensorboard_log": "logs"}, "^tensorboard_log: unknown expert setting"),
        ({"n_timesteps": 10, "total_timesteps": 10}, "^n_timesteps: unknown"),
        ({"n_timesteps": 10.5}, "^total_timesteps=10.5: must be a whole number"),
        ({"policy_kwargs": "dict(features_extractor_class=nn.Flatten)"}, "^policy_kwargs=.*: must be a dictionary of"),
        ({"policy_kwargs": "dict(gamma=0.9)"}, "^policy_kwargs=.*: must be a dictionary of"),
        ({"policy_kwargs": "[64, 64]"}, "^policy_kwargs=.*: must be a dictionary of"),
        ({"policy_kwargs": "dict(activation_fn=nn.Nothing)"}, "^activation_fn='Nothing': must be the name"),
        ({"policy_kwargs": "dict(activation_fn=nn.functional)"}, "^activation_fn='functional': must be the name"),
        ({"normalize": "dict(norm_ob=True)"}, "^normalize=.*: must be true, false, or a dictionary of clip_obs"),
        ({"normalize": 3}, "^normalize=3: must be true"),
        ({"normalize": "true"}, "^normalize='true': only numbers, .* are read in a text"),
    ],
)
def test_what_is_not_supported_is_named(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        expert_settings(PENDULUM, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('canary').touch()",
        "dict(net_arch=open('canary', 'w'))",
        "dict(**{'a': 1})",
        "{**{'a': 1}}",
        "dict([('a', 1)])",
        "[i for i in range(3)]",
        "(lambda: 1)()",
        "10**10**10",
        "f'{1}'",
        "dict(activation_fn=os.nn.ReLU)",
        "dict(activation_fn=nn.ReLU())",
        "{[]: 1}",
        "3j",
        "a := 1",
        "dict(a=1",
        "(" * 10_000,
        "-" * 100_000 + "1",
        "",
    ],
)
def test_nothing_in_a_text_is_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^normalize=.*: only numbers, texts, lists, dict\(NAME=VALUE\)") as caught:
        literal("normalize", text)
    assert not (tmp_path / "canary").exists()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_values_are_those_of_python():
    assert literal("x", "{'a': [1, -2.5, (True, None)], 'b': 'c'}") == {"a": [1, -2.5, [True, None]], "b": "c"}
