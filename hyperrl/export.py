"""Policies as files that need no hyperrl: for Stable-Baselines3, ONNX Runtime or plain PyTorch.

A file is written to a temporary folder, loaded as its user will load it, and compared with the policy on random
observations and on observations from play. Only what agrees is moved to where it was asked for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.distributions import Categorical

from hyperrl.checkpoint import require_writable, write_atomically, write_json
from hyperrl.envs import Family, InputError
from hyperrl.episodes import START_SEED
from hyperrl.policy import Policy
from hyperrl.rollout import half_ranges, to_env_units

RANDOM = 1000
"""Random observations that a file is compared on."""
PLAY = (4, 125)
"""Copies of a variant, and steps of each, whose observations a file is compared on."""
TOLERANCE = 1e-4
"""Largest difference of an action, in half-ranges; of a discrete one, in the logarithm of its probability."""
INDEX = "index.json"

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU}
"""The activations of networks, as modules."""

Act = Callable[[np.ndarray], np.ndarray]
"""Observations (N, O), float32 -> actions (N,) or (N, A) in the units of the action space."""


class Plain(NamedTuple):
    """One variant's networks, which read normalised observations; means, values and deviations in the task's units."""

    policy: list[Tensor]
    """``[weight (H, I), bias (H,), ...]``: the logits of discrete actions, or the means of continuous ones."""
    value: list[Tensor]
    log_std_A: Tensor | None
    mean_O: Tensor
    scale_O: Tensor
    """An observation's distance from the mean is multiplied by it, and then clipped to +-``limit``."""
    limit: float
    low_A: Tensor | None
    high_A: Tensor | None
    """Ends of the variant's action space; ``None`` where actions are discrete."""
    activation: str


@torch.no_grad()
def plain(policy: Policy) -> Plain:
    """Take a policy out of its arm: actions' half-ranges and the scale of values go into the last layers."""
    agent, space = policy.agent, policy.family.action_space
    whole = agent.target.split(agent.whole(policy.weights_1D))
    actor, critic = ([layer[0].detach().cpu() for layer in layers] for layers in whole)
    scale = agent.normaliser.value_scale.cpu()
    critic[-2:] = [critic[-2] * scale, critic[-1] * scale]
    log_std = low = high = None
    if isinstance(space, Box):
        centre, half = half_ranges(space)
        log_std = actor.pop() + half.log()
        actor[-2:] = [actor[-2] * half.unsqueeze(1), actor[-1] * half + centre]
        own = policy.family.variant_action_space(policy.parameters)
        assert isinstance(own, Box)
        low, high = torch.as_tensor(own.low), torch.as_tensor(own.high)
    mean, multiplier = agent.normaliser.mean.cpu(), agent.normaliser.scale.cpu()
    limit, activation = agent.normaliser.limit, agent.spec.activation
    return Plain(actor, critic, log_std, mean, multiplier, limit, low, high, activation)


def _require_bounded(family: Family) -> None:
    if isinstance(family.action_space, Box) and not family.action_space.is_bounded():
        raise InputError("format 'sb3': Stable-Baselines3 needs bounded actions; choose onnx or torch")


def _write_sb3(policy: Policy, path: Path) -> None:
    from stable_baselines3 import PPO

    found = plain(policy)
    env = policy.family.single(None, **policy.parameters)
    widths = {"pi": [len(bias) for bias in found.policy[1:-2:2]], "vf": [len(bias) for bias in found.value[1:-2:2]]}
    architecture = {"net_arch": widths, "activation_fn": ACTIVATIONS[found.activation], "ortho_init": False}
    model = PPO("MlpPolicy", env, gamma=policy.gamma, policy_kwargs=architecture, device="cpu")
    env.close()
    state: dict[str, Tensor] = {} if found.log_std_A is None else {"log_std": found.log_std_A}
    for layers, hidden, last in ((found.policy, "policy_net", "action_net"), (found.value, "value_net", "value_net")):
        # Stable-Baselines3's networks have no normaliser: it goes into the first layer, in float64 for the difference
        weight = layers[0].double() * found.scale_O
        layers = [weight.float(), (layers[1] - weight @ found.mean_O.double()).float(), *layers[2:]]
        for i in range(0, len(layers) - 2, 2):
            state[f"mlp_extractor.{hidden}.{i}.weight"], state[f"mlp_extractor.{hidden}.{i}.bias"] = layers[i : i + 2]
        state[f"{last}.weight"], state[f"{last}.bias"] = layers[-2:]
    model.policy.load_state_dict(state, strict=True)
    model.save(path)


def _load_sb3(path: Path) -> Act:
    from stable_baselines3 import PPO

    model = PPO.load(path, device="cpu")
    return lambda obs_NO: model.predict(obs_NO, deterministic=True)[0]


class _Program(nn.Module):
    """Observations (N, O) -> deterministic actions."""

    def __init__(self, found: Plain) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for weight, bias in zip(found.policy[::2], found.policy[1::2], strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.load_state_dict({"weight": weight, "bias": bias})
            modules += [linear, ACTIVATIONS[found.activation]()]
        self.network = nn.Sequential(*modules[:-1])
        self.limit, self.discrete = found.limit, found.low_A is None
        self.mean_O, self.scale_O = nn.Buffer(found.mean_O), nn.Buffer(found.scale_O)
        self.register_buffer("low_A", found.low_A)
        self.register_buffer("high_A", found.high_A)

    def forward(self, obs: Tensor) -> Tensor:
        """Actions (N,) or (N, A)."""
        x = ((obs - self.mean_O) * self.scale_O).clamp(-self.limit, self.limit)
        output = self.network(x)
        return output.argmax(1) if self.discrete else output.clamp(self.low_A, self.high_A)


def _write_torch(policy: Policy, path: Path) -> None:
    program = _Program(plain(policy)).eval().requires_grad_(False)
    example = torch.zeros(2, *policy.family.observation_space.shape)
    exported = torch.export.export(program, (example,), dynamic_shapes=({0: torch.export.Dim("N", min=1)},))
    torch.export.save(exported, path, extra_files={"variant.json": json.dumps(policy.parameters)})


def _load_torch(path: Path) -> Act:
    program = torch.export.load(path).module()
    return lambda obs_NO: program(torch.as_tensor(obs_NO)).numpy()


def _onnx() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"format 'onnx': what writes and checks it is not installed ({error.name}); pip install 'hyperrl[export]'"
        ) from None
    return onnx, onnxruntime


def _write_onnx(policy: Policy, path: Path) -> None:
    onnx, _ = _onnx()
    found = plain(policy)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, tensor: Any) -> str:
        constants.append(onnx.numpy_helper.from_array(np.asarray(tensor), name))
        return name

    def apply(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(operator, inputs, [f"x{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def activate(x: str) -> str:
        if found.activation == "silu":
            return apply("Mul", x, apply("Sigmoid", x))
        return apply({"tanh": "Tanh", "relu": "Relu", "elu": "Elu"}[found.activation], x)

    x = apply("Mul", apply("Sub", "obs", constant("mean", found.mean_O)), constant("scale", found.scale_O))
    ends = [constant(name, np.float32(end)) for name, end in (("least", -found.limit), ("most", found.limit))]
    x = apply("Clip", x, *ends)
    for i in range(0, len(found.policy), 2):
        x = activate(x) if i else x
        weight, bias = constant(f"weight{i // 2}", found.policy[i]), constant(f"bias{i // 2}", found.policy[i + 1])
        x = apply("Gemm", x, weight, bias, transB=1)
    if found.low_A is None or found.high_A is None:
        kind, shape = onnx.TensorProto.INT64, []
        apply("ArgMax", x, axis=1, keepdims=0)
    else:
        kind, shape = onnx.TensorProto.FLOAT, [len(found.low_A)]
        apply("Min", apply("Max", x, constant("low", found.low_A)), constant("high", found.high_A))
    nodes[-1].output[0] = "action"
    obs = onnx.helper.make_tensor_value_info("obs", onnx.TensorProto.FLOAT, ["N", len(found.mean_O)])
    action = onnx.helper.make_tensor_value_info("action", kind, ["N", *shape])
    graph = onnx.helper.make_graph(nodes, "policy", [obs], [action], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.helper.set_model_props(model, {"family": policy.family.name, "variant": json.dumps(policy.parameters)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _load_onnx(path: Path) -> Act:
    _, onnxruntime = _onnx()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda obs_NO: session.run(["action"], {"obs": obs_NO})[0]


class Format(NamedTuple):
    """How a file is written, and loaded as its user does."""

    suffix: str
    write: Callable[[Policy, Path], None]
    load: Callable[[Path], Act]
    clips: bool
    """Whether observations far from the mean are clipped as by the policy itself."""
    require: Callable[[Family], Any] = lambda family: None
    """Raises ``InputError`` where policies of the family cannot be written."""


FORMATS: Mapping[str, Format] = {
    "sb3": Format("zip", _write_sb3, _load_sb3, clips=False, require=_require_bounded),
    "onnx": Format("onnx", _write_onnx, _load_onnx, clips=True, require=lambda family: _onnx()),
    "torch": Format("pt2", _write_torch, _load_torch, clips=True),
}


def check(family: Family, paths: Sequence[Path], format: str, force: bool = False) -> None:
    """What ``export`` refuses before there is a policy.

    Raises:
        InputError: the format is unknown, unfit for the family or its libraries are missing, or a file is there already
            or cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format {format!r}: unknown; choose from {', '.join(FORMATS)}")
    FORMATS[format].require(family)
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file")
        if path.exists() and not force:
            raise InputError(f"{path}: is there already; overwrite it with --force, or choose another name")
        require_writable(path.parent)


def export(policies: Sequence[Policy], paths: Sequence[Path], format: str, force: bool = False) -> list[float]:
    """Write policies of one agent as files, once each of them has been checked; all of them or none.

    Args:
        policies: one or more variants' policies.
        paths: a file for each.
        format: a key of ``FORMATS``.
        force: overwrite what is there.

    Returns:
        For each file the largest difference between its actions and the policy's, in half-ranges of the action space;
        of discrete actions, by how much the policy finds its own more probable, as a logarithm.

    Raises:
        InputError: the format is unknown or its libraries are missing, a file is there already or cannot be written,
            or its actions are others than the policy's.
    """
    family = policies[0].family
    check(family, paths, format, force)
    chosen = FORMATS[format]
    if family.drift:
        named = ", ".join(family.drift)
        warnings.warn(f"{named} drift within an episode; a file keeps the weights of where they began", stacklevel=2)
    random_NO, played_TNO = _random(policies[0], chosen.clips), _played(policies)
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.{chosen.suffix}" for i in range(len(policies))]
        for policy, played_NO, file, path in zip(policies, played_TNO, files, paths, strict=True):
            chosen.write(policy, file)
            act = chosen.load(file)
            found = [difference(policy, act, obs_NO) for obs_NO in (random_NO, played_NO)]
            if not max(found) <= TOLERANCE:
                raise InputError(f"{path}: not written: {_mismatch(policy, found, played_NO, format)}")
            differences.append(max(found))
        for file, path in zip(files, paths, strict=True):
            write_atomically(path, partial(shutil.copyfile, file))
    return differences


def export_all(
    policies: Sequence[Policy], folder: Path, format: str, force: bool = False, about: Mapping[str, Any] | None = None
) -> list[float]:
    """Write a file for each policy and ``index.json``, which says which variant each is.

    Args:
        policies: one or more variants' policies, of one agent.
        folder: where to.
        format: a key of ``FORMATS``.
        force: overwrite what is there.
        about: what else the index shall say.

    Returns:
        As ``export``.

    Raises:
        InputError: as ``export``.
    """
    index = folder / INDEX
    if index.exists() and not force:
        raise InputError(f"{index}: is there already; overwrite it with --force, or choose another folder")
    digits = max(3, len(str(len(policies) - 1)))
    suffix = FORMATS[format].suffix if format in FORMATS else ""
    names = [f"{i:0{digits}}.{suffix}" for i in range(len(policies))]
    differences = export(policies, [folder / name for name in names], format, force)
    variants = [
        {"parameters": policy.parameters, "file": name, "difference": found}
        for policy, name, found in zip(policies, names, differences, strict=True)
    ]
    write_json(index, {**(about or {}), "format": format, "variants": variants})
    return differences


@torch.no_grad()
def difference(policy: Policy, act: Act, obs_NO: np.ndarray) -> float:
    """The largest difference between a file's actions and the policy's, as ``export`` counts it."""
    space = policy.family.action_space
    action_N, own_N = act(obs_NO), policy.predict(obs_NO, deterministic=True)[0]
    if action_N.shape != own_N.shape or not np.isfinite(action_N).all():
        return float("inf")
    if isinstance(space, Box):
        return float((np.abs(action_N - own_N) / half_ranges(space)[1].numpy()).max())
    distribution, _ = policy.agent(policy.weights_1D, torch.as_tensor(obs_NO, device=policy.weights_1D.device)[None])
    both_N2 = torch.as_tensor(np.stack([own_N, action_N], axis=1), device=policy.weights_1D.device)
    assert isinstance(distribution, Categorical)
    own, other = distribution.logits[0].gather(1, both_N2).unbind(1)
    return float((own - other).max())


def _random(policy: Policy, clips: bool) -> np.ndarray:
    """Observations (N, O) about those of training: within what is not clipped, unless the file clips too."""
    normaliser = policy.agent.normaliser
    shape = (RANDOM, *policy.family.observation_space.shape)
    normal_NO = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if clips:
        normal_NO[::10] *= normaliser.limit
    else:
        normal_NO.clamp_(-0.99 * normaliser.limit, 0.99 * normaliser.limit)
    return (normaliser.mean.cpu() + normal_NO / normaliser.scale.cpu()).numpy()


@torch.no_grad()
def _played(policies: Sequence[Policy]) -> np.ndarray:
    """Observations (T, N, O) from play with the policies, each on its own variant."""
    agent, family, device = policies[0].agent, policies[0].family.in_process(), policies[0].weights_1D.device
    if any(policy.agent is not agent for policy in policies):
        raise ValueError("policies of several agents; export those of one at a time")
    weights_TD = torch.cat([policy.weights_1D for policy in policies])
    to_env, (copies, steps) = to_env_units(family.action_space, device), PLAY
    table_TP = family.table([policy.parameters for policy in policies])
    env = family.vector(table_TP, copies, device, seed=START_SEED)
    obs, _ = env.reset(seed=START_SEED)
    seen = []
    for _ in range(steps):
        obs_TEO = obs.view(len(policies), copies, -1)
        seen.append(obs_TEO.clone())
        distribution, _ = agent(weights_TD, obs_TEO)
        obs, *_ = env.step(to_env(distribution.mode).flatten(0, 1))
    env.close()
    return torch.cat(seen, dim=1).cpu().numpy()


def _mismatch(policy: Policy, found: Sequence[float], played_NO: np.ndarray, format: str) -> str:
    """Why a file is not written, in words."""
    normaliser = policy.agent.normaliser
    obs_NO = torch.as_tensor(played_NO, device=normaliser.mean.device)
    distance = float(((obs_NO - normaliser.mean) * normaliser.scale).abs().max())
    if not FORMATS[format].clips and found[0] <= TOLERANCE and distance > normaliser.limit:
        return (
            f"in play, observations lie {distance:.0f} deviations from their mean; the policy clips them at "
            f"{normaliser.limit:g}, {format} cannot; choose {' or '.join(n for n, f in FORMATS.items() if f.clips)}"
        )
    return (
        f"its actions differ from the policy's by {max(found):.2g}, at most {TOLERANCE:g} is allowed; "
        "choose another format"
    )
