"""Write the tables of docs/speed.md from the committed results.

python benchmarks/speed_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, filled, number, percent, table, wrapped

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
PARTS = ("set-up", "held-out play", "checkpoints", "TensorBoard and figures", "imports, check and the rest", "encoder")
"""Of a whole command, beside its loop."""


def read(name: str) -> dict[str, Any]:
    """A committed result."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def machine(result: dict[str, Any]) -> str:
    """What it was measured on, and how."""
    hardware = result["hardware"]
    return f"`{result['command']}`: {hardware['processor']}, {hardware['cores']} cores, PyTorch {hardware['torch']}."


def peers() -> list[str]:
    """Steps/s of each peer, and the ratio to the fastest of them."""
    result = read("peers")
    found, rows, missing = result["peers"], [], []
    for name, row in found.items():
        if "not_measured" in row:
            missing.append(f"{name} was not measured: {row['not_measured']}.")
            continue
        speed, versions = row["steps_per_second"], row["versions"]
        rows.append(
            [
                name,
                f"{speed['median']:,}",
                f"{speed['least']:,} to {speed['most']:,}",
                number(row["compile_s"], 1),
                number(row["seconds_of_a_million_steps"], 1),
                ", ".join(f"{package} {version}" for package, version in versions.items() if package != "hyperrl"),
            ]
        )
    head = [
        "program",
        "steps/s, median",
        "of all rounds",
        "to compile, s",
        "1M steps and compiling, s",
        "versions",
    ]
    median = {name: row["steps_per_second"]["median"] for name, row in found.items() if "steps_per_second" in row}
    ours = {name: speed for name, speed in median.items() if name.startswith("hyperrl hyper")}
    rivals = {name: speed for name, speed in median.items() if not name.startswith("hyperrl")}
    best, rival = max(ours, key=ours.__getitem__), max(rivals, key=rivals.__getitem__)
    said = f"{best} makes {number(ours[best] / rivals[rival], 2)} of the steps/s of {rival}, the fastest of the peers."
    return [*wrapped(machine(result)), "", *table(head, rows), "", *wrapped(" ".join([said, *missing]))]


def products() -> list[str]:
    """What holds the arithmetic up on processors of other makers than Intel."""
    result = read("products")
    plain, other = number(result["gflops"]), number(result["gflops_as_intel"])
    said = (
        "PyTorch computes products of matrices with Intel's MKL, which leaves AVX-512 out on processors of other "
        f"makers; JAX does not. On this machine ({result['hardware']['processor']}) a batched product of 128 x 64 and "
        f"64 x 64 matrices runs at {plain} GFLOP/s on one core, and at {other} where MKL is told that the processor is "
        "one of Intel's (`python benchmarks/products.py`). Nothing in this package tells it so."
    )
    return wrapped(said)


def compiling() -> list[str]:
    """What compiling costs and saves."""
    result, rows = read("compile"), []
    for name, title in (("one_thread", "one"), ("all_cores", "one a core")):
        row = result[name]
        times = [f"{row[what][kind]:.2f}" for what in ("step_ms", "minibatch_ms") for kind in ("eager", "compiled")]
        calls = "-" if row["calls"] is None else f"{row['calls']:,}"
        rows.append([title, number(row["cold_s"], 1), number(row["warm_s"], 1), *times, calls])
    head = ["threads", "cold, s", "warm, s", "step, ms", "compiled", "minibatch, ms", "compiled", "calls to earn it"]
    return [*wrapped(machine(result)), "", *table(head, rows)]


def parts() -> list[str]:
    """Where the time of a whole command goes."""
    result = read("overhead")
    families = [name for name in result if name not in ("command", "hardware")]
    rows = [
        [
            name,
            number(result[name]["seconds"]["loop"], 1),
            *(percent(result[name]["over_loop"][part]) for part in PARTS),
            percent(result[name]["all_but_loop_and_encoder_over_loop"]),
        ]
        for name in families
    ]
    head = ["family", "loop, s", *PARTS, "all but loop and encoder"]
    return [*wrapped(machine(result)), "", *table(head, rows)]


def neighbours() -> list[str]:
    """Two trainings side by side."""
    result = read("neighbours")
    rows = [
        [
            name.removeprefix("threads_"),
            f"{found['lone']:,.0f}",
            f"{found['paired']:,.0f}",
            number(found["worst_paired_over_lone"], 2),
        ]
        for name, found in result.items()
        if name.startswith("threads_")
    ]
    head = ["threads of each", "alone, steps/s", "each of two, steps/s", "slowest of two over alone"]
    return [*wrapped(machine(result)), "", *table(head, rows)]


def seeds() -> list[str]:
    """Ten seeds beside one."""
    result = read("seeds")
    one, every, ratio = (number(result[name], digits) for name, digits in (("one_s", 1), ("all_s", 1), ("ratio", 2)))
    said = (
        f"`{result['command']}` on {result['hardware']['cores']} cores: {result['seeds']} seeds of {result['family']} "
        f"take {every} s, one takes {one} s: {ratio} times as long, encoders and all."
    )
    return wrapped(said)


def ahead() -> list[str]:
    """Training with and without collecting ahead, beside the simulator alone."""
    result = read("ahead")
    families = [name for name in result if name not in ("command", "hardware", "steps")]
    speeds, curves = [], []
    for name in families:
        speed, learned = result[name]["speed"], result[name]["learning"]
        medians = {key: float(np.median(values)) for key, values in speed["steps_per_second"].items()}
        shown = [f"{medians[key]:,.0f}" for key in ("simulator", "off", "on")]
        speeds.append([name, *shown, number(speed["on_over_off"], 2), number(speed["over_simulator"]["on"], 2)])
        for choice in ("off", "on"):
            ends = [curve[-1] for curve in learned[choice]]
            means = [float(np.mean(curve)) for curve in learned[choice]]
            listed = ", ".join(number(end) for end in ends)
            curves.append([name, choice, number(float(np.mean(means))), number(float(np.mean(ends))), listed])
    head = ["family", "simulator alone, steps/s", "training, off", "on", "on over off", "on over the simulator"]
    of_curves = ["family", "ahead", "validation, mean of the curves", "at the end", "of each seed"]
    said = f"Validation returns of trainings of {result['steps']:,} steps:"
    return [*wrapped(machine(result)), "", *table(head, speeds), "", said, "", *table(of_curves, curves)]


def gpu() -> list[str]:
    """Steps/s on a GPU over sizes, seconds until CartPole is solved, and returns beside the CPU's."""
    result = read("gpu")
    hardware, reached = result["hardware"], result["ceilings"]
    kinds = list(result["speed"][0]["steps_per_s"])
    speeds = [
        [f"{row['variants']} x {row['copies']} x {row['rollout']}"]
        + [f"{row['steps_per_s'][kind] / 1e6:.2f}" for kind in kinds]
        + [percent(row[floor][kinds[-1]], digits) for floor, digits in (("of_bandwidth", 0), ("of_arithmetic", 1))]
        + [number(row["start_s"][kind], 1) for kind in kinds[1:]]
        for row in result["speed"]
    ]
    solved = [
        [
            f"{row['variants']} x {row['copies']} x {row['rollout']}",
            ", ".join(number(run["seconds_to_475"], 2) for run in row["runs"]),
            ", ".join(f"{run['steps_to_475'] / 1e6:.1f}" for run in row["runs"]),
        ]
        for row in result["solved"]
    ]
    learned = [
        [row["family"]]
        + [f"{number(min(row[where]))} to {number(max(row[where]))} ({len(row[where])})" for where in ("gpu", "cpu")]
        for row in result["learning"]
    ]
    machine_line = (
        f"`{result['command']}`: {hardware['gpu']}, PyTorch {hardware['torch']}. A copy reaches "
        f"{reached['copy_gb_per_s']:,.0f} GB/s, a product of matrices {reached['float32_tflop_per_s']:.0f} TFLOP/s in "
        f"float32 and {reached['tf32_tflop_per_s']:.0f} with factors rounded to TF32. Iterations as a graph differ "
        f"from those call by call by {max(row['largest_difference'] for row in result['checks']):g} after ten, and go "
        f"on {'' if all(row['resumed_bit_for_bit'] for row in result['checks']) else 'not '}bit for bit when resumed."
    )
    head = ["variants x copies x steps", *(f"{kind}, M steps/s" for kind in kinds), "of bandwidth", "of arithmetic"]
    head += [f"{kind}, s to start" for kind in kinds[1:]]
    return [
        *wrapped(machine_line),
        "",
        *table(head, speeds),
        "",
        "CartPole until each of 64 validation variants has a mean of 475 or more, one number a seed:",
        "",
        *table(["variants x copies x steps", "training, s", "million steps"], solved),
        "",
        "Mean interpolation return after `hyperrl train FAMILY` with its defaults, over the seeds (how many):",
        "",
        *table(["family", "on the GPU", "on the CPU"], learned),
    ]


def page(text: str) -> str:
    """docs/speed.md with its blocks as the committed results have them."""
    blocks = {
        "peers": peers(),
        "products": products(),
        "compiling": compiling(),
        "gpu": gpu(),
        "parts": parts(),
        "ahead": ahead(),
        "neighbours": neighbours(),
        "seeds": seeds(),
    }
    return filled(text, blocks)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
