"""What makes a TensorRT plan of an ONNX file: a plan is of one kind of GPU and one TensorRT, so it is made there."""

from __future__ import annotations

from pathlib import Path

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.interface import NetworkName, Port, Signature

# Formats are the file's: TensorRT 11 has no other way, and 10 has it if asked to.
SCRIPT = """\
#!/bin/sh
# Makes 1/model.plan, which Triton loads. Run it on a GPU of the kind that will serve it, with the server's TensorRT.
cd "$(dirname "$0")/1" && exec trtexec --onnx=model.onnx --saveEngine=model.plan --stronglyTyped \\
    --minShapes={least} \\
    --optShapes={usual} \\
    --maxShapes={most}
"""


def write_plan(name: NetworkName, checkpoint: Checkpoint, signature: Signature, folder: Path, max_batch: int) -> None:
    """Writes ``plan.sh`` into a model's folder."""
    longest = tokens(checkpoint) if name == "decoder" else 1
    smallest, usual, largest = sides(checkpoint, signature)
    script = folder / "plan.sh"
    script.write_text(
        SCRIPT.format(
            least=shapes(signature, 1, 1, smallest),
            usual=shapes(signature, max_batch, longest, usual),
            most=shapes(signature, max_batch, longest, largest),
        )
    )
    script.chmod(0o755)


def tokens(checkpoint: Checkpoint) -> int:
    """The most that a decoder's context has: a caption's, and those that a projection adds; 1 where it has none."""
    own, projection = "decoder_text_encoder", "text_proj"
    if own in checkpoint.listed:
        return int(checkpoint.config(own, "config.json").get("max_position_embeddings", 77))
    if not checkpoint.has(projection):
        return 1
    caption = checkpoint.config("text_encoder", "config.json").get("max_position_embeddings", 77)
    return int(caption) + int(checkpoint.config(projection, "config.json").get("clip_extra_context_tokens", 4))


def sides(checkpoint: Checkpoint, signature: Signature) -> tuple[int, int, int]:
    """The smallest, the usual and the largest side of a picture, in pixels; 0 of networks that take one size alone."""
    ports = (*signature.inputs, signature.output)
    if not any(port.pixels and -1 in port.shape for port in ports):
        return 0, 0, 0
    usual = int(checkpoint.config("decoder", "config.json")["sample_size"]) * max(port.pixels for port in ports)
    sizes = checkpoint.sizes
    return (min(sizes.smallest, usual), usual, max(sizes.largest, usual)) if sizes else (usual, usual, usual)


def shapes(signature: Signature, rows: int, length: int, side: int) -> str:
    """A batch's shapes as trtexec takes them. side: of pictures, in pixels."""

    def shape(port: Port) -> tuple[int, ...]:
        free = side // port.pixels if port.pixels else length
        return rows, *(free if size < 0 else size for size in port.shape or (1,))

    return ",".join(f"{port.name}:{'x'.join(map(str, shape(port)))}" for port in signature.inputs)
