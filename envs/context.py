"""Variants as numbers for a network: contexts to read, and coordinates to estimate.

Pure functions over a sequence of parameters; variants are tensors (T, P) in SI units, a column for each parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperrl.envs.parameter import Parameter


def encode(parameters: Sequence[Parameter], variants_TP: Tensor) -> Tensor:
    """Encode variants (T, P) in SI units as a context (T, C), every feature about [-1, 1] in training."""
    features = [
        feature
        for parameter, value_T in zip(parameters, variants_TP.unbind(1), strict=True)
        for feature in parameter.features(value_T)
    ]
    return torch.stack(features, dim=1)


def inferable(parameters: Sequence[Parameter]) -> tuple[int, ...]:
    """Columns of (T, P) that can be inferred from transitions: all but distractors."""
    return tuple(i for i, parameter in enumerate(parameters) if not parameter.distractor)


def coordinates(parameters: Sequence[Parameter], variants_TP: Tensor) -> Tensor:
    """Variants (T, P) as one number (T, Z) for each inferable parameter; see ``Parameter.coordinate``."""
    return torch.stack([parameters[i].coordinate(variants_TP[:, i]) for i in inferable(parameters)], dim=1)


def decode(parameters: Sequence[Parameter], coordinates_TZ: Tensor) -> Tensor:
    """Coordinates (T, Z) as variants (T, P), distractors in the middle of their training range."""
    columns = [torch.full_like(coordinates_TZ[:, 0], sum(parameter.train) / 2) for parameter in parameters]
    for i, coordinate_T in zip(inferable(parameters), coordinates_TZ.unbind(1), strict=True):
        columns[i] = parameters[i].decode(coordinate_T)
    return torch.stack(columns, dim=1)


def nearest(parameters: Sequence[Parameter], variants_TP: Tensor) -> Tensor:
    """The nearest variants (T, P) within the training ranges. Angles stay as they are, and gaps are ignored."""
    columns = zip(parameters, variants_TP.unbind(1), strict=True)
    return torch.stack([value_T if p.period else value_T.clamp(*p.train) for p, value_T in columns], dim=1)


def expected_context(parameters: Sequence[Parameter], variants_BMP: Tensor, weight_BM: Tensor) -> Tensor:
    """Expected contexts (B, C) of B distributions over variants, each given as M draws with weights that sum to 1.

    A feature is its weighted mean over the draws; those of an angle are cosine and sine of the mean direction. For a
    parameter with a gap, only draws of the more probable sign count, because no value lies between the signs.
    """
    columns: list[Tensor] = []
    for parameter, value_BM in zip(parameters, variants_BMP.unbind(2), strict=True):
        features = parameter.features(value_BM.flatten())
        share_BM = _of_likely_sign(value_BM, weight_BM) if parameter.gap else weight_BM
        means = [(share_BM * feature.view_as(weight_BM)).sum(1) for feature in features]
        length = torch.stack(means).norm(dim=0) if parameter.period else 1.0
        columns += [mean / length for mean in means]
    return torch.stack(columns, dim=1)


def _of_likely_sign(value_BM: Tensor, weight_BM: Tensor) -> Tensor:
    """Weights (B, M) with sum 1: 0 for values of the less probable sign."""
    positive_BM = (value_BM > 0).to(weight_BM.dtype)
    likely_B1 = (weight_BM * positive_BM).sum(1, keepdim=True) >= 0.5
    kept_BM = weight_BM * torch.where(likely_B1, positive_BM, 1 - positive_BM)
    return kept_BM / kept_BM.sum(1, keepdim=True)
