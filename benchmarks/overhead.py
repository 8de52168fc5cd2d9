"""Where the time of `hyperrl train FAMILY` goes: the loop, and each other part as a share of it.

    python benchmarks/overhead.py [cartpole point half_cheetah_velocity] [--steps N]

The whole command, started as a user starts it; each part is timed within. What is left are imports, the family's
check, the environments' set-up, and Python's end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from common import save

FAMILIES = ("cartpole", "point", "half_cheetah_velocity")


def timed_parts() -> dict[str, float]:
    """Let the parts of a training count their seconds, in the dictionary that is returned."""
    from hyperrl import api
    from hyperrl.reports.tensorboard import RunLog
    from hyperrl.training import loop
    from hyperrl.training.held_out import HeldOut
    from hyperrl.training.trainer import Trainer

    seconds: dict[str, float] = {}

    def count(owner: Any, name: str, part: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)
        seconds.setdefault(part, 0.0)

        @wraps(call)
        def counted(*given: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **more)
            finally:
                seconds[part] += time.perf_counter() - began

        setattr(owner, name, counted)

    count(Trainer, "iterate", "loop")
    count(Trainer, "__init__", "set-up")
    count(HeldOut, "play", "held-out play")
    count(loop, "save", "checkpoints")
    count(api, "_train_encoder", "encoder")
    for name in ("__enter__", "scalars", "weights", "finish", "flush", "__exit__"):
        count(RunLog, name, "TensorBoard and figures")
    return seconds


def train(words: list[str]) -> None:
    """The command in this process; the seconds of its parts are the last line of stdout."""
    from hyperrl.cli import main

    seconds = timed_parts()
    assert main(["train", *words]) == 0
    print(json.dumps(seconds))


def measured(family: str, steps: int | None) -> dict[str, Any]:
    """Seconds of the whole command and of its parts, and their shares of the loop."""
    with tempfile.TemporaryDirectory() as folder:
        words = [family, "--run", f"{folder}/run", *(["--steps", str(steps)] if steps else [])]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--train", *words], check=True, stdout=subprocess.PIPE, text=True
        )
        whole = time.perf_counter() - began
        steps_made = json.loads((Path(folder) / "run" / "config.json").read_text())["config"]["steps"]
    seconds = json.loads(done.stdout.splitlines()[-1])
    seconds["imports, check and the rest"] = whole - sum(seconds.values())
    loop = seconds["loop"]
    beside = whole - loop - seconds["encoder"]
    return {
        "steps": steps_made,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "over_loop": {part: round(value / loop, 3) for part, value in seconds.items() if part != "loop"},
        "all_but_loop_and_encoder_over_loop": round(beside / loop, 3),
        "steps_per_second": {"loop": round(steps_made / loop), "command": round(steps_made / whole)},
    }


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--steps", type=int, help="of each training; the family's own by default")
    args = parser.parse_args()
    result = {}
    for family in args.families:
        result[family] = measured(family, args.steps)
        print(family, json.dumps(result[family], indent=1))
    save("overhead", result)


if __name__ == "__main__":
    main()
