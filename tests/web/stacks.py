"""The web process in front of a gateway, as processes: that of the stubs, or another one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.processes import Process

PATIENCE_S = 60.0
KEY = "sk-anything"  # where the gateway wants none


@dataclass(frozen=True)
class WebStack:
    """base_url: as SDKs want it. gateway: its ``host:port``. web, stubs: the processes. native, base: pixels a side of
    the pictures that the stack makes, and of their previews."""

    base_url: str
    gateway: str
    web: Process
    stubs: Process | None = None
    native: int = 256
    base: int = 64

    @property
    def root(self) -> str:
        """The address without the API's path."""
        return self.base_url.removesuffix("/v1")


@contextmanager
def web_before(
    gateway: str, folder: Path, *options: str, name: str = "web", variables: Mapping[str, str] | None = None
) -> Iterator[WebStack]:
    """The web process before the gateway at ``gateway``."""
    words = ["--gateway", gateway, *options]
    with Process("unclip.web", words, folder, name, {"OMP_NUM_THREADS": "1", **(variables or {})}) as web:
        yield WebStack(f"http://{web.address(PATIENCE_S)}/v1", gateway, web)


@contextmanager
def stubbed(folder: Path, *options: str, stubs: tuple[str, ...] = ()) -> Iterator[WebStack]:
    """The web process before the real gateway and stubs of its stages, which are quick."""
    words = ["--step-seconds", "0.002", *stubs]
    with ExitStack() as exits:
        stages = exits.enter_context(Process("unclip.testing", words, folder, "stubs"))
        stack = exits.enter_context(web_before(stages.address(PATIENCE_S), folder, *options))
        yield WebStack(stack.base_url, stack.gateway, stack.web, stages)


def opened(data: bytes) -> Image.Image:
    """The picture in a file."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def picture(side: int = 256, colour: tuple[int, ...] = (200, 60, 40)) -> bytes:
    """A PNG of one colour but for its left quarter."""
    pixels = np.full((side, side, len(colour)), colour, np.uint8)
    pixels[:, : side // 4, :3] = 90
    return png(Image.fromarray(pixels))


def openai_mask(side: int = 256) -> bytes:
    """A mask as OpenAI has them: fully transparent in the right half, where to edit."""
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[:, : side // 2] = 255
    return png(Image.fromarray(pixels))


def png(image: Image.Image) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
