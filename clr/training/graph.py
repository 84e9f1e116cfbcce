"""A training step as one CUDA graph, which the GPU replays with new images."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3  # calls before the recording, in which cuDNN and the optimizer allocate memory


def capture(function: Callable[[], None]) -> Callable[[], None]:
    """Record what `function` starts on the GPU; returns a function that runs the recording."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


class Graphed:
    """A function of GPU tensors; from its fourth call on it is one CUDA graph, replayed.

    The function must not read a value back from the GPU. What it changes (weights, gradients,
    the optimizer's state and rates) must stay at the same place in memory, and its arguments
    must keep their shapes. Each call returns a new tensor.
    """

    def __init__(self, function: Callable[..., torch.Tensor]):
        self.function, self.calls = function, 0
        self.replay: Callable[[], None] | None = None

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The function's result for `inputs`."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside(inputs)
        if self.replay is None:
            self.inputs = [each.clone() for each in inputs]
            self.replay = capture(self._body)
        for ours, given in zip(self.inputs, inputs, strict=True):
            ours.copy_(given)
        self.replay()
        return self.result.clone()

    def _body(self):
        self.result = self.function(*self.inputs)

    def _aside(self, inputs):
        """Call the function without a graph, on a separate stream as in the recording."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            result = self.function(*inputs)
        here.wait_stream(aside)
        return result.clone()
