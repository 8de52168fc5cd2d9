"""Policies as PyTorch programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hyperrl.export.plain import ACTIVATIONS, Act, Plain, plain
from hyperrl.play.policy import VariantPolicy


class Program(nn.Module):
    """Observations (N, O) -> deterministic actions."""

    def __init__(self, found: Plain) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for weight, bias in zip(found.policy[::2], found.policy[1::2], strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.load_state_dict({"weight": weight, "bias": bias})
            modules += [linear, ACTIVATIONS[found.activation]()]
        self.network = nn.Sequential(*modules[:-1])
        self.limit, self.start = found.limit, found.start
        self.whole = np.issubdtype(found.dtype, np.integer)
        self.dtype = torch.from_numpy(np.zeros(0, found.dtype)).dtype
        self.mean_O, self.scale_O = nn.Buffer(found.mean_O), nn.Buffer(found.scale_O)
        self.low_A: Tensor | None
        self.high_A: Tensor | None
        self.register_buffer("low_A", found.low_A)
        self.register_buffer("high_A", found.high_A)

    def forward(self, obs: Tensor) -> Tensor:
        """Actions (N,) or (N, A)."""
        x = ((obs - self.mean_O) * self.scale_O).clamp(-self.limit, self.limit)
        output = self.network(x)
        if self.low_A is None or self.high_A is None:
            return output.argmax(1) + self.start
        action = output.to(self.low_A.dtype).clamp(self.low_A, self.high_A)
        return (action.round() if self.whole else action).to(self.dtype)


def write(policy: VariantPolicy, path: Path) -> None:
    """Write the deterministic policy, the normaliser included."""
    program = Program(plain(policy)).eval().requires_grad_(False)
    example = torch.zeros(2, *policy.family.observation_space.shape)
    exported = torch.export.export(program, (example,), dynamic_shapes=({0: torch.export.Dim("N", min=1)},))
    torch.export.save(exported, path, extra_files={"variant.json": json.dumps(policy.parameters)})


def load(path: Path) -> Act:
    """Load a file as its user does."""
    program = torch.export.load(path).module()
    return lambda obs_NO: program(torch.as_tensor(obs_NO)).numpy()
