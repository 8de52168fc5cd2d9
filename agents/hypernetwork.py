"""Context (T, C) -> weights (T, D) of any list of layers. Independent of reinforcement learning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hyperrl.agents.spec import split_layers


class Hypernetwork(nn.Module):
    """A small network that writes the weights of another one.

    The head starts with zero weights and the target's initial weights as its bias (Bias-HyperInit, Beck et al., CoRL
    2022, section 4): at first every context gets exactly those weights.
    """

    def __init__(self, context: int, initial: Sequence[Tensor], hidden: Sequence[int] = (64,)) -> None:
        """Set up the trunk and the head.

        Args:
            context: C, entries of a context.
            initial: initial weights of the target, one tensor of any shape a layer; D is their total size.
            hidden: widths of the trunk's layers.
        """
        super().__init__()
        self.shapes = [layer.shape for layer in initial]
        sizes = [context, *hidden]
        trunk: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            trunk += [nn.Linear(fan_in, fan_out), nn.Tanh()]
        self.trunk = nn.Sequential(*trunk)
        # Adam moves every column of the head by the same amount; with features of size 1, the generated weights would
        # move `width` times faster than the head's bias
        self.feature_scale = sizes[-1] ** -0.5
        self.head = nn.Linear(sizes[-1], sum(layer.numel() for layer in initial))
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(torch.cat([layer.flatten() for layer in initial]))

    def forward(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D), the layers flattened one after the other."""
        return self.head(self.trunk(context_TC) * self.feature_scale)

    @torch.no_grad()
    def scale_last(self, layers: int, factor: Tensor) -> None:
        """Multiply the last layers of every target by a scalar, in place."""
        size = sum(shape.numel() for shape in self.shapes[-layers:])
        self.head.weight[-size:].mul_(factor)
        self.head.bias[-size:].mul_(factor)

    def split(self, weights_TD: Tensor) -> list[Tensor]:
        """Weights (T, D) as one tensor (T, *shape) a layer."""
        return split_layers(weights_TD, self.shapes)


class ChunkedHypernetwork(nn.Module):
    """One small generator, called once a chunk of the target's weights, with a learned embedding of that chunk.

    Chunk k is w_k + h(c, e_k) with an embedding e_k (von Oswald et al., ICLR 2020, chunked hypernetworks; Ha et al.,
    ICLR 2017, with an embedding a layer). All chunks share h, so its bias cannot hold the target's initial weights:
    they are w, learned as well, and h starts at 0, so that at first every context gets exactly those weights.
    """

    unit: Tensor

    def __init__(
        self,
        context: int,
        initial: Sequence[Tensor],
        hidden: Sequence[int] = (64,),
        chunk: int = 32,
        embedding: int = 8,
    ) -> None:
        """Set up the generator and the embeddings.

        Args:
            context: C, entries of a context.
            initial: initial weights of the target, one tensor of any shape a layer; D is their total size.
            hidden: widths of the generator's layers.
            chunk: weights that one call of the generator writes.
            embedding: entries of a chunk's embedding.
        """
        super().__init__()
        self.shapes = [layer.shape for layer in initial]
        self.initial = nn.Parameter(torch.cat([layer.flatten() for layer in initial]))
        self.register_buffer("unit", torch.ones_like(self.initial))
        self.embedding_KZ = nn.Parameter(torch.randn(math.ceil(len(self.initial) / chunk), embedding))
        self.generator = Hypernetwork(context + embedding, [torch.zeros(chunk)], hidden)

    def forward(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D), the layers flattened one after the other."""
        chunks = len(self.embedding_KZ)
        context_TKC = context_TC.unsqueeze(1).expand(-1, chunks, -1)
        embedding_TKZ = self.embedding_KZ.expand(len(context_TC), -1, -1)
        change_TD = self.generator(torch.cat([context_TKC, embedding_TKZ], dim=2)).flatten(1)
        return self.initial + self.unit * change_TD[:, : len(self.initial)]

    @torch.no_grad()
    def scale_last(self, layers: int, factor: Tensor) -> None:
        """Multiply the last layers of every target by a scalar, in place."""
        size = sum(shape.numel() for shape in self.shapes[-layers:])
        self.initial[-size:].mul_(factor)
        self.unit[-size:].mul_(factor)

    def split(self, weights_TD: Tensor) -> list[Tensor]:
        """Weights (T, D) as one tensor (T, *shape) a layer."""
        return split_layers(weights_TD, self.shapes)


def weight_statistics(weights_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared norm of the generated weights, and their variance across variants summed over D: two scalars."""
    centred_TD = weights_TD - weights_TD.mean(0)
    return weights_TD.square().sum(1).mean(), centred_TD.square().sum(1).mean()
