"""A run's folder: its settings, its family's definition, and its best agent."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from hyperrl.config import Config
from hyperrl.envs import Family, InputError, Schedule, Walk
from hyperrl.envs.fingerprint import fingerprint, same_physics
from hyperrl.families import from_here, of_run, resolve
from hyperrl.storage import checkpoint
from hyperrl.storage.agent import build_agent
from hyperrl.storage.device import float32
from hyperrl.storage.files import read_json, write_json

SETTINGS = "config.json"
"""Its name in a run's folder."""
SPLIT_SIZE = 64
"""Variants of each split that are saved with a run and played by ``evaluate``."""


FINGERPRINTED = 3
"""Training variants by whose motion a family's physics is known again, beside the original task."""


def definition(family: Family) -> dict[str, Any]:
    """What a trained agent takes for granted of its family."""
    parameters = [{**asdict(parameter), "scales": list(parameter.encoding)} for parameter in family.parameters]
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
        "drift": {name: _drift(change) for name, change in family.drift.items()},
    }


def _drift(change: Walk | Schedule) -> float | str:
    """A walk's deviation; of a schedule, whose function cannot be compared, that it is one."""
    return change.deviation if isinstance(change, Walk) else "schedule"


def _difference(now: Any, then: Any, where: str = "") -> str:
    """The first place in which two definitions differ, and how; empty where they are equal."""
    if isinstance(now, dict) and isinstance(then, dict):
        keys = [*then, *(key for key in now if key not in then)]
        found = (_difference(now.get(key), then.get(key), f"{where} {key}".strip()) for key in keys)
        return next(filter(None, found), "")
    if where == "parameters" and isinstance(now, list) and isinstance(then, list):
        by_name = [{p.get("name", "?"): p for p in rows if isinstance(p, dict)} for rows in (now, then)]
        inside = _difference(by_name[0], by_name[1], "parameter")
        return inside or ("" if now == then else "its parameters have another order")
    return "" if now == then else f"{where} was {_short(then)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _space(space: Box | Discrete) -> dict[str, Any]:
    """A space as JSON can hold it: infinite ends as text."""
    if isinstance(space, Discrete):
        return {"n": int(space.n), "start": int(space.start)}
    ends = {name: [str(end) for end in getattr(space, name).flat] for name in ("low", "high")}
    return {**ends, "dtype": str(space.dtype)}


def write_settings(folder: Path, config: Config, family: Family) -> str:
    """Save settings, the family's definition and its splits, before training starts; returns the run's identity."""
    splits = {split: family.variants(split, SPLIT_SIZE).tolist() for split in family.splits}
    content = {
        "format": checkpoint.FORMAT,
        "id": secrets.token_hex(16),
        "config": asdict(config),
        "family": definition(family),
        "splits": splits,
        "fingerprint": _fingerprint(family),
    }
    digest = _digest(content)
    write_json(folder / SETTINGS, {**content, "digest": digest})
    return digest


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of all that a run's settings say but where its family is found, which may move."""
    said = {name: value for name, value in content.items() if name != "digest"}
    said["config"] = {name: value for name, value in content["config"].items() if name != "family"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def run_folders(folder: Path) -> list[Path]:
    """The folder itself; or, where it holds the runs of several seeds, theirs, in the order of the seeds."""
    seeds = [path.parent for path in folder.glob(f"seed-*/{SETTINGS}") if path.parent.name[5:].isdecimal()]
    if (folder / SETTINGS).exists() or not seeds:
        return [folder]
    return sorted(seeds, key=lambda path: int(path.name[5:]))


def reference_of(folder: Path) -> str:
    """What names the family of the run in a folder, from the working folder.

    Raises:
        InputError: there is no run, or its settings are damaged.
    """
    return from_here(_read(folder)["config"]["family"], folder)


def require_settings(folder: Path) -> None:
    """See that a run's folder still holds its settings, before anything else is written there.

    Raises:
        InputError: it does not, or is not there itself.
    """
    if not (folder / SETTINGS).is_file():
        raise InputError(f"{folder}: the run's folder is there no longer; train again, and leave it in its place")


def _read(folder: Path) -> dict[str, Any]:
    """The settings as they were written."""
    path = folder / SETTINGS
    if not path.is_file():
        within = sorted(found.parent.name for found in folder.glob(f"*/{SETTINGS}"))
        remedy = f"name a run in it, such as {within[0]}" if within else "name a folder that hyperrl train wrote"
        if run_folders(folder) != [folder]:
            remedy += f", or see all of them with hyperrl compare {folder}"
        raise InputError(f"{folder}: holds no run; {remedy}")
    content = read_json(path)
    damaged = InputError(f"{path}: damaged or edited; restore it, or train again into another folder")
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise damaged
    if content.get("format") != checkpoint.FORMAT:
        raise InputError(
            f"{path}: format {_short(content.get('format'))}, this version reads {checkpoint.FORMAT}; train again"
        )
    if content.get("digest") != _digest(content) or not isinstance(content["config"].get("family"), str):
        raise damaged
    return content


def _fingerprint(family: Family) -> list[float] | None:
    """How the original task and a few training variants move; ``None`` where that is not the same twice."""
    variants_TP = np.concatenate([family.table([{}]), family.variants("train", FINGERPRINTED)])
    found = fingerprint(family, variants_TP)
    return found if np.isfinite(found).all() and same_physics(found, fingerprint(family, variants_TP)) else None


def _same_physics(family: Family, then: object) -> bool:
    """Whether the family moves as it did; true where nobody can tell."""
    now = _fingerprint(family)
    return not isinstance(then, list) or now is None or same_physics(then, now)


class Settings(NamedTuple):
    """What a run's config.json says."""

    config: Config
    family: Family
    identity: str
    """Digest of the file, which the run's checkpoints and its encoder carry."""


def read_settings(folder: Path, family: Family | str | None = None) -> Settings:
    """Settings and family of the run in ``folder``; the family may be given, as a user names it or itself.

    Raises:
        InputError: there is no run, it is damaged or of another format, or its family has changed since.
    """
    path, content = folder / SETTINGS, _read(folder)
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content["config"].items()
    }
    config = Config(**settings)
    if not isinstance(family, Family):
        family = of_run(config.family, folder) if family is None else resolve(family)
    difference = _difference(json.loads(json.dumps(definition(family))), content.get("family"))
    if difference:
        raise InputError(
            f"{path}: family {family.name!r} is not as when the run was trained: {difference}; restore it, name "
            "another with --family, or train again"
        )
    if not _same_physics(family, content.get("fingerprint")):
        raise InputError(
            f"{path}: the physics of family {family.name!r} is no longer that of the training: equal variants, starts "
            "and actions lead elsewhere; restore it, or train again"
        )
    return Settings(config, family, content["digest"])


class StoredRun:
    """A run as its folder holds it; ``hyperrl.api.Run`` is what users know of it."""

    @float32()
    def __init__(self, folder: str | Path, family: Family | str | None = None) -> None:
        """Load the run's best checkpoint.

        Args:
            folder: what ``hyperrl train --run`` wrote.
            family: the family, or what names it as for ``hyperrl.train``. Left out, it is what the run's settings
                name: registered, or code that this user has run here before.

        Raises:
            InputError: there is no run, or it cannot be read.
        """
        self.folder = Path(folder)
        self.config, self.family, self.identity = read_settings(self.folder, family)
        self.reference = family if isinstance(family, str) else from_here(self.config.family, self.folder)
        """What names the family on the command line, from the working folder."""
        path = self.folder / checkpoint.FILE
        if not checkpoint.has_run(self.folder):
            raise InputError(f"{self.folder}: stopped before its first checkpoint; go on with hyperrl train --resume")
        state = checkpoint.load_run(self.folder, self.identity)
        self.agent = build_agent(self.family, self.config, torch.device("cpu"))
        try:
            self.steps, self.best, self.curves = state["steps"], state["best"], state["curves"]
            self.seconds: list[float] = state["seconds"]
            self.agent.load_state_dict(self.best["agent"])
        except (KeyError, TypeError, AttributeError, RuntimeError):
            raise InputError(f"{path}: belongs to other settings than config.json; restore either") from None
        self.agent.requires_grad_(False)
