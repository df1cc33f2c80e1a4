"""``python -m unclip.triton.export CHECKPOINT REPOSITORY``: a checkpoint as a model repository for NVIDIA Triton.

Each network becomes a model of Triton's Python backend, with the components it needs beside it; the server's Python
needs this package with its extra ``model``, or finds it by ``--python-path``. With ``--backend onnxruntime`` or
``tensorrt`` it becomes an ONNX file instead, which is tried before it takes its place, and the server needs no Python.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import EVERY_FOLDER
from unclip.checkpoints.manifest import INDEX
from unclip.checkpoints.sources import sources
from unclip.errors import ConfigurationError, UnclipError
from unclip.escaping import escaped
from unclip.networks.interface import COMPONENTS, NETWORKS, NetworkName, Port, Signature
from unclip.triton.backend import networks_of
from unclip.triton.plan import write_plan

BackendName = Literal["python", "onnxruntime", "tensorrt"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
ONNX_PRECISIONS = {"auto": "float32", "float32": "float32", "float16": "float16"}
MODEL = '''"""A network of an unclip checkpoint, written by ``unclip export-triton``."""

import json
import sys


class TritonPythonModel:
    """See unclip.triton.backend."""

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        sys.path[:0] = json.loads(parameters["python_path"]["string_value"])
        from unclip.triton.backend import Backend

        self._backend = Backend(args)

    def execute(self, requests):
        return self._backend.execute(requests)
'''


@dataclass(frozen=True)
class Options:
    """How the models are served.

    backend: one of Triton's. max_batch: rows of one pass. queue: requests that may wait for one model, beyond which it
    refuses. delay_us: how long a request may wait for others to share its pass; 0 waits for nobody. threads: of each
    model on a CPU, 0 for all cores. gpus: device numbers, none for the CPU. python_path: folders in which the server's
    Python looks for packages.
    """

    backend: BackendName = "python"
    max_batch: int = 16
    queue: int = 64
    delay_us: int = 0
    threads: int = 0
    precision: str = "auto"
    gpus: tuple[int, ...] = ()
    python_path: tuple[str, ...] = ()


def export(source: str, repository: Path, options: Options = Options()) -> list[Path]:
    """Writes a model for each network of a checkpoint into ``repository``, over those that are there; their folders.

    Raises:
        CheckpointError: there is no such checkpoint, or it is incomplete or altered.
        ConfigurationError: the backend cannot have these options, its extra is missing, or an ONNX file is not its
            network; of that network nothing is written then.
    """
    check(options)
    found = sources(Checkpoint.open(source, EVERY_FOLDER))
    homes = {name: found[COMPONENTS[name]] for name in NETWORKS if COMPONENTS[name] in found}
    return [write_model(name, at, repository, options) for name, at in homes.items() if at.has(COMPONENTS[name])]


def check(options: Options) -> None:
    """Raises ConfigurationError for options that mean nothing to their backend."""
    if options.backend == "python":
        return
    if options.python_path:
        raise ConfigurationError(f"python-path: the backend {options.backend} runs no Python")
    if options.precision not in ONNX_PRECISIONS:
        raise ConfigurationError(
            f"precision: of the backend {options.backend}, {', '.join(ONNX_PRECISIONS)}; got {options.precision!r}"
        )
    if options.backend == "tensorrt" and not options.gpus:
        raise ConfigurationError("gpu: the backend tensorrt needs one, by its number")
    from unclip.triton.onnx import check_extra

    check_extra()


def write_model(name: NetworkName, checkpoint: Checkpoint, repository: Path, options: Options) -> Path:
    """One network as a model of its own, which takes its place when all of it is written."""
    component = COMPONENTS[name]
    checkpoint.verify([component])
    signature: Signature = networks_of(name).signature(name, checkpoint)
    config = model_config(name, signature, options)
    parameters = {"weights": checkpoint.version([component])}
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository, prefix=f".{name}-") as scratch:
        made = Path(scratch) / name
        (made / "1").mkdir(parents=True)
        if options.backend == "python":
            parameters |= write_python(name, checkpoint, made / "1", options)
        else:
            parameters |= write_onnx(name, checkpoint, signature, made, options)
        for key, value in parameters.items():
            config.parameters[key].string_value = value
        (made / "config.pbtxt").write_text(text_format.MessageToString(config))
        folder = repository / name
        shutil.rmtree(folder, ignore_errors=True)
        return made.rename(folder)


def write_python(name: NetworkName, checkpoint: Checkpoint, folder: Path, options: Options) -> Mapping[str, str]:
    """A network for the Python backend; the model's parameters."""
    component = COMPONENTS[name]
    (folder / "model.py").write_text(MODEL)
    kept = folder / "checkpoint"
    shutil.copytree(checkpoint.place(component), kept / component)
    if name in ("decoder", "decoder_student"):  # whose signature is that of what they walk, and are told
        for part in checkpoint.components("decoder"):
            if part != component and (config := checkpoint.place(part) / "config.json").is_file():
                (kept / part).mkdir()
                shutil.copy(config, kept / part)
    (kept / INDEX).write_text(json.dumps({part.name: [] for part in sorted(kept.iterdir())}))
    return {
        "network": name,
        "precision": options.precision,
        "threads": str(options.threads),
        "python_path": json.dumps(list(options.python_path)),
    }


def write_onnx(
    name: NetworkName, checkpoint: Checkpoint, signature: Signature, folder: Path, options: Options
) -> Mapping[str, str]:
    """A network for the onnxruntime or TensorRT backend; the model's parameters."""
    from unclip.triton import onnx

    off = onnx.write(name, checkpoint, signature, folder / "1" / onnx.FILE, ONNX_PRECISIONS[options.precision])
    parameters = {"difference": f"{off:.1e}"}
    if options.backend == "onnxruntime":
        return parameters | {"intra_op_thread_count": str(options.threads)}
    write_plan(name, checkpoint, signature, folder, options.max_batch)
    return parameters


def model_config(name: NetworkName, signature: Signature, options: Options) -> model_config_pb2.ModelConfig:
    """What ``config.pbtxt`` says, but for parameters."""
    pb = model_config_pb2
    config = pb.ModelConfig(
        name=name,
        backend=options.backend,
        max_batch_size=options.max_batch,
        input=[pb.ModelInput(name=p.name, data_type=data_type(p), dims=p.shape or (1,)) for p in signature.inputs],
        output=[
            pb.ModelOutput(
                name=signature.output.name, data_type=data_type(signature.output), dims=signature.output.shape
            )
        ],
        instance_group=[
            pb.ModelInstanceGroup(
                count=1,
                kind=pb.ModelInstanceGroup.KIND_GPU if options.gpus else pb.ModelInstanceGroup.KIND_CPU,
                gpus=options.gpus,
            )
        ],
        model_warmup=[warm_up(signature, min(2, options.max_batch))],
    )
    batching = config.dynamic_batching
    batching.max_queue_delay_microseconds = options.delay_us
    policy = batching.default_queue_policy
    policy.max_queue_size = options.queue
    policy.allow_timeout_override = True  # a request of ours names the time it has left
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    return config


def data_type(port: Port) -> model_config_pb2.DataType:
    """Triton's name for a port's format."""
    return model_config_pb2.DataType.Value(f"TYPE_{port.format}")


def warm_up(signature: Signature, rows: int) -> model_config_pb2.ModelWarmup:
    """Rows of zeros before the model is ready, so that no caller waits for what is done only once."""
    sample = model_config_pb2.ModelWarmup(name="zeros", batch_size=rows)
    for port in signature.inputs:
        tensor = sample.inputs[port.name]
        tensor.data_type = data_type(port)
        tensor.dims.extend(port.trial if size < 0 else size for size in port.shape or (1,))
        tensor.zero_data = True
    return sample


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports what the command line names; 2 and one line on standard error when that cannot be done."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m unclip.triton.export", description="a Triton model repository")
    parser.add_argument("checkpoint", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    parser.add_argument("repository", type=Path, help="folder of the models")
    parser.add_argument("--backend", choices=BACKENDS, default=default.backend, help="of Triton (%(default)s)")
    parser.add_argument("--max-batch", type=int, default=default.max_batch, help="rows of one pass (%(default)s)")
    parser.add_argument("--queue", type=int, default=default.queue, help="requests that may wait (%(default)s)")
    parser.add_argument("--delay-us", type=int, default=default.delay_us, help="wait for company (%(default)s)")
    parser.add_argument("--threads", type=int, default=default.threads, help="of each model on a CPU (all cores)")
    parser.add_argument("--precision", default=default.precision, help="auto, float32, bfloat16, float16")
    parser.add_argument("--gpu", type=int, action="append", default=[], help="device number; none is the CPU")
    parser.add_argument("--python-path", action="append", default=[], help="folder for the server's Python to import")
    chosen = parser.parse_args(arguments)
    options = Options(
        chosen.backend,
        chosen.max_batch,
        chosen.queue,
        chosen.delay_us,
        chosen.threads,
        chosen.precision,
        tuple(chosen.gpu),
        tuple(chosen.python_path),
    )
    try:
        if min(options.max_batch, options.queue) < 1 or min(options.delay_us, options.threads) < 0:
            raise ConfigurationError("max-batch and queue must be at least 1, delay-us and threads at least 0")
        for folder in export(chosen.checkpoint, chosen.repository, options):
            print(folder)
    except UnclipError as error:
        print(f"unclip: {escaped(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
