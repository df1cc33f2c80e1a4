"""What makes a TensorRT plan of an ONNX file: a plan is of one kind of GPU and one TensorRT, so it is made there."""

from __future__ import annotations

from pathlib import Path

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.interface import NetworkName, Signature

# Formats are the file's: TensorRT 11 has no other way, and 10 has it if asked to.
SCRIPT = """\
#!/bin/sh
# Makes 1/model.plan, which Triton loads. Run it on a GPU of the kind that will serve it, with the server's TensorRT.
cd "$(dirname "$0")/1" && exec trtexec --onnx=model.onnx --saveEngine=model.plan --stronglyTyped \\
    --minShapes={least} \\
    --optShapes={most} \\
    --maxShapes={most}
"""


def write_plan(name: NetworkName, checkpoint: Checkpoint, signature: Signature, folder: Path, max_batch: int) -> None:
    """Writes ``plan.sh`` into a model's folder."""
    longest = tokens(checkpoint) if name == "decoder" else 1
    least, most = shapes(signature, 1, 1), shapes(signature, max_batch, longest)
    script = folder / "plan.sh"
    script.write_text(SCRIPT.format(least=least, most=most))
    script.chmod(0o755)


def tokens(checkpoint: Checkpoint) -> int:
    """The most that a decoder's context has: a caption's, and those that the projection adds."""
    caption = checkpoint.config("text_encoder", "config.json").get("max_position_embeddings", 77)
    return int(caption) + int(checkpoint.config("text_proj", "config.json").get("clip_extra_context_tokens", 4))


def shapes(signature: Signature, rows: int, length: int) -> str:
    """A batch's shapes as trtexec takes them."""
    sizes = {port.name: (rows, *(length if n < 0 else n for n in port.shape or (1,))) for port in signature.inputs}
    return ",".join(f"{name}:{'x'.join(map(str, size))}" for name, size in sizes.items())
