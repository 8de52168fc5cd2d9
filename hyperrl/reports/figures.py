"""Figures of a run, as PNG and GIF files.

Each function draws one ``matplotlib.figure.Figure``; ``save`` writes it. pyplot and its global state are never
touched, so that any thread may draw.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from hyperrl.envs import Family
from hyperrl.evaluation.compare import Arm, Comparison
from hyperrl.evaluation.statistics import interval_ends, iqm
from hyperrl.storage.files import write_atomically

Curve = tuple[np.ndarray, np.ndarray]

# Okabe and Ito's palette, which colour-blind readers can tell apart; the markers tell the same in grey
LOOKS: Mapping[str, tuple[str, str]] = {
    "train": ("#555555", "."),
    "validation": ("#CC79A7", "D"),
    "interpolation": ("#0072B2", "o"),
    "extrapolation": ("#D55E00", "^"),
    "combination": ("#009E73", "s"),
}
OTHER = ("#56B4E9", "v")
ARM_LOOKS = (
    ("#0072B2", "o"),
    ("#D55E00", "^"),
    ("#009E73", "s"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#222222", "X"),
    ("#999933", "<"),
    ("#882255", ">"),
    ("#999999", "*"),
)
"""Of the arms of a comparison, in their order."""
INK, SHADE, SOLVED = "#222222", "#EFEFE6", "#8A6D00"
MINUS = "\N{MINUS SIGN}"
MEASURED = "mean return"
DPI = 150


def _figure(
    width: float, height: float, rows: int = 1, columns: int = 1, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of the common style, in inches, and its axes, row by row."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    grid = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.tick_params(labelsize=9, colors=INK)
        axes.margins(y=0.06)
    return figure, list(grid.flat)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)


def _legend(figure: Figure, handles: Sequence[Any], columns: int = 4) -> None:
    """One legend a figure, below it."""
    count = min(columns, len(handles))
    figure.legend(handles=handles, loc="outside lower center", ncols=count, fontsize=9, frameon=False)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; return its path.

    Raises:
        InputError: the folder cannot be written to.
    """
    write_atomically(path, lambda file: figure.savefig(file, dpi=DPI, format="png"))
    return path


def _unit(unit: str) -> str:
    """m/s2 -> m/s²; a dollar sign begins no formula."""
    unit = unit.replace("$", r"\$")
    return re.sub(r"(?<=[A-Za-z])[23]\b", lambda power: "²³"[int(power[0]) - 2], unit)


def _named(family: Family, name: str) -> str:
    return f"{name} ({_unit(family[name].unit)})"


def _solved(family: Family, axes: Axes) -> list[Line2D]:
    """The horizontal line at which the task counts as solved, where there is one."""
    if family.solved is None:
        return []
    label = f"solved ({family.solved:g})".replace("-", MINUS)
    return [axes.axhline(family.solved, color=SOLVED, linewidth=1.2, linestyle="--", zorder=2, label=label)]


def _dots(axes: Axes, split: str, x: np.ndarray, y: np.ndarray, label: str) -> Any:
    colour, marker = LOOKS.get(split, OTHER)
    looks: dict[str, Any] = {"s": 20, "alpha": 0.65, "linewidths": 0.3, "edgecolors": "white"}
    return axes.scatter(x, y, color=colour, marker=marker, label=label, zorder=3, clip_on=False, **looks)


def return_over_parameters(family: Family, points: Mapping[str, Curve], sweeps: Mapping[str, Curve]) -> Figure:
    """One panel a parameter: held-out variants as dots, the parameter alone as a line.

    Args:
        family: the task.
        points: split -> variants (T, P) in SI units and their mean returns (T,).
        sweeps: parameter -> values (V,) over its wide range and mean returns (V,), others at their defaults.
    """
    count = len(family.parameters)
    columns = 2 if count == 4 else min(3, count)
    rows = math.ceil(count / columns)
    figure, panels = _figure(max(5.5, 3.4 * columns), 2.7 * rows + 0.7, rows, columns)
    for axes in panels[count:]:
        axes.remove()
    handles: list[Any] = []
    for number, (parameter, axes) in enumerate(zip(family.parameters, panels, strict=False)):
        span = axes.axvspan(*parameter.train, color=SHADE, zorder=0, label="training range")
        default = axes.axvline(parameter.default, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        default.set_label("default")
        drawn: list[Any] = [
            _dots(
                axes,
                split,
                variants_TP[:, number],
                returns_T,
                f"{split}: {len(returns_T)} variants, mean {np.mean(returns_T):.1f}".replace("-", MINUS),
            )
            for split, (variants_TP, returns_T) in points.items()
        ]
        if parameter.name in sweeps:
            label = "this parameter alone, others at default"
            drawn += axes.plot(*sweeps[parameter.name], color=INK, linewidth=1.5, zorder=4, label=label)
        drawn += [span, default, *_solved(family, axes)]
        handles = max(handles, drawn, key=len)
        low, high = parameter.wide
        axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        _label(axes, _named(family, parameter.name), "return" if number % columns == 0 else "")
    figure.suptitle(f"{family.name}: return over each parameter", fontsize=12, color=INK)
    _legend(figure, handles)
    return figure


def heat_map(
    family: Family,
    names: tuple[str, str],
    grids: tuple[np.ndarray, np.ndarray],
    returns: np.ndarray,
    what: str = MEASURED,
) -> Figure:
    """Mean or predicted return over two parameters, with the training box and the held-out sub-box outlined.

    Args:
        family: the task.
        names: the parameters of the x and the y axis.
        grids: their values (X,) and (Y,), rising; each is the centre of a cell.
        returns: mean returns (X, Y) with the other parameters at their defaults.
        what: what they are; the return at which the task counts as solved is marked among measured ones only.
    """
    figure, (axes,) = _figure(6.4, 5.6)
    axes.grid(visible=False)
    mesh = axes.pcolormesh(*grids, np.asarray(returns).T, shading="nearest", cmap="viridis", rasterized=True)
    bar = figure.colorbar(mesh, ax=axes)
    bar.set_label(what, fontsize=10, color=INK)
    bar.ax.tick_params(labelsize=9, colors=INK)
    outlined = [patheffects.withStroke(linewidth=4, foreground="white")]

    def box(ends: Sequence[tuple[float, float]], style: Any, label: str) -> Line2D:
        (left, right), (bottom, top) = ends
        looks: dict[str, Any] = {"linewidth": 1.8, "linestyle": style, "path_effects": outlined}
        edges = [left, right, right, left, left], [bottom, bottom, top, top, bottom]
        return axes.plot(*edges, color=INK, label=label, **looks)[0]

    handles = [box([family[name].train for name in names], "-", "training ranges")]
    others = [parameter for parameter in family.parameters if parameter.name not in names]
    held_out = family.held_out
    crossed = all(
        any(low <= other.default <= high for low, high in held_out[other.name])
        for other in others
        if other.name in held_out
    )
    if all(name in held_out for name in names) and crossed:
        regions = [
            box(ends, (0, (2, 1.2)), "combination: never trained on")
            for ends in product(*(held_out[name] for name in names))
        ]
        handles.append(regions[0])
    at = [family[name].default for name in names]
    if all(grid.min() <= value <= grid.max() for grid, value in zip(grids, at, strict=True)):
        star: dict[str, Any] = {"marker": "*", "markersize": 13, "linestyle": "none", "color": INK}
        handles += axes.plot(*at, label="default", markeredgecolor="white", zorder=5, **star)
    solvable = family.solved is not None and what == MEASURED
    if solvable and np.any(returns < family.solved) and np.any(returns > family.solved):
        (solved,) = _solved(family, bar.ax)
        solved.set(color="#D55E00", linestyle="-", linewidth=1.8, path_effects=outlined)
        handles.append(solved)
    _label(axes, _named(family, names[0]), _named(family, names[1]))
    defaults = [f"{other.name} {other.default:g} {_unit(other.unit)}".rstrip() for other in others]
    unbroken = ", ".join(default.replace(" ", "\N{NO-BREAK SPACE}") for default in defaults)
    title = f"{family.name}: {what.partition(' (')[0]} over {names[0]} and {names[1]}"
    figure.suptitle(textwrap.fill(title, 64), fontsize=12, color=INK)
    if others:
        axes.set_title(textwrap.fill(f"others at their defaults: {unbroken}", 72), fontsize=9, color=INK)
    _legend(figure, handles, columns=2)
    return figure


def learning_curves(family: Family, curves: Mapping[str, Curve]) -> Figure:
    """Mean return over environment steps.

    Args:
        family: the task.
        curves: ``train`` or a split -> environment steps (N,) and mean returns (N,).
    """
    figure, (axes,) = _figure(7, 4.4)
    handles: list[Any] = []
    for name, (steps, returns) in curves.items():
        colour, marker = LOOKS.get(name, OTHER)
        looks: dict[str, Any] = {"marker": marker, "markersize": 5, "linewidth": 1.6}
        if name == "train":
            looks = {"linewidth": 1.2, "linestyle": (0, (5, 1.5))}
        label = "train (sampled actions)" if name == "train" else name
        handles += axes.plot(steps, returns, color=colour, label=label, zorder=3, **looks)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _label(axes, "environment steps", "mean return")
    figure.suptitle(f"{family.name}: learning curves", fontsize=12, color=INK)
    _legend(figure, handles + _solved(family, axes), columns=3)
    return figure


def return_over_distance(family: Family, distance_T: np.ndarray, returns_T: np.ndarray) -> Figure:
    """Return of variants over their distance from the training box, and the mean of neighbours.

    Args:
        family: the task.
        distance_T: ``family.distance`` of the variants (T,); 0 inside the training box.
        returns_T: their mean returns (T,).
    """
    figure, (axes,) = _figure(7, 4.4)
    distance_T, returns_T = np.asarray(distance_T, dtype=float), np.asarray(returns_T, dtype=float)
    outside = np.flatnonzero(distance_T > 0)
    inside = np.flatnonzero(distance_T <= 0)
    handles: list[Any] = []
    for split, rows, where in (("interpolation", inside, "inside"), ("extrapolation", outside, "outside")):
        if len(rows):
            label = f"{where} the training box: {len(rows)} variants"
            handles.append(_dots(axes, split, distance_T[rows], returns_T[rows], label))
    bins = _bins(distance_T)
    means = np.array([[distance_T[rows].mean(), returns_T[rows].mean()] for rows in bins]).reshape(-1, 2)
    ends = [interval_ends(returns_T[None, None, rows, None], np.mean, ("variants",)) for rows in bins]
    errors = np.maximum(np.abs(np.reshape(ends, (-1, 2)) - means[:, 1:]), 0).T
    looks: dict[str, Any] = {"color": INK, "linewidth": 1.5, "marker": "o", "markersize": 5, "capsize": 3}
    label = "mean of neighbours, 95 % interval over variants"
    handles.append(axes.errorbar(means[:, 0], means[:, 1], yerr=errors, label=label, zorder=4, **looks))
    furthest = distance_T.max(initial=0.1)
    axes.set_xlim(-0.03 * furthest, 1.03 * furthest)
    _label(axes, "distance from the training box (half-ranges of the worst parameter)", "return")
    figure.suptitle(f"{family.name}: return over the distance from the training box", fontsize=12, color=INK)
    _legend(figure, handles + _solved(family, axes), columns=2)
    return figure


def _bins(distance_T: np.ndarray) -> list[np.ndarray]:
    """Indices of variants at about the same distance: those inside the box, and up to 6 groups of as many each."""
    inside, outside = np.flatnonzero(distance_T <= 0), np.flatnonzero(distance_T > 0)
    ordered = outside[np.argsort(distance_T[outside], kind="stable")]
    return [rows for rows in (inside, *np.array_split(ordered, max(1, min(6, len(ordered) // 8)))) if len(rows)]


def comparison(found: Comparison) -> Figure:
    """Arms on one split: IQM with its interval, return over distance, learning curves over steps and over seconds.

    The panel of distances is left out where every variant is inside the training box. Curves are of the validation
    variants, thin for every seed, thick for their mean where all seeds have the same points.
    """
    distance_T = np.asarray(found.family.distance(found.variants_TP), dtype=float)
    bins = _bins(distance_T)
    count = 4 if len(bins) > 1 else 3
    figure, panels = _figure(4.1 * count, 4.6, 1, count, sharey=False)
    scores, steps, seconds = panels[0], panels[-2], panels[-1]
    handles: list[Any] = []
    for place, arm in enumerate(found.arms):
        colour, marker = ARM_LOOKS[place % len(ARM_LOOKS)]
        looks: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 7, "linewidth": 1.8, "zorder": 4}
        score = iqm(arm.returns_RTE)
        ends = np.array(arm.interval.ends if arm.interval else (score, score))
        errors = np.abs(ends[:, None] - score)
        handles.append(scores.errorbar([place], [score], yerr=errors, capsize=4, label=_legible(arm), **looks))
        if len(bins) > 1:
            means_RB = np.stack([arm.returns_RTE[:, rows].mean((1, 2)) for rows in bins], 1)
            x_B = [distance_T[rows].mean() for rows in bins]
            panels[1].plot(x_B, means_RB.mean(0), **looks)
            if len(means_RB) > 1:
                ends_2B = interval_ends(means_RB.T[:, :, None, None], np.mean, ("seeds",))
                panels[1].fill_between(x_B, *ends_2B, color=colour, alpha=0.15, linewidth=0)
        for axes, x_RK in (
            (steps, [run.curves["steps"] for run in arm.runs]),
            (seconds, [r.seconds for r in arm.runs]),
        ):
            _curves(axes, x_RK, [run.curves["validation"] for run in arm.runs], colour)
    scores.set_xticks([])
    scores.set_xlim(-0.7, len(found.arms) - 0.3)
    _label(scores, f"{found.split}, {len(distance_T)} variants", "IQM of returns, 95 % interval")
    if len(bins) > 1:
        _label(panels[1], "distance from the training box (half-ranges)", "mean return, 95 % interval over seeds")
    steps.xaxis.set_major_formatter(EngFormatter(sep=""))
    _label(steps, "environment steps", "validation: mean return")
    _label(seconds, "seconds of training", "")
    for axes in (scores, *panels[1:]):
        solved = _solved(found.family, axes)
    figure.suptitle(f"{found.family.name}: arms side by side", fontsize=12, color=INK)
    _legend(figure, [*handles, *solved])
    return figure


def _curves(axes: Axes, x_RK: Sequence[Sequence[float]], y_RK: Sequence[Sequence[float]], colour: str) -> None:
    for x_K, y_K in zip(x_RK, y_RK, strict=True):
        axes.plot(x_K, y_K, color=colour, linewidth=0.7, alpha=0.5, zorder=3)
    if len({len(x_K) for x_K in x_RK}) == 1:
        axes.plot(np.mean(x_RK, axis=0), np.mean(y_RK, axis=0), color=colour, linewidth=2, zorder=4)
    axes.set_xlim(left=0)


def _legible(arm: Arm) -> str:
    seeds = len(arm.runs)
    return f"{arm.name} ({seeds} seed{'s' * (seeds > 1)}, {arm.parameters:,} parameters)"


def predicted_return(family: Family, points: Mapping[str, Curve], gamma: float) -> Figure:
    """Measured over predicted discounted return, a dot a variant, and the diagonal on which they agree.

    Args:
        family: the task.
        points: split -> predicted and measured discounted returns (T,).
        gamma: discount a step.
    """
    figure, (axes,) = _figure(6.4, 6.0)
    handles = [
        _dots(axes, split, predicted_T, measured_T, f"{split}: {len(predicted_T)} variants")
        for split, (predicted_T, measured_T) in points.items()
    ]
    both = np.concatenate([np.concatenate(pair) for pair in points.values()])
    pad = 0.04 * max(np.ptp(both), 1e-3 * np.abs(both).max(initial=1e-3))
    ends = [both.min() - pad, both.max() + pad]
    looks: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3)), "zorder": 2}
    handles += axes.plot(ends, ends, label="as predicted", **looks)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    _label(axes, "predicted by the value network at the starts", "measured, mean over the episodes")
    figure.suptitle(f"{family.name}: discounted return, predicted and measured", fontsize=12, color=INK)
    axes.set_title(f"discount {gamma:g} a step", fontsize=9, color=INK)
    _legend(figure, handles, columns=2)
    return figure


def adaptation_curves(
    family: Family,
    episodes_KT: np.ndarray,
    returns_KT: np.ndarray,
    expert_T: np.ndarray,
    split: str | None = None,
    note: str = "",
) -> Figure:
    """Return over the episodes played on each variant: variants thin, their mean thick, experts dashed.

    Args:
        family: the task.
        episodes_KT: every episode played on the variants at the points of the curves (K, T); points are drawn evenly
            spaced, with the mean over the variants below each.
        returns_KT: mean returns (K, T).
        expert_T: returns of the variants' experts (T,), NaN where there is none.
        split: where the variants are from; ``None`` where one was given.
        note: how they were adapted, in a few words.
    """
    figure, (axes,) = _figure(7, 4.6)
    colour, marker = LOOKS.get(split or "", OTHER)
    x_K, count = np.arange(len(episodes_KT)), returns_KT.shape[1]
    thick: dict[str, Any] = {"color": colour, "linewidth": 2.4, "marker": marker, "markersize": 7, "zorder": 4}
    handles: list[Any] = []
    if count > 1:
        thin = axes.plot(x_K, returns_KT, color=colour, linewidth=0.9, alpha=0.45, zorder=3)
        thin[0].set_label("each variant")
        ends_K2 = np.stack(interval_ends(returns_KT[:, None, :, None], np.mean, ("variants",)), axis=1)
        band = axes.fill_between(x_K, *ends_K2.T, color=colour, alpha=0.18, linewidth=0, zorder=2)
        band.set_label("95 % interval of the mean, over variants")
        handles = [thin[0], band]
    label = f"mean of {count} variants" if count > 1 else "the variant"
    handles = axes.plot(x_K, returns_KT.mean(1), label=label, **thick) + handles
    known = np.isfinite(expert_T)
    if known.any():
        whose = "its expert" if count == 1 else f"experts of {known.sum()} of {count} variants, mean"
        mean = expert_T[known].mean()
        label = f"{whose} {mean:.1f}".replace("-", MINUS)
        looks: dict[str, Any] = {"color": INK, "linewidth": 1.6, "linestyle": (0, (5, 2)), "zorder": 2.5}
        handles.append(axes.axhline(mean, label=label, **looks))
    axes.set_xticks(x_K, [f"{episodes:.0f}" for episodes in episodes_KT.mean(1)])
    _label(axes, "episodes played on the variant, those that judge included (evenly spaced marks)", MEASURED)
    what = f"variants of {split}" if split else "one variant"
    figure.suptitle(f"{family.name}: adaptation to {what}", fontsize=12, color=INK)
    axes.set_title(note, fontsize=9, color=INK)
    _legend(figure, handles + _solved(family, axes), columns=2)
    return figure


def in_words(family: Family, variants_TP: np.ndarray) -> list[str]:
    """Each variant (T, P) as ``gravity 12 m/s², length 0.8 m``; what all have alike is left out."""
    differs_P = (variants_TP != variants_TP[:1]).any(0)
    return [
        ", ".join(
            f"{p.name} {value:.3g} {_unit(p.unit)}".strip()
            for p, value, differs in zip(family.parameters, row, differs_P, strict=True)
            if differs
        )
        for row in variants_TP
    ]


def letters(count: int) -> list[str]:
    """A, B, C and so on; from the 27th on, numbers."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(count)]


def conflict_matrix(
    family: Family, variants_TP: np.ndarray, normalised_TT: np.ndarray, returns_TT: np.ndarray, verdict: str
) -> Figure:
    """How the expert of each variant does on every variant.

    Args:
        family: the task.
        variants_TP: the variants (T, P) in SI units.
        normalised_TT: returns (T, T) of each variant's expert (row) on each variant (column), 0 for random actions and
            1 for the best expert on the variant; NaN where none is better than random actions.
        returns_TT: the same as mean returns.
        verdict: what follows, in a sentence.
    """
    count = len(variants_TP)
    names = letters(count)
    side = max(3.4, 0.85 * count)
    key = [f"{name}: {words}" for name, words in zip(names, in_words(family, variants_TP), strict=True)]
    unbroken = [", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in one.split(", ")) for one in key]
    lines = [line for one in (verdict, *unbroken) for line in textwrap.wrap(one, 88)]
    figure, (axes,) = _figure(side + 2.6, side + 1.2 + 0.17 * len(lines))
    axes.grid(visible=False)
    axes.set_facecolor("#CCCCCC")  # shows through where there is no scale
    image = axes.imshow(normalised_TT, vmin=0, vmax=1, cmap="viridis")
    for row, column in product(range(count), repeat=2):
        value, mean = normalised_TT[row, column], returns_TT[row, column]
        dark = np.isfinite(value) and value < 0.6
        text = f"{value:.2f}" if np.isfinite(value) else "no scale"
        looks: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if dark else INK}
        axes.text(column, row - 0.1, text.replace("-", MINUS), fontsize=11, **looks)
        axes.text(column, row + 0.22, f"{mean:.0f}".replace("-", MINUS), fontsize=7.5, **looks)
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count), names)
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.set_axisbelow(False)
    axes.tick_params(which="both", length=0, labelsize=10)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, extend="both", shrink=0.85)
    bar.set_label("normalised return (0: random, 1: best expert)", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=9, colors=INK)
    _label(axes, "variant played", "expert trained on")
    figure.suptitle(f"{family.name}: experts on each other's variants", fontsize=12, color=INK)
    axes.set_title("large: normalised return, small: mean return", fontsize=9, color=INK)
    figure.supxlabel("\n".join(lines).replace(" -", f" {MINUS}"), fontsize=8.5, color=INK, ha="left", x=0.03)
    return figure
