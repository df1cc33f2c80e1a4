"""What OpenAI's parameters ask the gateway for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from unclip.client import Edit, FileFormat, Generate, ModelInfo, Request, Sampling, TextDiff, Vary
from unclip.client.messages import quality_of
from unclip.client.values import Quality, picture_count
from unclip.errors import InvalidRequest
from unclip.web.bodies import Form
from unclip.web.errors import HttpError
from unclip.web.fields import Fields, required, shown
from unclip.web.gateway import side_of, sizes_of, steps_of
from unclip.web.sources import Sources
from unclip.wire.limits import RANGES

MAX_PICTURES = 10
MAX_PARTIAL = 3
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
SQUARES = "must be auto or square, {0}x{0} to {1}x{1}".format(*RANGES["size"])
# What the gateway calls them; auto is up to the stack.
QUALITIES: Mapping[str, Quality | None] = {
    "standard": "standard",
    "hd": "standard",
    "low": "fast",
    "medium": "standard",
    "high": "standard",
    "auto": None,
}
BASE64_MODELS = ("gpt-image-", "chatgpt-image-")  # whose answers never have addresses

Kind = Literal["image_generation", "image_edit"]
Way = Literal["url", "b64_json"]


@dataclass(frozen=True)
class Asked:
    """A request for pictures. kind: what its events are called. model: what it calls the model, "" for no name. way: of
    answering pictures. size: width and height of the pictures, None for what the model makes. partial_images: how many
    previews of each picture are wanted. steps: of the decoder, None for its default."""

    request: Request
    kind: Kind
    model: str
    way: Way
    quality: str
    size: tuple[int, int] | None = None
    stream: bool = False
    partial_images: int = 0
    steps: int | None = None

    @property
    def format(self) -> FileFormat:
        """File format of the pictures."""
        return self.request.format

    @property
    def count(self) -> int:
        """Pictures that are answered."""
        if isinstance(self.request, TextDiff):
            return picture_count(self.request)
        return getattr(self.request, "image_count", None) or 1

    def sized(self, info: ModelInfo) -> Asked:
        """The same with its size in the request: painted so where the model can, else a square that is resized.

        Raises:
            InvalidRequest: it can be neither.
        """
        if self.size is None:
            return self
        (width, height), (low, high), sizes = self.size, RANGES["size"], sizes_of(info)
        if sizes is not None and sizes.has(width, height):
            return replace(self, request=replace(self.request, width=width, height=height))
        if width == height and low <= width <= high:
            return replace(self, request=replace(self.request, size=width))
        able = f", or painted: {sizes}" if sizes is not None else ""
        raise InvalidRequest.of("size", f"{SQUARES}{able}; got '{width}x{height}'")

    @property
    def wants_fast(self) -> bool:
        """Whether it is to be fast where the stack can."""
        return isinstance(self.request, Generate) and QUALITIES[self.quality] == "fast"

    def in_quality(self, info: ModelInfo) -> Asked:
        """The same with its quality in the request, where that has a choice. Standard quality can be had of all models,
        fast of those that have a choice: elsewhere nothing is asked for."""
        if not isinstance(self.request, Generate) or (self.wants_fast and info.quality is None):
            return self
        return replace(self, request=replace(self.request, quality=QUALITIES[self.quality]))

    def answered(self, info: ModelInfo) -> tuple[int, int]:
        """Width and height of the pictures that are answered."""
        return self.size or (side_of(info),) * 2

    def preview_interval(self, info: ModelInfo) -> int:
        """Decoder steps between previews, so that there are as many as are wanted; 0 for none."""
        fast = isinstance(self.request, Generate) and quality_of(self.request, info.quality) == "fast"
        steps = self.steps or steps_of(info, fast)
        return max(1, steps // (self.partial_images + 1)) if self.stream and self.partial_images else 0


@dataclass(frozen=True)
class Common:
    """What all requests may say. n: how many pictures; None where it is refused, and the request with it."""

    model: str
    n: int
    size: tuple[int, int] | None
    way: Way
    format: FileFormat
    quality: str
    stream: bool
    partial_images: int
    seed: int | None
    steps: int | None
    guidance: float | None
    eta: float | None

    @classmethod
    def read(cls, fields: Fields) -> Common:
        """What ``fields`` say. What changes nothing that a caller relies on is read, so that it is sound, and left."""
        model = fields.text("model") or ""
        fields.text("user")
        fields.choice("style", "vivid", "natural")
        fields.choice("background", "auto", "opaque")
        fields.choice("moderation", "auto", "low")
        fields.choice("input_fidelity", "high", "low")
        fields.whole("output_compression", 100, 100)
        way: Any = fields.choice("response_format", "url", "b64_json")
        form: Any = fields.choice("output_format", "png", "jpeg", "webp")
        common = cls(
            model=model,
            n=fields.whole("n", 1, MAX_PICTURES) or 1,
            size=read_size(fields),
            way=way or ("b64_json" if model.startswith(BASE64_MODELS) else "url"),
            format=form or "png",
            quality=fields.choice("quality", *QUALITIES) or "auto",
            stream=fields.flag("stream"),
            partial_images=fields.whole("partial_images", 0, MAX_PARTIAL) or 0,
            seed=fields.whole("seed"),
            steps=fields.whole("steps", 1, 1000),
            guidance=fields.number("guidance"),
            eta=fields.number("eta"),
        )
        if common.stream and way == "url":
            fields.refuse("response_format", "must be b64_json, or left out, where stream is true; got 'url'")
        return common

    @property
    def output(self) -> dict[str, Any]:
        """What every request of the gateway has alike."""
        return {"seed": self.seed, "format": self.format}

    def decoder(self, with_eta: bool = True) -> Sampling:
        """How the decoder samples."""
        return Sampling(steps=self.steps, guidance_scale=self.guidance, eta=self.eta if with_eta else None)

    def asks(self, request: Request, kind: Kind) -> Asked:
        """That request, and how it is answered."""
        way: Way = "b64_json" if self.stream else self.way
        more: dict[str, Any] = {"stream": self.stream, "partial_images": self.partial_images, "steps": self.steps}
        return Asked(request, kind, self.model, way, self.quality, self.size, **more)


def read_size(fields: Fields) -> tuple[int, int] | None:
    """Width and height; None for those that the model makes. What it can be is seen when the model is known."""
    value = fields.text("size")
    if value is None or value == "auto":
        return None
    found, (low, high) = SIZE.fullmatch(value), RANGES["width"]
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (low <= width <= high and low <= height <= high):
        fields.refuse("size", f"{SQUARES}; got {shown(value)}")
        return None
    return width, height


def generation(values: Mapping[str, Any]) -> Asked:
    """What a JSON body asks for. Raises InvalidRequest and HttpError."""
    fields = Fields(values, typed=True)
    prompt, common = fields.text("prompt"), Common.read(fields)
    negative, candidates = fields.text("negative_prompt"), fields.whole("candidates")
    fields.done()
    if not prompt:
        raise required("prompt")
    request = Generate(
        prompt,
        image_count=common.n,
        negative_caption=negative or "",
        candidates=candidates,
        decoder=common.decoder(),
        **common.output,
    )
    return common.asks(request, "image_generation")


def edit(form: Form, sources: Sources) -> Asked:
    """What a form asks for: with a mask, or a picture that is transparent in part, to repaint that part; else to move
    all of the picture towards the prompt. Raises InvalidRequest and HttpError."""
    fields = Fields(form.texts, typed=False)
    prompt, common = fields.text("prompt"), Common.read(fields)
    negative, candidates = fields.text("negative_prompt"), fields.whole("candidates")
    if sources.repaints and common.eta is not None:
        fields.refuse("eta", "must be left out: what is repainted is sampled by DDPM")
    if not sources.repaints:
        for name, value in (("negative_prompt", negative), ("candidates", candidates)):
            if value is not None:
                fields.refuse(name, "must be left out where neither a mask nor transparency says what to repaint")
    fields.done()
    if not prompt:
        raise required("prompt")
    if not sources.repaints:
        moved = TextDiff(sources.image, "", prompt, thetas=thetas(common.n), decoder=common.decoder(), **common.output)
        return common.asks(moved, "image_edit")
    request = Edit(
        sources.image,
        prompt,
        sources.mask,
        image_count=common.n,
        negative_caption=negative or "",
        candidates=candidates,
        decoder=common.decoder(with_eta=False),
        **common.output,
    )
    return common.asks(request, "image_edit")


def variation(form: Form) -> Asked:
    """What a form asks for. Raises InvalidRequest and HttpError."""
    fields = Fields(form.texts, typed=False)
    common = Common.read(fields)
    if common.stream:
        fields.refuse("stream", "must be false: variations have no events")
    fields.done()
    image = only(form.pictures["image"], "image")
    if form.pictures["mask"]:
        raise HttpError(400, "unknown_parameter", "Unknown parameter: 'mask'.", param="mask")
    request = Vary(image, image_count=common.n, eta=common.eta, decoder=common.decoder(with_eta=False), **common.output)
    return common.asks(request, "image_generation")


def only(pictures: Sequence[bytes], name: str) -> bytes:
    """The one picture that there must be. Raises HttpError."""
    if not pictures:
        raise required(name)
    if len(pictures) > 1:
        raise HttpError(400, "invalid_value", f"{name} must be one picture; got {len(pictures)}.", param=name)
    return pictures[0]


def thetas(count: int) -> tuple[float, ...]:
    """How far each picture is moved, the last one half-way: the paper's range is 0.25 to 0.5."""
    return tuple(0.5 - 0.25 * (count - 1 - index) / max(1, count - 1) for index in range(count))
