"""The cache of experts: what each is known by, and what is read of it without executing anything."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from hyperrl.envs import Family, InputError
from hyperrl.envs.fingerprint import fingerprint, same_physics
from hyperrl.experts.settings import expert_settings, make_expert

EXPERTS = Path("runs/experts")
"""Folder of the cache."""

Record = dict[str, Any]
"""What the cache holds of one expert, as in ``hyperrl.experts.pool.train_experts``."""


def normalised(returns: Any, random: Any, expert: Any) -> np.ndarray:
    """(returns - random) / (expert - random): 0 is the random policy, 1 the expert.

    The three broadcast against each other. NaN where the expert is no better than the random policy, since
    the scale has no unit there; what is better than the expert is above 1, and nothing is clipped.
    """
    returns, random, expert = (np.asarray(values, dtype=np.float64) for values in (returns, random, expert))
    above, unit = np.broadcast_arrays(returns - random, expert - random)
    return np.divide(above, unit, out=np.full(above.shape, np.nan), where=unit > 0)


@dataclass(frozen=True)
class Job:
    """One expert to train: everything that a process needs, and nothing that does not pickle."""

    reference: str
    parameters: dict[str, float]
    seed: int
    settings: dict[str, Any]
    folder: Path
    family_name: str

    @property
    def key(self) -> str:
        """Name of the expert's files: the beginning of a SHA-256 of what it was trained with."""
        content = [self.family_name, self.parameters, self.seed, self.settings]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def weights(self) -> Path:
        """The file of the policy's weights."""
        return self.folder / f"{self.key}.npz"

    def stored(self, record: Record) -> bytes | None:
        """What that file holds; ``None`` where it is not what the record says."""
        content = self.weights.read_bytes() if self.weights.is_file() else b""
        return content if _digest(content) == record.get("weights") else None

    def record(self, family: Family) -> Record | None:
        """The record, where the cache has it and the physics is still the same."""
        record = _read(self.folder / f"{self.key}.json", family)
        mine = {"parameters": self.parameters, "seed": self.seed, "settings": self.settings}
        if record is None or any(record[name] != value for name, value in mine.items()):
            return None
        return record if as_trained(record, family) else None

    def cached(self, family: Family) -> Record | None:
        """The record, where the cache also has the weights that belong to it."""
        record = self.record(family)
        return record if record and self.stored(record) else None


def packed(expert: PPO) -> tuple[bytes, str]:
    """The weights of an expert's policy as an ``.npz`` file, arrays by their names, and the digest of it."""
    file = io.BytesIO()
    np.savez(file, **{name: weight.numpy() for name, weight in expert.policy.state_dict().items()})
    return file.getvalue(), _digest(file.getvalue())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cached_experts(
    family: Family,
    variants_TP: np.ndarray,
    root: Path | str = EXPERTS,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Record | None]:
    """The record of each variant's expert, or ``None`` where the cache has none.

    Only experts trained with the family's own settings count. Parameters must agree to 1e-9. Where there are
    several experts, the one with the highest mean return is taken. Files that are truncated, foreign or another
    family's are passed over, and so are experts of other physics; nothing read is executed.

    Args:
        family: the task.
        variants_TP: variants (T, P) in SI units.
        root: folder of the cache; it need not exist.
        seed: of training; any where ``None``.
        overrides: settings that replace the family's own, as for ``train_experts``.

    Raises:
        InputError: no variants, one out of bounds, or ``root`` is no folder.
    """
    if Path(root).exists() and not Path(root).is_dir():
        raise InputError(f"{root}: is no folder; name the folder of the experts' cache")
    variants = checked_variants(family, variants_TP)
    settings = expert_settings(family, overrides)
    read = (_read(path, family) for path in sorted(expert_folder(Path(root), family).glob("*.json")))
    records = [record for record in read if record is not None and record["settings"] == settings]
    if seed is not None:
        records = [record for record in records if record["seed"] == seed]

    def fits(record: Record, variant: Mapping[str, float]) -> bool:
        return all(
            math.isclose(record["parameters"][name], variant[name], rel_tol=1e-9, abs_tol=1e-9) for name in variant
        )

    found = [[record for record in records if fits(record, variant)] for variant in variants]
    ranked = [sorted(records, key=lambda record: -record["mean"]) for records in found]
    return [next((record for record in records if as_trained(record, family)), None) for records in ranked]


def load_expert(family: Family, record: Record, root: Path | str = EXPERTS) -> PPO:
    """The expert of a record: built from the settings, with the weights that the cache has; nothing read is executed.

    Raises:
        InputError: they are not those that the record names.
    """
    folder = expert_folder(Path(root), family)
    job = Job("", record["parameters"], record["seed"], record["settings"], folder, family.name)
    expert = make_expert(family, job.parameters, job.settings, job.seed)
    cast(VecEnv, expert.env).close()
    try:
        with np.load(io.BytesIO(job.stored(record) or b""), allow_pickle=False) as arrays:
            expert.policy.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
    except (EOFError, ValueError, TypeError, AttributeError, RuntimeError, BadZipFile):
        raise InputError(f"{job.weights}: not this expert's weights; delete it, and they are learned anew") from None
    return expert


def as_trained(record: Record, family: Family) -> bool:
    """Whether the variant still moves as when its expert was trained."""
    return same_physics(record["fingerprint"], fingerprint(family, family.table([record["parameters"]])))


def checked_variants(family: Family, variants_TP: np.ndarray) -> list[dict[str, float]]:
    """Variants (T, P) as dictionaries.

    Raises:
        InputError: no variants, or one out of bounds.
    """
    variants_TP = np.asarray(variants_TP, dtype=np.float64)
    if variants_TP.ndim != 2 or not len(variants_TP) or variants_TP.shape[1] != len(family.names):
        width = len(family.names)
        raise InputError(f"variants of shape {variants_TP.shape}: must be (T, {width}) with T >= 1; ask for 1 or more")
    return [family.variant(**variant) for variant in family.untable(variants_TP)]


def expert_folder(root: Path, family: Family) -> Path:
    """Where a family's experts lie in the cache."""
    return root / re.sub(r"[^\w-]", "_", family.name)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in value
    )


def _is_normaliser(value: Any, size: int) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(value.get(name), list) and len(value[name]) == size for name in ("mean", "var"))
        and all(map(_is_number, (*value["mean"], *value["var"], value.get("epsilon"), value.get("clip"))))
    )


def _read(path: Path, family: Family) -> Record | None:
    """The record in a file, or ``None`` where it is not one of the family's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("family") != family.name:
        return None
    parameters, returns = record.get("parameters"), record.get("returns")
    whole = (
        isinstance(parameters, dict)
        and set(parameters) == set(family.names)
        and all(map(_is_number, parameters.values()))
        and isinstance(returns, list)
        and len(returns) > 0
        and all(map(_is_number, returns))
        and isinstance(record.get("fingerprint"), list)
        and all(map(_is_number, record["fingerprint"]))
        and _is_curve(record.setdefault("curve", []))  # an earlier version drew none
        and all(_is_number(record.get(name)) for name in ("mean", "random", "seed", "steps", "seconds"))
        and isinstance(record.get("settings"), dict)
        and _is_normaliser(record.get("normaliser"), math.prod(family.observation_space.shape))
    )
    return record if whole else None
