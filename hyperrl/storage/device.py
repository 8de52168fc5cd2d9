"""What a run computes on."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hyperrl.envs import InputError


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block PyTorch computes with this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt, in malloc.h of the GNU C library."""


def keep_freed_memory() -> None:
    """Let this process keep up to 1 GiB of freed memory, where its C library can be asked to.

    By default the GNU C library gives a freed tensor of some megabytes back to the system, which maps it again, page by
    page and filled with zeros, at the next iteration: a sixth of the time of training on CartPole.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


@contextmanager
def float32() -> Iterator[None]:
    """Within the block new tensors are float32, whatever PyTorch's default is. Also a decorator."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(name: str) -> torch.device:
    """cpu, cuda, or auto.

    Raises:
        InputError: the name is none of these, or there is no CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"device {name!r}: unknown; choose from auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': PyTorch finds none here; choose cpu or auto")
    # with its number, since another thread's present device is another
    return torch.device(name) if name == "cpu" else torch.device(name, torch.cuda.current_device())
