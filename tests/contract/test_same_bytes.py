"""The same request makes the same bytes as ever: pictures and recipes of forty mixed requests, compared by digest.

The digests are from before files were marked (docs/provenance.md): each file is compared with its mark, of which it has
one, taken out again, and the files of a gateway that marks nothing are compared as they are.

``python -m tests.contract.test_same_bytes`` writes the digests anew, where a change of what is made is meant. Real
networks add in another order on another processor, so there are digests for several, each taken when what it makes was
known to be right; and files are compressed by whatever zlib Pillow has. Where these differ from those that the digests
were taken with, they are not compared.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import PIL
import pytest
from PIL import Image, features

from tests.contract.conftest import serving
from tests.contract.gateways import png
from tests.contract.services import Bounds, Services
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.testing import GatewayServer
from unclip.testing.blocking import LoopThread
from unclip.testing.model import STAGES

DIGESTS = Path(__file__).with_name("same_bytes.json")
REQUESTS = 40
WORDS = ("a red apple", "two cats", "a dog made of snow", "ein Haus, gemalt")
SAMPLERS = (sampling_pb2.SAMPLER_DDPM, sampling_pb2.SAMPLER_DDIM, sampling_pb2.SAMPLER_DPMPP_2M)


def options(chance: random.Random, guided: bool = True, inverting: bool = False) -> sampling_pb2.SamplingOptions:
    """Of one stage; some of them not said."""
    made = sampling_pb2.SamplingOptions(steps=chance.randint(1, 6))
    if guided and chance.random() < 0.7:
        made.guidance_scale = chance.choice((1.0, 2.5, 6.0))
    if not inverting and chance.random() < 0.7:
        made.sampler = chance.choice(SAMPLERS)
        if made.sampler == sampling_pb2.SAMPLER_DDIM and chance.random() < 0.5:
            made.eta = 0.5
    return made


def picture(number: int) -> bytes:
    """A file: a gradient with a disc, of another shape for each number."""
    height, width = 20 + 7 * (number % 3), 24 + 5 * (number % 4)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 9, columns * 8, (rows + columns) * 4 + number], axis=-1).astype(np.uint8)
    pixels[(rows - height / 2) ** 2 + (columns - width / 3) ** 2 < 30] = (255, 10 * (number % 20), 0)
    return png(pixels)


def request_of(number: int) -> gateway_pb2.StreamRequest:
    """Request ``number``; the five kinds take turns."""
    chance = random.Random(number)
    asked = gateway_pb2.StreamRequest()
    kind = ("generate", "vary", "text_diff", "interpolate", "edit")[number % 5]
    body: Any = getattr(asked, kind)
    body.seed = chance.choice((0, 7, -3, 2**40))
    body.format = chance.choice((0, 1, 2, 3))
    body.upsampler.CopyFrom(options(chance, guided=False))
    inverting = kind in ("vary", "text_diff", "interpolate")
    body.decoder.CopyFrom(options(chance, inverting=inverting))
    if kind != "generate":
        body.image.data = picture(number)
        body.fit = chance.choice((0, 1, 2))
    if kind in ("generate", "edit"):
        body.caption, body.image_count = chance.choice(WORDS), chance.randint(1, 2)
        body.negative_caption = chance.choice(("", "blurry"))
        body.prior_candidates = chance.randint(1, 3)
        body.prior.CopyFrom(options(chance))
        body.prior.guidance_scale = 2.0
    if kind == "generate" and chance.random() < 0.3:
        body.candidates = body.image_count + 1
    if kind == "vary":
        body.image_count, body.start = chance.randint(1, 2), chance.choice((0, 1, 2))
        body.report_psnr = body.start != gateway_pb2.START_RANDOM
    if kind == "text_diff":
        body.before, body.after = chance.choice(("", "a cat")), "a dog"
        body.thetas.extend([0.25, 0.4][: chance.randint(1, 2)])
    if kind == "interpolate":
        body.ts.extend([0.2, 0.5, 1.0][: chance.randint(1, 3)])
        if number % 2:
            body.to_caption = "a boat"
            body.prior.CopyFrom(options(chance))
        else:
            body.to_image.data = picture(number + 1)
    if kind == "edit":
        with Image.open(io.BytesIO(body.image.data)) as source:
            kept = np.zeros((source.height, source.width), np.bool_)
        kept[:, :9] = True
        body.mask.data = png(kept)
        body.resampling = chance.randint(1, 2)
    return asked


def unmarked(file: bytes) -> bytes:
    """``file`` without its XMP, of which it must have one, and what that changed in a WebP's header."""
    parts: list[bytes] = []
    if file.startswith(b"\x89PNG"):
        at, kept = 8, file[:8]
        while at < len(file):
            end = at + 12 + struct.unpack_from(">I", file, at)[0]
            parts.append(file[at:end])
            at = end
        found = [part for part in parts if part[4:8] == b"iTXt"]
    elif file.startswith(b"RIFF"):
        at, kept = 12, file[:12]
        while at < len(file):
            end = at + 8 + struct.unpack_from("<I", file, at + 4)[0]
            parts.append(file[at : end + end % 2])
            at = end + end % 2
        found = [part for part in parts if part.startswith(b"XMP ")]
    else:
        at, kept = 2, file[:2]
        while file[at + 1] != 0xDA:
            end = at + 2 + struct.unpack_from(">H", file, at + 2)[0]
            parts.append(file[at:end])
            at = end
        parts.append(file[at:])
        found = [part for part in parts if part.startswith(b"http://ns.adobe.com/xap/1.0/", 4)]
    [mark] = found
    assert b"lgorithmicMedia</Iptc4xmpExt:DigitalSourceType>" in mark
    bare = kept + b"".join(part for part in parts if part != mark)
    if file.startswith(b"RIFF"):
        flags = bare[20] & ~0x04
        bare = bare[:4] + struct.pack("<I", len(bare) - 8) + bare[8:20] + bytes([flags]) + bare[21:]
    return bare


def made(stub: Any, number: int, marked: bool) -> tuple[list[str], list[str]]:
    """Digests of what request ``number`` makes: of each picture's pixels and recipe, and of its file unmarked."""
    contents, files = [], []
    answers = stub.Stream(request_of(number), timeout=60)
    for image in sorted((a.image for a in answers if a.HasField("image")), key=lambda image: int(image.image_index)):
        with Image.open(io.BytesIO(image.image.data)) as opened:
            lossy = opened.format == "JPEG"
            pixels = b"" if lossy else opened.convert("RGB").tobytes()
        file = unmarked(image.image.data) if marked else image.image.data
        files.append(hashlib.sha256(file).hexdigest()[:16])
        image.image.data = pixels
        contents.append(hashlib.sha256(image.SerializeToString(deterministic=True)).hexdigest()[:16])
    return contents, files


def measured(services: Services, marked: bool = True) -> dict[str, Any]:
    """Digests of all requests to a gateway that marks its files, or does not, and what they hold for."""
    with LoopThread() as thread:
        more: dict[str, Any] = {} if marked else {"marks": "off"}
        gateway = GatewayServer(dict.fromkeys(STAGES, services.address), **more)
        thread.run(gateway.__aenter__())
        try:
            with grpc.insecure_channel(gateway.address) as channel:
                stub = gateway_pb2_grpc.GatewayServiceStub(channel)
                version = stub.GetModelInfo(gateway_pb2.GetModelInfoRequest(), timeout=60).model.version
                found = [made(stub, number, marked) for number in range(REQUESTS)]
        finally:
            thread.run(gateway.__aexit__(None, None, None))
    codec = f"Pillow {PIL.__version__}, zlib {features.version('zlib')}"
    return {"version": version, "codec": codec, "contents": [f[0] for f in found], "files": [f[1] for f in found]}


def processor() -> str:
    """How this machine rounds: the digest of a few products and convolutions as networks have them, and the vector
    units that torch uses, for what these do not show."""
    import torch

    dice = torch.Generator().manual_seed(0)
    some = torch.randn(4, 32, 16, 16, generator=dice)
    weights = torch.randn(32, 32, 3, 3, generator=dice)
    mixed = torch.nn.functional.conv2d(some, weights, padding=1).flatten(2)
    digest = hashlib.sha256((mixed @ mixed.transpose(1, 2)).softmax(-1).numpy().tobytes()).hexdigest()[:16]
    return f"{digest} {torch.backends.cpu.get_cpu_capability()}"


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
def test_the_same_requests_make_the_same_pictures_and_recipes_as_ever(
    services: Services, checkpoint: Path | None, marked: bool
) -> None:
    if checkpoint is not None and not marked:
        pytest.skip("marks are the gateway's, whatever makes the pixels")
    digests = json.loads(DIGESTS.read_text())
    expected: dict[str, Any] = digests["stub"] if checkpoint is None else digests["real"].get(processor())
    if expected is None:
        pytest.skip("taken on processors that round in another way")
    found = measured(services, marked)
    assert found["version"] == expected["version"]
    assert found["contents"] == expected["contents"]
    if found["codec"] == expected["codec"]:
        assert found["files"] == expected["files"]


def write(folder: Path) -> None:
    """Takes the digests anew, those of real networks for this processor."""
    from tests.tiny import make_tiny_checkpoint

    kinds: dict[str, Any] = json.loads(DIGESTS.read_text())
    for name, checkpoint in (("stub", None), ("real", make_tiny_checkpoint(folder / "tiny"))):
        with serving(Bounds(), checkpoint) as services:
            found = measured(services)
        if checkpoint is None:
            kinds[name] = found
        else:
            kinds[name][processor()] = found
    DIGESTS.write_text(json.dumps(kinds, indent=1) + "\n")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch))
