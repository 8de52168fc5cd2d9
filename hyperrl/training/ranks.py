"""Several processes that train one agent: each plays its share of the variants, and all take the same steps.

Every reduction of training goes through ``Ranks``. ``torchrun`` starts the processes and says in the environment which
of them this one is. Gradients are averaged as one flat tensor after ``torch.autograd.grad``; DistributedDataParallel
would average them in hooks of ``backward``, which the functional updates of this package do not call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from hyperrl.envs import InputError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for another one that lives: held-out play and the encoder are the first one's alone."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one agent; alone by default, where every call returns what it is given."""

    rank: int = 0
    """Its number, from 0. Only the first writes files, shows progress and plays held-out variants."""
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    @property
    def numbers(self) -> tuple[int, ...]:
        """What separates this process's streams of random numbers from the others'; nothing where it is alone."""
        return (self.rank,) if self.count > 1 else ()

    def share(self, variants: int) -> slice:
        """Which of so many variants this process plays.

        Raises:
            InputError: they cannot be divided evenly.
        """
        if variants % self.count:
            raise InputError(
                f"variants={variants}: must be a multiple of the {self.count} processes that share them; choose "
                f"--variants {variants + -variants % self.count}, or start another number of processes"
            )
        size = variants // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor averaged over the processes, all in one message."""
        if self.count == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        with self._lost():
            torch.distributed.all_reduce(flat)
        parts = (flat / self.count).split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def mean(self, x: Tensor) -> Tensor:
        """A tensor averaged over the processes."""
        return self.means([x])[0]

    def gathered(self, x_T: Tensor) -> Tensor:
        """The rows of all processes, in the order of their variants."""
        if self.count == 1:
            return x_T
        found = [torch.empty_like(x_T) for _ in range(self.count)]
        with self._lost():
            torch.distributed.all_gather(found, x_T.contiguous())
        return torch.cat(found)

    def collected(self, state: Any) -> list[Any]:
        """Every process's state in the order of the ranks, on the first process; elsewhere this process's alone."""
        if self.count == 1:
            return [state]
        found: list[Any] = [None] * self.count
        with self._lost():
            torch.distributed.gather_object(state, found if self.first else None)
        return found if self.first else [state]

    def agreed(self, *flags: bool) -> list[bool]:
        """What the first process says."""
        if self.count == 1:
            return list(flags)
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        said = torch.tensor(flags, dtype=torch.int64, device=device)
        with self._lost():
            torch.distributed.broadcast(said, 0)
        return list(map(bool, said.tolist()))

    def wait(self) -> None:
        """Wait until every process is here."""
        self.agreed(True)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError:
            raise InputError(
                f"rank {self.rank} of {self.count}: another process of this training has ended or does not answer; "
                "see what it said, and go on with --resume"
            ) from None


ALONE = Ranks()


def of_this_job() -> Ranks:
    """What ``torchrun`` says in the environment of this process; alone where it says nothing.

    Raises:
        InputError: the environment holds something else.
    """
    given = {name: os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))}
    rank, count = (int(text) if text.isdecimal() else -1 for text in given.values())
    if count == 1:
        return ALONE
    if not 0 <= rank < count:
        said = ", ".join(f"{name}={text}" for name, text in given.items())
        raise InputError(f"{said}: must be a process and their number, as torchrun sets them; start it with torchrun")
    return Ranks(rank, count)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, for as long as a training takes; alone where it started none.

    Raises:
        InputError: as ``of_this_job``, or they do not find each other.
    """
    ranks = of_this_job()
    if ranks.count == 1:
        yield ranks
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with ranks._lost():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield ranks
    finally:
        torch.distributed.destroy_process_group()
