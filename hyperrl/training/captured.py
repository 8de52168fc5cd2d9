"""An iteration's work as one CUDA graph: the device runs it without waiting for Python.

A graph repeats the calls of the iteration in which it was captured, on the same memory. So what it computes depends on
tensors alone, which are changed in place, and on generators that are registered with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor

from hyperrl.envs.errors import one_line

WARM_UP = 3
"""Calls before one is captured: libraries prepare themselves, and compiled functions are compiled."""

Answer = TypeVar("Answer")


@contextmanager
def tf32() -> Iterator[None]:
    """Within the block, matrix products on a GPU round their factors to TF32, with 10 bits of mantissa."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


class Captured(Generic[Answer]):
    """A function without arguments, captured at one of its first calls and repeated at all later ones.

    It stays as it is where capturing fails, with a warning. Its answer is in the same memory every time.
    """

    def __init__(
        self,
        function: Callable[[], Answer],
        generators: Sequence[torch.Generator],
        inputs: Callable[[], Sequence[Tensor]],
    ) -> None:
        """Capture nothing yet.

        Args:
            function: waits for nothing on the device, and changes nothing but tensors in place.
            generators: what it draws from.
            inputs: the tensors that it reads and that others may replace; it is captured anew once they do.
        """
        self._function, self._generators, self._inputs = function, generators, inputs
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._read: list[int] = []
        self._answer: Answer | None = None
        self.fails = False
        """Whether it could not be captured."""

    @property
    def captured(self) -> bool:
        """Whether the next call repeats what was captured."""
        return self._graph is not None and self._read == self._addresses()

    def __call__(self) -> Answer:
        """The function's answer."""
        self._calls += 1
        if self.fails:
            return self._function()
        if self._calls <= WARM_UP:
            return self._beside()
        if not self.captured:
            self._capture()
        if self._graph is None or self._answer is None:
            return self._function()
        self._graph.replay()
        return self._answer

    def _addresses(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._inputs()]

    def _beside(self) -> Answer:
        """Call the function on a stream of its own, as capturing will."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            answer = self._function()
        torch.cuda.current_stream().wait_stream(stream)
        return answer

    def _capture(self) -> None:
        self._read, self._graph, self._answer = self._addresses(), None, None
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph):
                self._answer = self._function()
            self._graph = graph
        except RuntimeError as error:
            self.fails = True
            warnings.warn(f"not captured in a CUDA graph: {one_line(error)}", stacklevel=4)
