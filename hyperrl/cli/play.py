"""hyperrl play."""

from __future__ import annotations

import argparse

from hyperrl.cli.console import Commands, add_force, add_run_and_set, path_of, read_parameters, whole_number


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("play", help="animation of an episode on one variant")
    add_run_and_set(command)
    command.add_argument("--gif", type=path_of, metavar="FILE", required=True, help="GIF to write")
    add_force(command)
    command.add_argument("--seed", type=whole_number, default=0, help="seed of the start (default: 0)")
    command.set_defaults(command=_play)


def _play(args: argparse.Namespace) -> None:
    from hyperrl.api import Run
    from hyperrl.play.frames import play_episode
    from hyperrl.reports.animation import gif_bytes
    from hyperrl.storage.files import require_output, write_atomically

    require_output(args.gif, (".gif",), args.force)
    run = Run(args.folder, args.family)
    frames, fps, total = play_episode(run.policy(**(read_parameters(args.set) or {})), args.seed)
    animation = gif_bytes(frames, fps)
    write_atomically(args.gif, lambda file: file.write_bytes(animation))
    print(f"return {total:.1f}; animation: {args.gif}")
