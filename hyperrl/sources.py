"""Python files of families: loaded together with their neighbours, and known again by what they contain.

A file that a user names is loaded, and so is what it imports from its own folder; the SHA-256 of each file that ran is
kept below ``$XDG_STATE_HOME/hyperrl``. What only a run's settings name is loaded where every file is known from there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.machinery import FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from hyperrl.envs import InputError

_STRANGE = "is not code that you have run here; read it, then name the family yourself: --family FILE"


def load_file(path: Path, named: bool) -> ModuleType:
    """Run a Python file as a module of its own, named after its place.

    Args:
        path: the file.
        named: the user names it, and it is known from now on; else it must be known.

    Raises:
        InputError: the file, or one that it imports from its folder, is not known.
    """
    path = path.resolve()
    if not named:
        _require_known(path, path.read_bytes())
    _beside.serve(path.parent, named)
    name = f"_hyperrl_family_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_loader(name, _Checked(name, str(path), named))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module


def load_module(name: str, named: bool) -> ModuleType:
    """Import a module from where Python finds it, or else from the working folder.

    Args:
        name: dotted name.
        named: as for ``load_file``.

    Raises:
        InputError: as ``load_file``.
    """
    here = Path.cwd()
    if name not in sys.modules or not named:
        files, whole = _files_of(name, here)
        if not (named or whole):
            raise InputError(f"family {name!r}: {_STRANGE}")
        for path in files:
            content = path.read_bytes()
            _remember(path, content) if named else _require_known(path, content)
    _beside.serve(here, named)
    return importlib.import_module(name)


def _files_of(name: str, here: Path) -> tuple[list[Path], bool]:
    """Files of a module and the packages around it, found without running any of them; whether all were found."""
    files: list[Path] = []
    places = [*sys.path, str(here)]
    parts = name.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), places) if parts[depth] else None
        if spec is None:
            return files, False
        if spec.origin and spec.has_location:
            files.append(Path(spec.origin).resolve())
        places = list(spec.submodule_search_locations or [])
    return files, True


class _Checked(SourceFileLoader):
    """Compiles exactly the bytes that it has checked: no bytecode beside the file counts."""

    def __init__(self, fullname: str, path: str, named: bool) -> None:
        super().__init__(fullname, path)
        self.named = named

    def get_code(self, fullname: str) -> CodeType:
        path, content = Path(self.path).resolve(), self.get_data(self.path)
        _remember(path, content) if self.named else _require_known(path, content)
        _beside.loaded[fullname] = path, hashlib.sha256(content).hexdigest()
        return self.source_to_code(content, self.path)


class _Beside:
    """Finds modules that family files import from their own folders, at any time.

    It answers only if no other finder knows the name: a file beside a family never hides an installed package.
    """

    def __init__(self) -> None:
        self.folders: dict[Path, bool] = {}
        """Folder -> whether the user named a file in it."""
        self.loaded: dict[str, tuple[Path, str]] = {}
        """Module -> its file, and the SHA-256 of what ran."""

    def serve(self, folder: Path, named: bool) -> None:
        """Find modules in the folder from now on.

        Raises:
            InputError: it holds another module of the same name as one that a family of another folder has loaded.
        """
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for name, (path, digest) in self.loaded.items():
            for rival in (folder / f"{name}.py", folder / name / "__init__.py"):
                if name in sys.modules and rival != path and rival.is_file() and _digest(rival) != digest:
                    raise InputError(
                        f"{rival}: a family already loaded {path} under the same name; rename either, or use the "
                        "families in processes of their own"
                    )
        self.folders[folder] = named or self.folders.get(folder, False)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As Python's finders do."""
        if path is not None:
            if name.rpartition(".")[0] not in self.loaded:
                return None
            named = getattr(sys.modules[name.rpartition(".")[0]].__loader__, "named", False)
            return next((found for place in path if (found := _spec(name, place, named))), None)
        for folder, named in self.folders.items():
            found = _spec(name, str(folder), named)
            if found:
                others: list[Any] = [finder for finder in sys.meta_path if finder is not self]
                first = next((spec for finder in others if (spec := finder.find_spec(name, None))), None)
                same = first is None or (
                    first.has_location and Path(str(first.origin)).resolve() == Path(str(found.origin))
                )
                return found if same else None
        return None


def _spec(name: str, folder: str, named: bool) -> ModuleSpec | None:
    """Of a source file in the folder."""
    loader: Any = partial(_Checked, named=named)
    finder = FileFinder(folder, (loader, [".py"]))
    found = finder.find_spec(name)
    return found if found is not None and found.loader is not None else None


_beside = _Beside()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _state() -> Path:
    """Where what is known is kept; the XDG rules leave out relative folders."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "hyperrl" / "code"


def _require_known(path: Path, content: bytes) -> None:
    try:
        known = (_state() / f"{hashlib.sha256(content).hexdigest()}.json").is_file()
    except (OSError, RuntimeError):
        known = False
    if not known:
        raise InputError(f"{path}: {_STRANGE}")


def _remember(path: Path, content: bytes) -> None:
    """Keep the digest of a file; where that cannot be done, its runs open with ``--family`` only."""
    try:
        file = _state() / f"{hashlib.sha256(content).hexdigest()}.json"
        if file.is_file():
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(json.dumps({"path": str(path)}) + "\n", encoding="utf-8")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        if not _warned:
            _warned.append(True)
            warnings.warn(f"{path}: not recorded as your own code ({error}); open its runs with --family", stacklevel=2)


_warned: list[bool] = []
