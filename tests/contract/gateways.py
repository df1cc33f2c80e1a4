"""The gateway in front of the stages of a test, stubbed or real, and pictures to send it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from tests.contract.services import Array, Services
from unclip import Client
from unclip.client import GeneratedImage
from unclip.testing import GatewayServer
from unclip.testing.blocking import LoopThread
from unclip.testing.model import STAGES


@contextmanager
def gateway_at(services: Services) -> Iterator[str]:
    """The address of a gateway in front of ``services``."""
    with LoopThread() as thread:
        gateway = GatewayServer(dict.fromkeys(STAGES, services.address))
        thread.run(gateway.__aenter__())
        try:
            yield gateway.address
        finally:
            thread.run(gateway.__aexit__(None, None, None))


@contextmanager
def gateway_of(services: Services) -> Iterator[Client]:
    """A client of a gateway of its own in front of ``services``."""
    with gateway_at(services) as address, Client(address, timeout=60) as client:
        yield client


def noise_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    """uint8 ``[height, width, channels]``, every value as likely as any other."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def png(pixels: Array) -> bytes:
    """A file of uint8 ``[H, W]`` or ``[H, W, C]``, or of a mask, bool ``[H, W]``, white where it is true."""
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype == np.bool_ else pixels).save(file, "PNG")
    return file.getvalue()


def pixels_of(image: GeneratedImage) -> Array:
    """uint8 ``[H, W, 3]``."""
    return np.asarray(image.to_pil().convert("RGB"))


def apart(one: GeneratedImage, other: GeneratedImage) -> int:
    """The largest difference between the values of two pictures of one size."""
    return int(np.abs(pixels_of(one).astype(int) - pixels_of(other)).max())
