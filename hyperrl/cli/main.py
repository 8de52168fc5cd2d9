"""The command line. Nothing heavy is imported before the arguments are read."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from hyperrl import __version__
from hyperrl.cli import adapt, evaluate, experts, export, families, play, train
from hyperrl.cli.console import EXIT_INTERRUPTED, EXIT_MISTAKE, Parser

GROUPS = (families, train, evaluate, adapt, experts, play, export)
"""Modules of commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 for a failed audit, 2 for a user's mistake, 130 after Ctrl-C."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if "command" not in args:
        parser.print_help()
        return 0
    from hyperrl.envs import InputError

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            return args.command(args) or 0
        except InputError as error:
            print(f"hyperrl: {error}", file=sys.stderr)
            return EXIT_MISTAKE
        except OSError as error:
            print(f"hyperrl: {error.filename}: {error.strerror}; name another file or folder", file=sys.stderr)
            return EXIT_MISTAKE
        except KeyboardInterrupt as stop:
            print(f"hyperrl: {str(stop) or 'stopped'}", file=sys.stderr)
            return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = Parser(prog="hyperrl", description="Train once on a family of tasks; get an expert for any variant.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    return parser
