"""Networks as captured CUDA graphs, one for each bucket of batch sizes: one launch in the place of hundreds."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import torch

from unclip.networks.interface import Network, Tensors

MAX_GRAPHS = 32  # of a network: two contexts, say, in every bucket up to 1024 rows, and some to spare
CAPTURE_AFTER = 16  # times a shape is launched kernel by kernel before a graph is given up for it
MAX_COUNTED = 1024  # shapes counted at a time
WARM_UP = 3  # runs before a capture: cuDNN chooses its algorithms and allocators settle


def bucket(rows: int) -> int:
    """The smallest power of two that holds ``rows``."""
    return 1 << max(0, rows - 1).bit_length()


def padded(inputs: Tensors, rows: int) -> dict[str, torch.Tensor]:
    """Each input with its last row repeated up to ``rows``: sound values, so that nothing overflows for nothing."""
    return {
        name: torch.cat([value, value[-1:].expand(rows - len(value), *value.shape[1:])]) if len(value) < rows else value
        for name, value in inputs.items()
    }


class CapturedNetwork:
    """A network as CUDA graphs, one for each bucket and set of shapes, captured when first needed.

    Callers choose shapes, a context of any length for one, and every graph holds memory: at most ``MAX_GRAPHS`` are
    kept. With all of them taken, further shapes are launched kernel by kernel; one that is asked for ``CAPTURE_AFTER``
    times takes the place of the graph that was not replayed for longest.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pool: Any = None  # of memory, shared: only one graph runs at a time
        self._graphs: OrderedDict[Any, tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor], torch.Tensor]]
        self._graphs = OrderedDict()  # the one not replayed for longest comes first
        self._asked: Counter[Any] = Counter()  # of shapes without a graph, since all places were taken

    def __call__(self, inputs: Tensors) -> torch.Tensor:
        rows = len(next(iter(inputs.values())))
        full = padded(inputs, bucket(rows))
        key = tuple((name, value.shape, value.dtype) for name, value in full.items())
        if key not in self._graphs and not self._should_capture(key):
            return self._network(inputs)
        if key not in self._graphs:
            self._graphs[key] = self._capture(full)
        self._graphs.move_to_end(key)
        graph, static, out = self._graphs[key]
        for name, value in full.items():
            static[name].copy_(value, non_blocking=True)
        graph.replay()
        return out[:rows].clone()  # the next replay overwrites it

    def _should_capture(self, key: Any) -> bool:
        """Whether a shape without a graph gets one now, for which another one may have to go."""
        if len(self._graphs) < MAX_GRAPHS:
            return True
        if len(self._asked) >= MAX_COUNTED:
            self._asked.clear()
        self._asked[key] += 1
        if self._asked[key] < CAPTURE_AFTER:
            return False
        del self._asked[key]
        self._graphs.popitem(last=False)
        return True

    def _capture(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor], Any]:
        static = {name: value.clone() for name, value in inputs.items()}
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._network(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        # Other threads prepare conditions on the device meanwhile, which must not break the capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            out = self._network(static)
        return graph, static, out
