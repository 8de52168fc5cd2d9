"""The wide concat arm: concat with about as many parameters as the hypernetwork arm."""

from __future__ import annotations

from dataclasses import replace

import torch

from hyperrl.agents.arms.concat import ConcatAgent
from hyperrl.agents.arms.hyper import HyperAgent
from hyperrl.agents.spec import AgentSpec, layer_shapes


class ConcatWideAgent(ConcatAgent):
    """Concat whose hidden widths are all multiplied by one factor, so that size does not decide between arms.

    Its count of parameters is that of ``HyperAgent`` for the same sizes, as nearly as whole widths allow.
    """

    def __init__(self, spec: AgentSpec) -> None:
        with torch.device("meta"):
            wanted = sum(parameter.numel() for parameter in HyperAgent(spec).parameters())
        super().__init__(replace(spec, hidden=widened(spec, wanted)))


def widened(spec: AgentSpec, wanted: int) -> tuple[int, ...]:
    """Hidden widths in the spec's proportions with which concat comes nearest to a count of parameters."""

    def widths(factor: float) -> tuple[int, ...]:
        return tuple(max(1, round(factor * width)) for width in spec.hidden)

    def count(factor: float) -> int:
        ends = [(spec.observation + spec.context, widths(factor), outputs) for outputs in (spec.action, 1)]
        layers = sum(shape.numel() for end in ends for shape in layer_shapes(*end))
        return layers if spec.discrete else layers + spec.action

    low, high = 0.0, float(wanted)  # one unit of width has one parameter at the least
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return widths(min(low, high, key=lambda factor: abs(count(factor) - wanted)))
