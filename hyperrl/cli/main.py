"""The command line. Nothing heavy is imported before the arguments are read."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache

from hyperrl import __version__
from hyperrl.cli import adapt, compare, evaluate, experts, export, families, play, train, tune
from hyperrl.cli.console import EXIT_INTERRUPTED, EXIT_MISTAKE, Parser, one_printable_line
from hyperrl.envs.errors import origin
from hyperrl.streams import Stream, occupy

GROUPS = (families, train, tune, evaluate, compare, adapt, experts, play, export)
"""Modules of commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 for a failed audit, 2 for a user's mistake, 130 after Ctrl-C.

    A mistake of the user's, also in the code of a family, is one line. A fault of this package keeps its traceback.
    """
    occupy()
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = _main(arguments)
        finally:
            out.flush()
            err.flush()
        if out.error is not None and not status:
            return _mistake(f"stdout: cannot be written ({out.error.strerror}); write it to another place")
    return status


def _main(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if "command" not in args:
        parser.print_help()
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported; see Config.threads
    from hyperrl.envs import InputError

    with warnings.catch_warnings():
        # what Gymnasium logs of an error in another process, before it raises it here
        of_a_process = (
            r"(?s).*ERROR: (Received the following error|Traceback.*\bInputError\b|Raising the last exception)"
        )
        warnings.filterwarnings("ignore", of_a_process)
        # of each evaluation of a training, say, but once
        say = cache(lambda line: print(f"warning: {line}", file=sys.stderr))
        warnings.showwarning = lambda message, *_: say(str(message))
        try:
            return args.command(args) or 0
        except InputError as error:
            return _mistake(str(error))
        except KeyboardInterrupt as stop:
            print(f"hyperrl: {str(stop) or 'stopped'}", file=sys.stderr)
            return EXIT_INTERRUPTED
        except Exception as error:
            line = _in_words(error)
            if line is None:
                raise
            return _mistake(line)


def _mistake(line: str) -> int:
    print(f"hyperrl: {one_printable_line(line)}", file=sys.stderr)
    return EXIT_MISTAKE


def _in_words(error: Exception) -> str | None:
    """What a user can do about an error; ``None`` where it is a fault of this package, or of a library that it uses."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "can't allocate memory" in what or "out of memory" in what:
        return f"memory is full ({what}); choose fewer variants, copies or episodes, or narrower hidden layers"
    where = origin(error)
    if not where.ours:
        return f"{where.place}: {what}; mend it there"
    if isinstance(error, OSError) and error.strerror:
        if error.filename is not None and where.last:
            return f"{error.filename}: {error.strerror}; name another file or folder"
        return f"{what}, at {where.place}; make room, or mend what it names"
    return None


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = Parser(prog="hyperrl", description="Train once on a family of tasks; get an expert for any variant.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    return parser
