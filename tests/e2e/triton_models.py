"""Models on a tritonserver that misbehave as tests want them to."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

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
