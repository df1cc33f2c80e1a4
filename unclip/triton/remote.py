"""A network on a Triton server, called by an engine like one of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.current_batch import abandoned, deadline
from unclip.errors import Cancelled, ConfigurationError, DeadlineExceeded, Unavailable
from unclip.networks.interface import COMPONENTS, NetworkName, Port, Signature, Tensors
from unclip.triton.address import ModelAddress
from unclip.triton.failures import error_of

log = logging.getLogger(__name__)
PROBE_S = 0.5  # between questions whether a model is ready
PATIENCE_S = 5.0  # that one such question may take
WAKE_S = 0.05  # after which a waiting tick looks whether anybody still wants it
LONGEST_S = 300.0  # of a call without a deadline
SILENT_S = 15.0  # between words to the log about a model that is not there
DTYPES = {"FP32": torch.float32, "INT64": torch.int64, "BOOL": torch.bool}
# These replace tritonclient's own, which bound neither how long it waits before it connects again.
CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@dataclass
class TritonNetwork:
    """A model on a Triton server as a `Network`. Call it on an engine's thread; it lives on the loop that made it.

    max_batch: rows of one request; more are sent in several.
    """

    name: NetworkName
    address: ModelAddress
    signature: Signature
    max_batch: int
    _client: Any
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __call__(self, inputs: Tensors) -> torch.Tensor:
        """The output, float32, on the device of the first input.

        Raises:
            Unavailable: the server is away, or the model not ready.
            Overloaded: the model's queue is full.
            Cancelled, DeadlineExceeded: nobody waits any more.
        """
        device = next(iter(inputs.values())).device
        arrays = {port.name: to_array(inputs[port.name], port) for port in self.signature.inputs}
        rows = len(next(iter(arrays.values())))
        parts = [
            self._part({name: value[first : first + self.max_batch] for name, value in arrays.items()})
            for first in range(0, rows, self.max_batch)
        ]
        return torch.from_numpy(np.concatenate(parts) if len(parts) > 1 else parts[0]).to(device)

    def _part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        left = min(deadline() - time.monotonic(), LONGEST_S)
        if left <= 0:
            raise DeadlineExceeded(f"{self.name}: no time is left for the model")
        answer = asyncio.run_coroutine_threadsafe(self._infer(arrays, left), self._loop)
        while True:
            try:
                return answer.result(WAKE_S)
            except TimeoutError:
                if abandoned():
                    answer.cancel()  # and with it the call: the server drops what it has not begun
                    if deadline() <= time.monotonic():
                        raise DeadlineExceeded(f"{self.name}: the model did not answer in time") from None
                    raise Cancelled(f"{self.name}: nobody waits for the model's answer") from None
            except CancelledError:
                raise Unavailable(self.name, "shutting down") from None

    async def _infer(self, arrays: Mapping[str, npt.NDArray[Any]], seconds: float) -> npt.NDArray[Any]:
        from tritonclient.grpc import InferInput
        from tritonclient.utils import InferenceServerException

        sent = []
        for port in self.signature.inputs:
            tensor = InferInput(port.name, arrays[port.name].shape, port.format)
            tensor.set_data_from_numpy(arrays[port.name])
            sent.append(tensor)
        try:
            found = await self._client.infer(
                self.address.model, sent, client_timeout=seconds, timeout=max(1, int(seconds * 1e6))
            )
        except InferenceServerException as error:
            raise error_of(str(error.status()), str(error.message()), self.name) from error
        # A copy, since what the message holds is read-only.
        output: npt.NDArray[Any] = found.as_numpy(self.signature.output.name).astype(np.float32, copy=True)
        return output

    async def ready(self) -> bool:
        """Whether the server is there and the model ready."""
        from tritonclient.utils import InferenceServerException

        try:
            return bool(await self._client.is_model_ready(self.address.model, client_timeout=PATIENCE_S))
        except InferenceServerException:
            return False

    async def config(self) -> Mapping[str, Any] | None:
        """What the model's ``config.pbtxt`` says, None while it is not ready."""
        from tritonclient.utils import InferenceServerException

        try:
            if not await self.ready():
                return None
            answer = await self._client.get_model_config(self.address.model, as_json=True, client_timeout=PATIENCE_S)
        except InferenceServerException:
            return None
        found: Mapping[str, Any] = answer["config"]
        return found

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()


def to_array(value: torch.Tensor, port: Port) -> npt.NDArray[Any]:
    """A batch as it is sent; a number for each row becomes an axis of one."""
    array = value.detach().to("cpu", DTYPES[port.format]).contiguous().numpy()
    return array[:, None] if not port.shape else array


async def connect(
    addresses: Mapping[NetworkName, ModelAddress],
    signature: Callable[[NetworkName], Signature],
    checkpoint: Callable[[NetworkName], Checkpoint],
) -> dict[NetworkName, TritonNetwork]:
    """The networks at these addresses, see `parse_networks`, once all of them are ready, however long it takes.

    Raises:
        ConfigurationError: a model takes or gives other tensors than the checkpoint's network, or was exported with
            other weights.
    """
    found = {}
    for name, address in addresses.items():
        weights = await asyncio.to_thread(checkpoint(name).version, [COMPONENTS[name]])
        found[name] = await open_model(name, address, signature(name), weights)
    return found


async def open_model(name: NetworkName, address: ModelAddress, signature: Signature, weights: str) -> TritonNetwork:
    """A model, once it is ready; see `connect`."""
    try:
        from tritonclient.grpc.aio import InferenceServerClient
    except ImportError:
        raise ConfigurationError("network: needs the extra triton: pip install 'unclip[triton]'") from None
    network = TritonNetwork(name, address, signature, 1, InferenceServerClient(address.server, channel_args=CHANNEL))
    warned = float("-inf")
    while (config := await network.config()) is None:
        if time.monotonic() - warned > SILENT_S:
            warned = time.monotonic()
            log.warning("waiting for the model %s on %s", address.model, address.server)
        await asyncio.sleep(PROBE_S)
    check(config, signature, address.model, weights)
    network.max_batch = max(1, int(config.get("max_batch_size", 0)))
    return network


def check(config: Mapping[str, Any], signature: Signature, model: str, weights: str) -> None:
    """Raises ConfigurationError unless a model's config is of this signature and, if it names any, these weights."""
    for kind, ports in (("input", signature.inputs), ("output", (signature.output,))):
        found = {
            part["name"]: (part["data_type"].removeprefix("TYPE_"), tuple(int(n) for n in part.get("dims", ())))
            for part in config.get(kind, ())
        }
        expected = {port.name: (port.format, port.shape or (1,)) for port in ports}
        if found != expected:
            raise ConfigurationError(
                f"network: the model {model} has as {kind} {found}, this checkpoint needs {expected}"
            )
    named = config.get("parameters", {}).get("weights", {}).get("string_value", weights)
    if named != weights:
        raise ConfigurationError(
            f"network: the model {model} was exported with weights {named[:12]}, this checkpoint has {weights[:12]}"
        )


async def watch(networks: Collection[TritonNetwork], set_ready: Callable[[bool], Any]) -> None:
    """Passes on, until cancelled, whenever all of ``networks`` become ready, or one no longer is."""
    before = True
    while True:
        await asyncio.sleep(PROBE_S)
        now = all(await asyncio.gather(*(network.ready() for network in networks)))
        if now != before:
            before = now
            log.warning("the models on Triton are %s", "ready again" if now else "not ready")
            await set_ready(now)
