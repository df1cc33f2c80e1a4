"""A network as an ONNX file, for Triton's onnxruntime and TensorRT backends, and the proof that it is the network."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.errors import ConfigurationError, UnclipError
from unclip.networks.interface import COMPONENTS, Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import FORMATS, Placement
from unclip.triton.backend import networks_of
from unclip.triton.remote import to_array

FILE = "model.onnx"  # its weights lie beside it, in model.onnx.data: a protobuf holds 2 GB at most
NEEDED = ("onnx", "onnxruntime", "onnxscript")
# How far a file may be off the network in float32, in parts of its largest output. Sums in another order are off by
# up to 1e-5, torch's own float16 by 5e-3; one of the 255 levels of a pixel is 8e-3 of a picture in [-1, 1].
LIMITS = {"float32": 1e-4, "float16": 1e-2}
EXAMPLE = (2, 8)  # rows and length that the exporter sees
TRIALS = ((1, 5), (3, 13))  # and those that the file is tried with
TIMESTEPS = 1000


def check_extra() -> None:
    """Raises ConfigurationError where what writes and tries ONNX files is not installed."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise ConfigurationError("backend: an ONNX file needs the extra onnx: pip install 'unclip[onnx]'")


def write(name: NetworkName, checkpoint: Checkpoint, signature: Signature, file: Path, precision: str) -> float:
    """Writes a network and tries it; how far its outputs are off those in float32, in parts of the largest.

    precision: of weights and activations, one of LIMITS; inputs and output are float32 in either.

    Raises:
        CheckpointError: the network does not load.
        ConfigurationError: it cannot be exported, or what was written is not the network; the file is then of no use.
    """
    load = networks_of(name).load
    placement = _RecordingPlacement(torch.device("cpu"), FORMATS[precision])
    network = load(name, checkpoint, placement)
    vocabulary = int(checkpoint.config(COMPONENTS[name], "config.json").get("vocab_size", 49408))
    example = trial(signature, *EXAMPLE, vocabulary)
    try:
        save(_TritonCall(network, placement.loaded[0], signature), signature, example, file)
        if precision != "float32":
            network = load(name, checkpoint, Placement(torch.device("cpu")))
        found = difference(network, opened(file, signature), signature, vocabulary)
    except UnclipError:
        raise
    except Exception as error:  # torch's and onnxruntime's have nothing in common
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"backend: {name} does not become an ONNX file: {reason}") from error
    limit = LIMITS[precision]
    if not found <= limit:  # nor if it is no number
        raise ConfigurationError(
            f"backend: {name} as an ONNX file is off by {found:.1e} of its largest output, the limit is {limit:.0e}"
        )
    return found


@dataclass(frozen=True)
class _RecordingPlacement(Placement):
    """Keeps what it loads: the exporter wants the module that a network runs, whose weights it then names."""

    loaded: list[nn.Module] = field(default_factory=list)

    def load(self, kind: Any, checkpoint: Checkpoint, folder: str, parts: Collection[str] = ()) -> Any:
        self.loaded.append(super().load(kind, checkpoint, folder, parts))
        return self.loaded[-1]


class _TritonCall(nn.Module):
    """A network as Triton calls it: tensors in the signature's order, a number for each row as an axis of one."""

    def __init__(self, network: Network, module: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.module = module
        self._network, self._ports = network, signature.inputs

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        pairs = zip(self._ports, tensors, strict=True)
        return self._network({port.name: value if port.shape else value[:, 0] for port, value in pairs})


def save(network: nn.Module, signature: Signature, example: Tensors, file: Path) -> None:
    """Writes a module that takes a signature's tensors, with batch and lengths as dynamic axes."""
    ports = signature.inputs
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # about what torch calls in torch, and axes that are one and have one name
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here uses
        program = torch.onnx.export(
            network,
            tuple(torch.from_numpy(to_array(example[port.name], port)) for port in ports),
            dynamo=True,
            verbose=False,
            input_names=[port.name for port in ports],
            output_names=[signature.output.name],
            dynamic_shapes=(tuple(axes(port) for port in ports),),
        )
    assert program is not None
    graph = program.model.graph
    ours = {value.name: value for value in (*graph.inputs, *graph.outputs)}
    for node in graph.all_nodes():
        node.metadata_props.clear()  # stack traces, and in them the folders of whoever exports
    for value in [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]:
        if ours.get(value.name, value) is not value:
            value.name = f"inner_{value.name}"  # the exporter does not see that a port has the name already
    program.save(str(file), external_data=True)


def axes(port: Port) -> dict[int, Any]:
    """A port's dynamic axes by their position in a batch."""
    names = iter(("height", "width") if port.pixels else ("length",))
    free = {index + 1: torch.export.Dim(next(names)) for index, size in enumerate(port.shape) if size < 0}
    # U-Nets halve pictures several times over: of an odd height they would make another program.
    return {0: torch.export.Dim("batch"), **{at: port.trial * dim if port.pixels else dim for at, dim in free.items()}}


def opened(file: Path, signature: Signature) -> Network:
    """What onnxruntime makes of a file, on one CPU thread, as a network."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def forward(inputs: Tensors) -> torch.Tensor:
        sent = {port.name: to_array(inputs[port.name], port) for port in signature.inputs}
        [out] = session.run([signature.output.name], sent)
        return torch.from_numpy(out)

    return forward


def difference(network: Network, other: Network, signature: Signature, vocabulary: int = 0) -> float:
    """How far another network's outputs are off, in parts of the network's largest: the worst of several trials."""
    found = []
    for seed, (rows, length) in enumerate(TRIALS):
        inputs = trial(signature, rows, length, vocabulary, seed)
        with torch.inference_mode():
            expected, given = network(inputs), other(inputs)
        if expected.shape != given.shape:
            raise ConfigurationError(f"backend: an ONNX file gives {[*given.shape]}, the network {[*expected.shape]}")
        found.append((expected - given).abs().max() / expected.abs().max().clamp(min=1e-6))
    return float(torch.stack(found).max())


def trial(signature: Signature, rows: int, length: int, vocabulary: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random inputs of a network. length: of what has one; heights and widths are chosen by it too, and differ.

    vocabulary: of token ids, whose last one, the end's, is in every row.
    """
    random = np.random.default_rng(seed)
    found: dict[str, torch.Tensor] = {}
    for port in signature.inputs:
        shape = (rows, *filled(port, length))
        if port.format == "FP32":
            value: npt.NDArray[Any] = random.standard_normal(shape, dtype=np.float32)
        elif port.format == "BOOL":
            value = random.random(shape) < 0.6
            value[:, 0] = True  # a caption has a token
        elif port.shape:
            value = random.integers(0, vocabulary - 1, shape)
            value[np.arange(rows), random.integers(1, shape[1], rows)] = vocabulary - 1
        else:
            value = random.integers(0, TIMESTEPS, shape)
        found[port.name] = torch.from_numpy(value)
    return found


def filled(port: Port, length: int) -> tuple[int, ...]:
    """The shape of a row in such a trial."""
    free = iter((port.trial * (2 + length % 3), port.trial * (2 + (length + 1) % 3)) if port.pixels else (length,))
    return tuple(next(free) if size < 0 else size for size in port.shape)
