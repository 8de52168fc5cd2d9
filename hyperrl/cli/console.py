"""Shared by the commands: a parser with errors of one line, numbers, variants, tables."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
SPLIT = "interpolation"
SEE = "hyperrl families explains splits"
LONGEST_DURATION = 3_600_000.0
"""Seconds: six weeks."""
WHERE = {name: name for name in ("workers", "backend", "scheduler")}
"""Keywords of ``hyperrl.jobs.run_jobs`` and the options of ``add_workers`` that give them."""

Commands = Any
"""Type of ``ArgumentParser.add_subparsers``' result, which argparse does not name publicly."""


class Parser(argparse.ArgumentParser):
    """Prints errors in one line, and reads -1e-1 as a number."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """As argparse's, which makes a list of ``--`` where an option of one value has it for its value."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "expected one argument")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Print an error in one line; exit status 2."""
        self.exit(EXIT_MISTAKE, f"hyperrl: {one_printable_line(message)}; see {self.prog} --help\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ``ArgumentParser.parse_args``; RUN or FAMILY may follow an option of several values, ``--set a=1 RUN``."""
        words = list(sys.argv[1:] if args is None else args)
        choices = self._subparsers._group_actions[0].choices if self._subparsers else None
        if isinstance(choices, dict) and words and words[0] in choices:
            words[1:] = choices[words[0]].freed(words[1:])
        return super().parse_args(words, namespace)

    def freed(self, words: list[str]) -> list[str]:
        """The words with their positional one in front, where only an option of several values can have taken it.

        That is so where no word stands by itself; then it is the last value of the last such option that has two or
        more.
        """
        taken, i = None, 0
        while i < len(words):
            action, value = self._option(words[i]), "=" in words[i]
            if action is None:
                return words
            i, begun = i + 1, i + 1
            if value or action.nargs == 0:
                continue
            if action.nargs != "+":
                i += action.nargs if isinstance(action.nargs, int) else 1
                continue
            while i < len(words) and (self._option(words[i]) is None) and words[i] != "--":
                i += 1
            taken = i - 1 if i - begun > 1 else taken
        return words if taken is None else [words[taken], *words[:taken], *words[taken + 1 :]]

    def _option(self, word: str) -> argparse.Action | None:
        """The option that a word names, whole or shortened."""
        name = word.partition("=")[0]
        known = self._option_string_actions
        longer = [action for option, action in known.items() if name.startswith("--") and option.startswith(name)]
        return known.get(name) or (longer[0] if longer and name != "--" else None)


def add_run(command: argparse.ArgumentParser) -> None:
    """Declare RUN and --family."""
    command.add_argument("folder", metavar="RUN", type=path_of, help="folder of a run")
    command.add_argument(
        "--family",
        metavar="FAMILY",
        help="file or module:attribute of the run's family, where it has moved or is not your own",
    )


def add_run_and_set(command: argparse.ArgumentParser) -> None:
    """Declare RUN, --family and --set."""
    add_run(command)
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="one variant; other parameters have their defaults",
    )


def one_printable_line(text: str) -> str:
    """The text with its line ends as spaces, and what a terminal would not show as Python writes it."""
    line = " ".join(text.splitlines())
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


def path_of(text: str) -> Path:
    """A path that is not empty and can be printed."""
    if not (text and text.isprintable()):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a path of printable characters; give one")
    return Path(text)


def add_force(command: Any) -> None:
    """Declare --force."""
    command.add_argument("--force", action="store_true", help="overwrite existing files, a run's own never")


def add_workers(command: Any) -> None:
    """Declare --workers, --backend and --scheduler."""
    command.add_argument(
        "--workers",
        type=whole_number,
        metavar="N",
        help="parallel processes (default: one for each core, or the whole cluster)",
    )
    command.add_argument("--backend", help="loky: this machine's processes (default); dask or ray: a cluster")
    command.add_argument("--scheduler", metavar="ADDRESS", help="of the cluster's scheduler, as tcp://10.0.0.1:8786")


def whole_number(text: str) -> int:
    """A whole number, also as 4e5."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number")
    return int(number)


def duration(text: str) -> float:
    """Seconds of a time such as 90s, 10m, 2h or 1.5h.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        seconds = float(text[:-1]) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_DURATION:
        raise argparse.ArgumentTypeError(f"{text}: must be a time above 0 and at most 1000h; give it as 90s, 10m or 2h")
    return seconds


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
    from rich.text import Text

    looks: dict[str, Any] = {
        "title_justify": "left",
        "caption_justify": "left",
        "padding": (0, 1, 0, 0),
        "min_width": len(title),
    }
    # as Text: square brackets in a unit or a name are no markup, and colons no emoji
    under = Text(caption, style="table.caption") if caption else None
    table = Table(title=Text(title, style="table.title"), caption=under, box=SIMPLE_HEAD, **looks)
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)
