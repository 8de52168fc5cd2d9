"""A run is a folder: its settings, its checkpoint, and what was made of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from hyperrl import checkpoint
from hyperrl.config import Config
from hyperrl.envs import Family, InputError
from hyperrl.families import resolve
from hyperrl.policy import Policy, generated
from hyperrl.trainer import build_agent

if TYPE_CHECKING:
    from hyperrl.adapt import Adaptation
    from hyperrl.agents.encoder import TransitionEncoder
    from hyperrl.evaluate import Evaluation

SPLIT_SIZE = 64
"""Variants of each split that are saved with a run and played by ``evaluate``."""


def definition(family: Family) -> dict[str, Any]:
    """What a trained agent takes for granted of its family."""
    parameters = [asdict(parameter) for parameter in family.parameters]
    for parameter in parameters:
        del parameter["note"]
    return {
        "name": family.name,
        "parameters": parameters,
        "held_out": dict(family.held_out),
        "fixed": {split: np.asarray(rows).tolist() for split, rows in family.fixed.items()},
        "observations": _space(family.observation_space),
        "actions": _space(family.action_space),
        "max_episode_steps": family.max_episode_steps,
    }


def _space(space: Box | Discrete) -> dict[str, Any]:
    """A space as JSON can hold it: infinite ends as text."""
    if isinstance(space, Discrete):
        return {"n": int(space.n)}
    return {name: [str(end) for end in getattr(space, name).flat] for name in ("low", "high")}


def write_settings(folder: Path, config: Config, family: Family) -> None:
    """Save settings, the family's definition and its splits, before training starts."""
    splits = {split: family.variants(split, SPLIT_SIZE).tolist() for split in family.splits}
    content = {
        "format": checkpoint.FORMAT,
        "config": asdict(config),
        "family": definition(family),
        "splits": splits,
    }
    checkpoint.write_json(folder / "config.json", content)


def read_settings(folder: Path, family: Family | None = None) -> tuple[Config, Family]:
    """Settings and family of the run in ``folder``.

    Raises:
        InputError: there is no run, it is damaged or of another format, or its family has changed since.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: holds no run; name a folder that hyperrl train wrote")
    content = checkpoint.read_json(path)
    damaged = InputError(f"{path}: damaged; restore it, or train again into another folder")
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise damaged
    if content.get("format") != checkpoint.FORMAT:
        raise InputError(f"{path}: format {content.get('format')}, this version reads {checkpoint.FORMAT}; train again")
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content["config"].items()
    }
    if {setting.name for setting in fields(Config)} != set(settings):
        raise damaged
    try:
        config = Config(**settings)
    except TypeError:
        raise damaged from None
    family = family or resolve(config.family)
    if json.loads(json.dumps(definition(family))) != content.get("family"):
        raise InputError(
            f"{path}: family {family.name!r} has other parameters, ranges, spaces or held-out variants than when the "
            "run was trained; restore them, or train again"
        )
    return config, family


class Run:
    """A trained agent and its folder."""

    def __init__(self, folder: str | Path, family: Family | None = None) -> None:
        """Load the run's best checkpoint.

        Args:
            folder: what ``hyperrl train --run`` wrote.
            family: the family, where its reference in the settings cannot be resolved here.

        Raises:
            InputError: there is no run, or it cannot be read.
        """
        self.folder = Path(folder)
        self.config, self.family = read_settings(self.folder, family)
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            raise InputError(f"{self.folder}: stopped before its first checkpoint; go on with hyperrl train --resume")
        state = checkpoint.load_run(path)
        self.agent = build_agent(self.family, self.config, torch.device("cpu"))
        try:
            self.steps, self.best, self.curves = state["steps"], state["best"], state["curves"]
            self.agent.load_state_dict(self.best["agent"])
        except (KeyError, TypeError, AttributeError, RuntimeError):
            raise InputError(f"{path}: belongs to other settings than config.json; restore either") from None
        self.agent.requires_grad_(False)

    @cached_property
    def encoder(self) -> TransitionEncoder:
        """What reads transitions of an unknown variant and says which it may be; see ``hyperrl.inference``.

        A run that has no ``encoder.pt`` yet gets it now.

        Raises:
            InputError: the family has nothing that could be inferred, or the file is damaged or cannot be written.
        """
        from hyperrl.inference import encoder_of

        return encoder_of(self)

    def policy(self, **parameters: float) -> Policy:
        """The policy generated for a variant; parameters left out keep their defaults.

        Outside the training ranges it is generated all the same, with a warning.

        Raises:
            InputError: a parameter is unknown or out of bounds.
        """
        variant = self.family.variant(**parameters)
        note = self.family.range_note(self.family.table([variant]))
        if note:
            warnings.warn(note, stacklevel=2)
        return Policy(self.agent, self.family, variant, gamma=self.config.gamma)

    def policies(self, variants: Iterable[Mapping[str, float]]) -> list[Policy]:
        """The policies of several variants, generated in one call.

        Outside the training ranges they are generated all the same, with a warning.

        Raises:
            InputError: a parameter is unknown or out of bounds.
        """
        complete = [self.family.variant(**variant) for variant in variants]
        note = self.family.range_note(self.family.table(complete))
        if note:
            warnings.warn(note, stacklevel=2)
        weights_TD = generated(self.agent, self.family, complete)
        return [
            Policy(self.agent, self.family, variant, gamma=self.config.gamma, weights_1D=weights_1D)
            for variant, weights_1D in zip(complete, weights_TD.split(1), strict=True)
        ]

    def evaluate(self, split: str = "interpolation", episodes: int = 10, **parameters: float) -> Evaluation:
        """Play greedy episodes on a split, or on one variant where parameters are given.

        Raises:
            InputError: the split or a parameter is unknown or out of bounds.
        """
        from hyperrl.evaluate import evaluate

        return evaluate(self, split=split, episodes=episodes, parameters=parameters or None)

    def adapt(self, mode: str = "all", episodes: int = 5, unknown: bool = False, **parameters: float) -> Adaptation:
        """Adapt the policy of one variant by playing episodes on it; parameters left out keep their defaults.

        Args:
            mode: one of ``hyperrl.adapt.MODES``.
            episodes: to be played.
            unknown: the agent is not told the parameters, only the simulator is.
            parameters: of the variant.

        Raises:
            InputError: as ``hyperrl.adapt.adapt``, or a parameter is unknown or out of bounds.
        """
        from hyperrl.adapt import adapt

        return adapt(self, self.family.table([parameters]), mode, episodes, unknown)
