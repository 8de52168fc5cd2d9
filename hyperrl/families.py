"""From what a user types to a family."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

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
