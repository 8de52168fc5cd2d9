"""What every benchmark does: name the machine, save its result beside its command, and fill in the pages."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

RESULTS = Path(__file__).parent / "results"
CELLS = RESULTS / "cells"
"""Returns of single episodes, from which the pages compute every table."""
EARLIER = RESULTS / "earlier"
"""Results of an earlier version of the code, not measured anew: means without cells."""
ALWAYS = ("command", "hardware")
"""Keys that every result has."""
SETTINGS = (
    "the family's own in hyperrl/settings, the same for every arm, chosen by hand while hyper was trained; no search "
    "with another arm, no trials committed"
)
"""How the settings of the shipped families were found."""
Keys = Mapping[str, Sequence[str]]
"""What a script writes: name of a part of the result -> its keys; "" is the whole, without ``ALWAYS``."""


def hardware() -> dict[str, Any]:
    """Processor, cores, threads and versions."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
    }


def wrong_keys(result: Mapping[str, Any], keys: Keys) -> list[str]:
    """Where a result has other keys than ``keys`` says: one line each, none where it is as it should be."""
    found = []
    for part, expected in keys.items():
        content = result[part] if part else {key: value for key, value in result.items() if key not in ALWAYS}
        items = content if isinstance(content, list) else [content]
        wrong = [sorted(item) for item in items if set(item) != set(expected)]
        found += [f"{part or 'result'}: has {has}, must have {sorted(expected)}" for has in wrong]
    return found


def save(name: str, result: dict[str, Any], keys: Keys | None = None) -> None:
    """Write ``results/<name>.json``; what an earlier version measured under that name is dropped.

    Raises:
        ValueError: the result has other keys than the script says.
    """
    wrong = wrong_keys(result, keys or {})
    if wrong:
        raise ValueError(f"{name}: {'; '.join(wrong)}")
    RESULTS.mkdir(exist_ok=True)
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    content = {"command": command, "hardware": hardware(), **result}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    (EARLIER / path.name).unlink(missing_ok=True)
    print(f"written: benchmarks/results/{path.name}")


def save_cells(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``results/cells/<name>.npz`` in float32."""
    CELLS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(CELLS / f"{name}.npz", **{key: np.float32(array) for key, array in arrays.items()})


def load_cells(name: str) -> dict[str, np.ndarray]:
    """Read ``results/cells/<name>.npz`` in float64."""
    with np.load(CELLS / f"{name}.npz") as stored:
        return {key: stored[key].astype(np.float64) for key in stored.files}


def parameter_count(agent: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in agent.parameters())


def region_name(held_out: Sequence[str]) -> str:
    """What the split "combination" is: a gap where one parameter is held out, a combination of two or more."""
    return "combination" if len(held_out) > 1 else "gap"


def filled(page: str, blocks: Mapping[str, Sequence[str]]) -> str:
    """The page with new lines between the marks of each block; a block that has no marks there is a mistake.

    Raises:
        ValueError: the page lacks a block's marks.
    """
    for name, lines in blocks.items():
        begin, end = f"<!-- begin {name}, written by a script -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"{name}: the page has no marks for it; write {begin} and {end}")
        text = "\n".join([begin, "", *lines, "", end])
        page = pattern.sub(lambda _, text=text: text, page)
    return page


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of the page."""
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def number(value: float | None, digits: int | None = None) -> str:
    """Three digits or so, or as many decimals as asked for; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "-"
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1
    return f"{round(value, digits) + 0.0:.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent."""
    return "-" if share is None else f"{share:.{digits}%}".replace("%", " %")


def between(ends: Any, digits: int | None = None) -> str:
    """An interval; a dash where there is none."""
    if ends is None or not np.isfinite(ends).all():
        return "-"
    return f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def wrapped(line: str, width: int = 118) -> list[str]:
    """A sentence, or a list's item, in lines of at most ``width`` characters."""
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
