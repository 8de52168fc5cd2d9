"""From what a user types to a family, and the tuned settings of one."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from hyperrl import streams
from hyperrl.config import Config
from hyperrl.envs import Family, InputError, registry
from hyperrl.envs.errors import OTHERS_ERRORS, one_line
from hyperrl.sources import load_file, load_module


def resolve(reference: str) -> Family:
    """The family that a user names: a registered name, ``module:attribute``, or a Python file with ``family``.

    The file is loaded together with its neighbours, and known from now on; see ``hyperrl.sources``.

    Raises:
        InputError: there is no such family, or its physics fails ``Family.check``.
    """
    if not isinstance(reference, str):
        raise InputError(f"family {reference!r}: must be a Family, or the name of one; name one")
    return _resolve(reference, named=True)


def of_run(reference: str, folder: Path) -> Family:
    """The family that a run's settings name. Code that is not registered must be known from this user's own runs.

    Args:
        reference: as ``portable`` wrote it.
        folder: of the run.

    Raises:
        InputError: as ``resolve``, or the code is not known here.
    """
    mine = from_here(reference, folder)
    if not (reference.endswith(".py") or ":" in reference):
        if reference not in registry.families():
            raise InputError(
                f"{folder}: family {reference!r} is not registered here; name it: --family FILE, or "
                "hyperrl.load(folder, family)"
            )
        return _resolve(reference, named=False)
    if reference.endswith(".py") and not Path(mine).is_file():
        raise InputError(f"{folder}: its family's file {mine} is not there; name it: --family FILE")
    found = _resolve(mine, named=False)
    streams.stderr().write(f"family: running {mine}, known from your own runs\n")
    return found


def portable(reference: str, folder: Path) -> str:
    """A reference as a run's settings keep it: a file by its place relative to the run's folder."""
    if not reference.endswith(".py"):
        return reference
    return os.path.relpath(Path(reference).resolve(), folder.resolve())


def from_here(reference: str, folder: Path) -> str:
    """A reference of a run's settings as it is named from the working folder."""
    return os.path.relpath(folder.resolve() / reference) if reference.endswith(".py") else reference


def _resolve(reference: str, named: bool) -> Family:
    if reference.endswith(".py"):
        if not Path(reference).is_file():
            raise InputError(
                f"family {reference!r}: no such file; give the path of a Python file that defines `family`"
            )
        found = _attribute(reference, lambda: load_file(Path(reference), named), "family", "mend the file")
    elif ":" in reference:
        module, _, attribute = reference.partition(":")
        remedy = "give module:attribute of an installed module"
        found = _attribute(reference, lambda: load_module(module, named), attribute, remedy)
    else:
        found = registry.get(reference)
    if not isinstance(found, Family):
        raise InputError(f"family {reference!r}: holds no hyperrl.envs.Family; define one there")
    found.check()
    return found


def _attribute(reference: str, load: Callable[[], ModuleType], name: str, remedy: str) -> object:
    try:
        return getattr(load(), name, None)
    except InputError:
        raise
    except OTHERS_ERRORS as error:
        raise _not_loaded(reference, error, remedy) from None


def _not_loaded(reference: str, error: BaseException, remedy: str) -> InputError:
    what = f"family {reference!r}"
    return registry.not_installed(what, error) or InputError(f"{what}: {one_line(error)}; {remedy}")


class Tuned(NamedTuple):
    """Settings that a family learns well with."""

    training: Mapping[str, Any]
    """Of the meta-loop: fields of ``Config``."""
    expert: Mapping[str, Any]
    """Of Stable-Baselines3's PPO on one variant alone."""
    arms: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """Arm -> what it learns better with than with ``training``."""


NONE = Tuned(training=MappingProxyType({}), expert=MappingProxyType({}))


def configured(family: str | Family, chosen: Mapping[str, Any]) -> tuple[Family, Config]:
    """The family, and its own settings, those of the arm on top of them, and those that were chosen on top of all.

    Raises:
        InputError: there is no such family, or a setting is wrong.
    """
    known = family if isinstance(family, Family) else resolve(family)
    reference = known.name if isinstance(family, Family) else family
    own = tuned(known)
    try:
        config = Config(family=reference).updated(own.training)
    except InputError as error:
        raise InputError(f"family {known.name!r} of {reference}: wrong in its own `training`: {error}") from None
    of_arm = own.arms.get(str(chosen.get("agent", config.agent)), {})
    return known, Config(family=reference).updated({**own.training, **of_arm, **chosen})


def read_training(path: Path) -> dict[str, Any]:
    """The table `[training]` of a TOML file, such as ``hyperrl tune`` writes: fields of ``Config``.

    Raises:
        InputError: the file cannot be read, or has no such table.
    """
    remedy = "give a TOML file with a table [training], as hyperrl tune writes it"
    if not path.is_file():  # a device may never end
        raise InputError(f"{path}: cannot be read (no such file); {remedy}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {one_line(error)}; {remedy}") from None
    found = content.get("training")
    if not isinstance(found, dict):
        raise InputError(f"{path}: has no table [training]; {remedy}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def tuned(family: Family) -> Tuned:
    """The tuned settings of a family: its own where it carries any, else those in ``settings/NAME.toml``.

    NAME is the family's name, or that of the shipped family which it was made from. Where there is no such file there
    are none.
    """
    shipped = _shipped(family.name) or _shipped(family.origin) or NONE
    if family.training:
        return Tuned(family.training, family.expert or shipped.expert)
    return shipped._replace(expert=family.expert or shipped.expert)


@cache
def _shipped(name: str) -> Tuned | None:
    """What ``settings/NAME.toml`` holds, training and expert on top of those of the family that it is ``like``.

    Settings of arms are of one family alone: they would hide what another one has changed in its ``training``.
    """
    path = files("hyperrl") / "settings" / f"{name}.toml"
    if not (name.isidentifier() and path.is_file()):
        return None
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    base = (_shipped(content["like"]) if "like" in content else None) or NONE

    def table(key: str) -> Mapping[str, Any]:
        return MappingProxyType({**getattr(base, key), **content.get(key, {})})

    return Tuned(training=table("training"), expert=table("expert"), arms=MappingProxyType(content.get("arms", {})))
