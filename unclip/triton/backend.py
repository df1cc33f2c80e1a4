"""The half that runs inside a Triton server: a network of a checkpoint behind Triton's Python backend."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unclip.networks.idle_threads import spin_briefly

if TYPE_CHECKING:
    from unclip.networks.interface import NetworkName

SERVICES: Mapping[NetworkName, str] = {
    "text_encoder": "encoder_svc",
    "decoder_text_encoder": "encoder_svc",
    "image_encoder": "encoder_svc",
    "prior": "prior_svc",
    "decoder": "decoder_svc",
    "decoder_student": "decoder_svc",
    "latent_encoder": "decoder_svc",
    "upsampler": "decoder_svc",
    "upsampler_last": "decoder_svc",
    "latent_decoder": "decoder_svc",
}


def networks_of(name: NetworkName) -> Any:
    """The module whose ``signature`` and ``load`` know a network."""
    return importlib.import_module(f"{SERVICES[name]}.networks")


class Backend:
    """What ``TritonPythonModel`` does; see the Python backend's documentation for its life.

    args: of ``initialize``. Parameters of ``config.pbtxt``: network, precision, threads (0 for all cores).
    """

    def __init__(self, args: Mapping[str, str]) -> None:
        spin_briefly()
        import triton_python_backend_utils as utils

        from unclip.checkpoints.checkpoint import Checkpoint
        from unclip.malloc import keep_large_blocks
        from unclip.networks.device import open_device
        from unclip.networks.placement import Placement

        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._utils = utils
        name: Any = parameters["network"]
        gpu = args["model_instance_kind"] == "GPU"
        device = open_device(f"cuda:{args['model_instance_device_id']}" if gpu else "cpu", int(parameters["threads"]))
        folder = Path(args["model_repository"]) / args["model_version"] / "checkpoint"
        checkpoint = Checkpoint.open(folder)
        module = networks_of(name)
        self._signature = module.signature(name, checkpoint)
        self._network = module.load(name, checkpoint, Placement.choose(device, parameters["precision"]))
        self._device = device
        keep_large_blocks()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request; all requests of a call share one pass through the network."""
        import torch

        ports = self._signature.inputs
        parts = {port.name: [self._tensor(request, port.name) for request in requests] for port in ports}
        rows = [len(part) for part in parts[ports[0].name]]
        inputs = {port.name: self._batch(parts[port.name], port) for port in ports}
        try:
            with torch.inference_mode():
                out = self._network(inputs).float().cpu()
        except torch.OutOfMemoryError:
            error = self._utils.TritonError("OUT_OF_DEVICE_MEMORY")
            return [self._utils.InferenceResponse(output_tensors=[], error=error) for _ in requests]
        name = self._signature.output.name
        return [
            self._utils.InferenceResponse(output_tensors=[self._utils.Tensor.from_dlpack(name, part.contiguous())])
            for part in out.split(rows)
        ]

    def _batch(self, parts: list[Any], port: Any) -> Any:
        import torch

        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        return (whole if port.shape else whole[:, 0]).to(self._device)

    def _tensor(self, request: Any, name: str) -> Any:
        """An input, by DLPack: the backend's own numpy arrays are wrong under numpy 2."""
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(self._utils.get_input_tensor_by_name(request, name).to_dlpack())
