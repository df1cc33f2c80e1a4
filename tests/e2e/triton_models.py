"""Models on a tritonserver: one of an ONNX file, and some that misbehave as tests want them to."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.triton_server import PATHS
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.triton.export import Options, write_model

SLEEPER = '''
import time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    """Sleeps over each request, and fails."""

    def execute(self, requests):
        time.sleep({seconds})
        error = pb_utils.TritonError("overslept")
        return [pb_utils.InferenceResponse(output_tensors=[], error=error) for _ in requests]
'''

ONNXRUNTIME = '''
import json
import sys
import triton_python_backend_utils as pb_utils

sys.path[:0] = {paths}
import onnxruntime
import torch
from torch.utils.dlpack import from_dlpack

class TritonPythonModel:
    """Runs model.onnx as the backend of this name does, which the wheel does not have."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [part["name"] for part in config["input"]]
        [self.output] = [part["name"] for part in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        file = args["model_repository"] + "/" + args["model_version"] + "/model.onnx"
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        sent = {{name: pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs}}
        arrays = {{name: from_dlpack(tensor.to_dlpack()).numpy() for name, tensor in sent.items()}}
        [out] = self.session.run([self.output], arrays)
        tensor = pb_utils.Tensor.from_dlpack(self.output, torch.from_numpy(out))
        return pb_utils.InferenceResponse(output_tensors=[tensor])
'''


def add_onnx_prior(repository: Path, scratch: Path, checkpoint: Path, options: Options) -> None:
    """The prior as ``prior_onnx``, an ONNX file, and what stands in for the backend in a server's ``scratch``."""
    write_model("prior", Checkpoint.open(checkpoint), scratch / "onnx", options)
    folder = (scratch / "onnx" / "prior").rename(repository / "prior_onnx")
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "prior"', 'name: "prior_onnx"', 1))
    backend = scratch / "backends" / "onnxruntime" / "model.py"
    backend.parent.mkdir(parents=True)
    backend.write_text(ONNXRUNTIME.format(paths=list(PATHS)))


def add_sleeper(repository: Path, name: str, seconds: float) -> None:
    """A model with the prior's signature that takes ``seconds`` for one request and lets one more wait."""
    text = (repository / "prior" / "config.pbtxt").read_text()
    head, _, _ = text.partition("model_warmup")
    head = head.replace('name: "prior"', f'name: "{name}"', 1).replace("max_queue_size: 64", "max_queue_size: 1")
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(head + 'backend: "python"\n')
    (repository / name / "1" / "model.py").write_text(SLEEPER.format(seconds=seconds))


@contextlib.contextmanager
def pressed(network: Any) -> Iterator[None]:
    """Others keep the model busy and its queue full."""
    from tritonclient.grpc import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    over = threading.Event()

    def press() -> None:
        dtypes = {"FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}
        sent = []
        for port in network.signature.inputs:
            array = np.zeros((1, *(port.shape or (1,))), dtypes[port.format])
            sent.append(InferInput(port.name, array.shape, port.format))
            sent[-1].set_data_from_numpy(array)
        with InferenceServerClient(network.address.server) as client:
            while not over.is_set():
                with contextlib.suppress(InferenceServerException):
                    client.infer("slow", sent, client_timeout=30)
                time.sleep(0.01)

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
