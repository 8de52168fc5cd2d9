"""What stands in the tables of families and of audits, for the command line and for the pages of docs/families."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperrl.envs import Family, Parameter
    from hyperrl.envs.audit import Audit, Effect

PARAMETER_COLUMNS = ("parameter", "unit", "default", "training range", "wide range", "bounds", "")
AUDIT_COLUMNS = ("parameter", "unit", "next state", "reward", "termination", "at reset", "verdict")


def parameter_rows(family: Family) -> list[list[str]]:
    """One row of ``PARAMETER_COLUMNS`` a parameter; distractors that differ in a number only share one."""
    return [_parameter_row(alike) for alike in _alike(family.parameters)]


def audit_rows(family: Family, found: Audit) -> list[list[str]]:
    """One row of ``AUDIT_COLUMNS`` a parameter; of distractors that share a row, the first that acts stands there."""
    rows = []
    for alike in _alike(family.parameters):
        effects = [found.parameters[p.name] for p in alike]
        p, effect = next(((p, e) for p, e in zip(alike, effects, strict=True) if not e.passed), (alike[0], effects[0]))
        name = _joint_name(alike) if effect.passed else p.name
        numbers = [f"{effect.next_state:.3g} sd", f"{effect.reward:.3g}", f"{effect.termination:.1%}"]
        numbers = [number.replace("%", " %") for number in (*numbers, f"{effect.reset:.3g} sd")]
        rows.append([name, p.unit, *numbers, _verdict(effect)])
    return rows


def audit_pairs(found: Audit) -> list[str]:
    """A sentence on each pair of parameters that act as one."""
    sentences = []
    for pair in found.pairs:
        a, b = pair.parameters
        of = {"combination": f"one combination, {pair.expression}," if pair.expression else "one combination"}
        what = of.get(pair.only, f"the {pair.only} {pair.expression}")
        sentences.append(f"{a} and {b} act as one: only {what} matters; a network cannot tell them apart, nor need it")
    return sentences


def split_notes(family: Family) -> list[str]:
    """What the splits of a family have of their own: a held-out region, lists of variants, drift."""
    notes = [
        f"{split}: {len(rows)} fixed variants"
        for split, rows in family.fixed.items()
        if not (split == "combination" and family.held_out)
    ]
    if not ("combination" in family.fixed and not family.held_out):
        notes.insert(0, f"combination split: {family.region or 'none'}")
    if family.drift:
        notes.append(f"drifting within an episode: {', '.join(family.drift)}")
    return notes


def _alike(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """Parameters one by one, but distractors that differ in nothing but a number in their names together."""
    groups: dict[object, list[Parameter]] = {}
    for p in parameters:
        stem = re.sub(r"\d+$", "", p.name)
        same = (stem, p.unit, p.default, p.train, p.wide, p.bounds) if p.distractor and stem != p.name else p.name
        groups.setdefault(same, []).append(p)
    return list(groups.values())


def _joint_name(alike: Sequence[Parameter]) -> str:
    return alike[0].name if len(alike) == 1 else f"{alike[0].name} ... {alike[-1].name}"


def _parameter_row(alike: Sequence[Parameter]) -> list[str]:
    p = alike[0]
    notes = [p.note] if p.note else []
    notes += [f"{p.period:g} is one turn"] if p.period else []
    notes += ["distractor"] if p.distractor and "distractor" not in p.note else []
    notes += [f"{len(alike)} of them"] if len(alike) > 1 else []
    ranges = [_range(ends, p.gap) for ends in (p.train, p.wide)]
    return [_joint_name(alike), p.unit, f"{p.default:g}", *ranges, p.bounds, "; ".join(notes)]


def _range(ends: tuple[float, float], gap: float) -> str:
    """``(-3, 3)`` around a gap of 1 is -3 to -1 and 1 to 3."""
    low, high = ends
    spans = [(low, -gap), (gap, high)] if gap else [(low, high)]
    return " and ".join(f"{start:g} to {end:g}" if start < end else f"{start:g}" for start, end in spans)


def _verdict(effect: Effect) -> str:
    if not effect.passed:
        return "ACTS, though a distractor" if effect.acts else "NO EFFECT"
    if effect.distractor:
        return "distractor, no effect"
    if effect.acts_only_at_reset:
        return "acts only at reset"
    return "acts" if effect.states else "acts, in rare states"
