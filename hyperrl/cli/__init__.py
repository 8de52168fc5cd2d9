"""The command line: a file for each group of commands."""

from hyperrl.cli.main import build_parser, main

__all__ = ["build_parser", "main"]
