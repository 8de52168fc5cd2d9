"""From what a user types to a family, and the tuned settings of one."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hyperrl.envs import Family, InputError, registry
from hyperrl.envs.errors import one_line


def resolve(reference: str) -> Family:
    """The family named by a registered name, ``module:attribute``, or a path to a Python file with ``family``.

    Raises:
        InputError: there is no such family, or its physics fails ``Family.check``.
    """
    if reference.endswith(".py"):
        path = Path(reference)
        if not path.is_file():
            raise InputError(
                f"family {reference!r}: no such file; give the path of a Python file that defines `family`"
            )
        spec = importlib.util.spec_from_file_location(f"_hyperrl_family_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look up annotations
        try:
            spec.loader.exec_module(module)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise _not_loaded(reference, error, "mend the file") from None
        found = getattr(module, "family", None)
    elif ":" in reference:
        module_name, _, attribute = reference.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute, None)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise _not_loaded(reference, error, "give module:attribute of an installed module") from None
    else:
        found = registry.get(reference)
    if not isinstance(found, Family):
        raise InputError(f"family {reference!r}: holds no hyperrl.envs.Family; define one there")
    found.check()
    return found


def _not_loaded(reference: str, error: BaseException, remedy: str) -> InputError:
    what = f"family {reference!r}"
    return registry.not_installed(what, error) or InputError(f"{what}: {one_line(error)}; {remedy}")


class Tuned(NamedTuple):
    """Settings that a family learns well with."""

    training: Mapping[str, Any]
    """Of the meta-loop: fields of ``Config``."""
    expert: Mapping[str, Any]
    """Of Stable-Baselines3's PPO on one variant alone."""


NONE = Tuned(training=MappingProxyType({}), expert=MappingProxyType({}))


def tuned(family: Family) -> Tuned:
    """The tuned settings of a family: its own where it carries any, else those in ``settings/NAME.toml``.

    NAME is the family's name, or that of the shipped family which it was made from. Where there is no such file there
    are none.
    """
    shipped = _shipped(family.name) or _shipped(family.origin) or NONE
    return Tuned(family.training or shipped.training, family.expert or shipped.expert)


@cache
def _shipped(name: str) -> Tuned | None:
    """What ``settings/NAME.toml`` holds: two tables, on top of those of the family that it is ``like``."""
    path = files("hyperrl") / "settings" / f"{name}.toml"
    if not (name.isidentifier() and path.is_file()):
        return None
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    base = (_shipped(content["like"]) if "like" in content else None) or NONE

    def table(key: str) -> Mapping[str, Any]:
        return MappingProxyType({**getattr(base, key), **content.get(key, {})})

    return Tuned(training=table("training"), expert=table("expert"))
