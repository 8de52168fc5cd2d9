"""Files are written to a temporary folder, loaded as their user will load them, and compared with the policy.

They are compared on random observations and on observations from play. Only what agrees is moved to where it was asked
for.
"""

from __future__ import annotations

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

from hyperrl.agents.distributions import Categorical
from hyperrl.envs import Family, InputError
from hyperrl.envs.actions import first
from hyperrl.export import onnx, program, sb3
from hyperrl.export.plain import Act
from hyperrl.play.actors import AgentActor, half_ranges
from hyperrl.play.episodes import START_SEED
from hyperrl.play.policy import VariantPolicy
from hyperrl.play.rollout import play_steps
from hyperrl.seeds import torch_generator
from hyperrl.storage.files import require_output, write_atomically, write_json

RANDOM = 1000
"""Random observations that a file is compared on."""
PLAY = (4, 125)
"""Copies of a variant, and steps of each, whose observations a file is compared on."""
TOLERANCE = 1e-4
"""Largest difference of an action, in half-ranges; of a discrete one, in the logarithm of its probability."""
INDEX = "index.json"


class Format(NamedTuple):
    """How a file is written, and loaded as its user does."""

    suffix: str
    write: Callable[[VariantPolicy, Path], None]
    load: Callable[[Path], Act]
    clips: bool
    """Whether observations far from the mean are clipped as by the policy itself."""
    require: Callable[[Family], Any] = lambda family: None
    """Raises ``InputError`` where policies of the family cannot be written."""


FORMATS: Mapping[str, Format] = {
    "sb3": Format("zip", sb3.write, sb3.load, clips=False, require=sb3.require_space),
    "onnx": Format("onnx", onnx.write, onnx.load, clips=True, require=lambda family: onnx.libraries()),
    "torch": Format("pt2", program.write, program.load, clips=True),
}


def check_files(paths: Sequence[Path], format: str, force: bool = False) -> None:
    """What ``export`` refuses before a run is loaded.

    Raises:
        InputError: the format is unknown, or a file cannot be written, see ``hyperrl.storage.files.require_output``.
    """
    if format not in FORMATS:
        raise InputError(f"format {format!r}: unknown; choose from {', '.join(FORMATS)}")
    for path in paths:
        require_output(path, (f".{FORMATS[format].suffix}",), force)


def check(family: Family, paths: Sequence[Path], format: str, force: bool = False) -> None:
    """What ``export`` refuses before there is a policy.

    Raises:
        InputError: as ``check_files``, or the format is unfit for the family or its libraries are missing.
    """
    check_files(paths, format, force)
    FORMATS[format].require(family)
    if len({path.absolute() for path in paths}) < len(paths):
        raise InputError(f"{paths[0]}: several policies cannot be one file; give each its own")


def export(policies: Sequence[VariantPolicy], paths: Sequence[Path], format: str, force: bool = False) -> list[float]:
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
    policies: Sequence[VariantPolicy],
    folder: Path,
    format: str,
    force: bool = False,
    about: Mapping[str, Any] | None = None,
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
    require_output(index, (".json",), force)
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
def difference(policy: VariantPolicy, act: Act, obs_NO: np.ndarray) -> float:
    """The largest difference between a file's actions and the policy's, as ``export`` counts it."""
    space = policy.family.action_space
    action_N, own_N = act(obs_NO), policy.predict(obs_NO, deterministic=True)[0]
    if action_N.shape != own_N.shape or not np.isfinite(action_N).all():
        return float("inf")
    if isinstance(space, Box):
        return float((np.abs(action_N - own_N) / half_ranges(space)[1].numpy()).max())
    obs_1NO = torch.as_tensor(obs_NO, device=policy.weights_1D.device)[None]
    distribution, *_ = policy.agent(policy.weights_1D, obs_1NO, policy.agent.begin(1, len(obs_NO)))
    both_N2 = torch.as_tensor(np.stack([own_N, action_N], axis=1) - first(space), device=policy.weights_1D.device)
    assert isinstance(distribution, Categorical)
    own, other = distribution.logits[0].gather(1, both_N2).unbind(1)
    return float((own - other).max())


def _random(policy: VariantPolicy, clips: bool) -> np.ndarray:
    """Observations (N, O) about those of training: within what is not clipped, unless the file clips too."""
    normaliser = policy.agent.normaliser
    shape = (RANDOM, *policy.family.observation_space.shape)
    normal_NO = 3 * torch.randn(shape, generator=torch_generator("exported observations"))
    if clips:
        normal_NO[::10] *= normaliser.limit
    else:
        normal_NO.clamp_(-0.99 * normaliser.limit, 0.99 * normaliser.limit)
    return (normaliser.mean.cpu() + normal_NO / normaliser.scale.cpu()).numpy()


@torch.no_grad()
def _played(policies: Sequence[VariantPolicy]) -> np.ndarray:
    """Observations (T, N, O) from play with the policies, each on its own variant."""
    agent, family, device = policies[0].agent, policies[0].family.in_process(), policies[0].weights_1D.device
    if any(policy.agent is not agent for policy in policies):
        raise ValueError("policies of several agents; export those of one at a time")
    weights_TD, (copies, steps) = torch.cat([policy.weights_1D for policy in policies]), PLAY
    size = family.at_once(copies, len(policies))
    if size < len(policies):
        return np.concatenate([_played(policies[i : i + size]) for i in range(0, len(policies), size)])
    env = family.vector(family.table([policy.parameters for policy in policies]), copies, device, seed=START_SEED)
    obs, _ = env.reset(seed=START_SEED)
    actor = AgentActor(agent, family, weights_TD=weights_TD)
    actor.begin(env)
    seen = [step.obs_NO.view(len(policies), copies, -1) for step in play_steps(env, obs, actor, steps)]
    env.close()
    return torch.cat(seen, dim=1).cpu().numpy()


def _mismatch(policy: VariantPolicy, found: Sequence[float], played_NO: np.ndarray, format: str) -> str:
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
