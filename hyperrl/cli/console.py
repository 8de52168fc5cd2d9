"""Shared by the commands: a parser with errors of one line, numbers, variants, tables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
SPLIT = "interpolation"
SEE = "hyperrl families explains splits"

Commands = Any
"""Type of ``ArgumentParser.add_subparsers``' result, which argparse does not name publicly."""


class Parser(argparse.ArgumentParser):
    """Prints errors in one line, and reads -1e-1 as a number."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Print an error in one line; exit status 2."""
        self.exit(EXIT_MISTAKE, f"hyperrl: {message}; see {self.prog} --help\n")


def add_run_and_set(command: argparse.ArgumentParser) -> None:
    """Declare RUN and --set."""
    command.add_argument("folder", metavar="RUN", type=path_of, help="folder of a run")
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="one variant; other parameters have their defaults",
    )


def path_of(text: str) -> Path:
    """A path that is not empty and can be printed."""
    if not (text and text.isprintable()):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a path of printable characters; give one")
    return Path(text)


def add_force(command: Any) -> None:
    """Declare --force."""
    command.add_argument("--force", action="store_true", help="overwrite existing files, a run's own never")


def whole_number(text: str) -> int:
    """A whole number, also as 4e5."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number")
    return int(number)


def read_parameters(words: Sequence[str] | None) -> dict[str, Any] | None:
    """``["gravity=12"]`` -> ``{"gravity": "12"}``; the family checks names and values."""
    from hyperrl.envs import InputError

    if words is None:
        return None
    pairs = [word.partition("=") for word in words]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise InputError(f"--set {name}{equals}{value}: must be NAME=VALUE, as in gravity=12")
        if sum(name == other for other, _, _ in pairs) > 1:
            raise InputError(f"--set {name}={value}: {name} is given more than once; give it one value")
    return {name: value for name, _, value in pairs}


def given_options(args: argparse.Namespace, **options: str) -> dict[str, Any]:
    """Keyword -> value, for the options that were given."""
    given = {keyword: getattr(args, option) for keyword, option in options.items()}
    return {keyword: value for keyword, value in given.items() if value is not None}


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", right: Sequence[str] = ()
) -> None:
    """Print a table as wide as needed, so that no number is cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    looks: dict[str, Any] = {
        "title_justify": "left",
        "caption_justify": "left",
        "padding": (0, 1, 0, 0),
        "min_width": len(title),
    }
    table = Table(title=title, caption=caption or None, box=SIMPLE_HEAD, **looks)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)
