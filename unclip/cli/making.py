"""``unclip generate``, ``vary``, ``text-diff``, ``interpolate`` and ``edit``: pictures into files."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from PIL import Image, ImageOps

from unclip.cli import report, sources
from unclip.cli.connection import connect
from unclip.cli.output import Folder, file_name
from unclip.cli.progress import Bar
from unclip.cli.requests import request_of
from unclip.cli.sources import STDIN, Source
from unclip.cli.terminal import line
from unclip.client import (
    Edit,
    Embedding,
    Fit,
    Generate,
    GeneratedImage,
    Interpolate,
    Request,
    TextDiff,
    Vary,
)
from unclip.client.pictures import open_picture
from unclip.client.sheets import animation, contact_sheet, pad
from unclip.client.vectors import combine, read_rows
from unclip.wire.images import encode_image
from unclip.wire.marks import pillow_options, said_in
from unclip.wire.notices import Notice


def generate(options: argparse.Namespace) -> None:
    """Pictures of a caption."""
    request = request_of(options, Generate, caption=options.caption, embedding=embedding(options))
    made = Made(options, "generate", words=options.caption)
    made.sheet_of_seeds(made.run(request))


def vary(options: argparse.Namespace) -> None:
    """Variations of a picture."""
    source = sources.read(options.image, "image")
    made = Made(options, "vary", source)
    made.sheet_of_seeds(made.run(request_of(options, Vary, image=source.data)))


def text_diff(options: argparse.Namespace) -> None:
    """A picture on its way from one caption to another: frames, and all of them as an animation and on one sheet."""
    source, thetas = sources.read(options.image, "image"), thetas_to(options.thetas, options.frames)
    ends = {"image": source.data, "before": options.before, "after": options.after}
    made = Made(options, "text-diff", source, options.after, trajectory=True)
    images = made.run(request_of(options, TextDiff, **ends, thetas=thetas))
    made.film(images, [f"theta = {theta:.2f}" for theta in thetas])


def interpolate(options: argparse.Namespace) -> None:
    """From a picture to another one, or to a caption: frames, an animation and a sheet, as of a text diff."""
    source, ts = sources.read(options.image, "image"), thetas_to(1.0, options.frames)
    end = None if options.to is None else sources.read(options.to, "to")
    ends = {"image": source.data, "to": end and end.data, "to_caption": options.to_caption}
    made = Made(options, "interpolate", source, options.to_caption or (end.stem if end else ""), trajectory=True)
    made.film(made.run(request_of(options, Interpolate, **ends, ts=ts)), [f"t = {t:.2f}" for t in ts])


def edit(options: argparse.Namespace) -> None:
    """A picture repainted in part, or continued beyond its edges; the canvas for the latter is written too."""
    source = sources.read(options.image, "image")
    mask = None if options.mask is None else sources.read(options.mask, "mask")
    canvas = None if options.pad is None else padded(source, options.pad)
    ends = {"image": (canvas or source).data, "caption": options.caption, "mask": mask and mask.data}
    made = Made(options, "edit", source, options.caption, canvas=canvas)
    made.sheet_of_seeds(made.run(request_of(options, Edit, **ends)))


def embedding(options: argparse.Namespace) -> Embedding | None:
    """What ``options`` say to paint, None where the prior shall say."""
    if options.embedding is None:
        return None
    data = sources.embeddings_on_stdin() if options.embedding == STDIN else None
    return combine([row for _, row in read_rows(options.embedding, data)], options.index)


def padded(source: Source, margins: tuple[int, int, int, int]) -> Source:
    """The picture on its larger canvas; with that file, the source of its recipe, an edit can be made again.

    Raises:
        InvalidRequest: the picture cannot be read, or the canvas is larger than a gateway takes.
    """
    file = io.BytesIO()
    pad(open_picture(source.data, "image"), *margins).save(file, "PNG")
    return Source(file.getvalue(), source.name, source.stem)


def thetas_to(theta: float, frames: int) -> tuple[float, ...]:
    """``frames`` even steps from 0 to ``theta``; a single one is ``theta`` itself."""
    return (theta,) if frames == 1 else tuple(theta * index / (frames - 1) for index in range(frames))


class Made:
    """What a command makes, each file written when it is there: what follows may fail, or be interrupted.

    source: the picture it begins with; words: of the caption; both are in the files' names. trajectory: the pictures
    are frames of one seed. canvas: what the source was padded to, kept beside the pictures made from it.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        capability: str,
        source: Source | None = None,
        words: str = "",
        *,
        trajectory: bool = False,
        canvas: Source | None = None,
    ) -> None:
        self._options, self._capability, self._source, self._canvas = options, capability, source, canvas
        self._parts: tuple[str, str] = (source.stem if source else "", words)
        self._trajectory = trajectory
        self._folder = Folder(options.out, options.force)
        self._more: dict[str, str] = {}
        self._notices: list[Notice] = []
        self._said = ""  # by the pictures, of what they are: what is made of them here says it too

    def run(self, request: Request) -> list[GeneratedImage]:
        """Asks for the pictures of ``request`` and writes each; in order of image_index."""
        images = list[GeneratedImage]()
        with connect(self._options) as client:
            self._folder.require()
            with Bar(request, self._capability) as bar, closing(client.stream(request)) as events:
                for image in bar.watch(events):
                    if not images and self._canvas is not None:
                        name = file_name(self._capability, self._parts[0], "canvas")
                        self._keep("canvas", self._folder.write(name, "png", self._canvas.data))
                    self._take(image)
                    images.append(image)
        return sorted(images, key=lambda image: image.image_index)

    def sheet_of_seeds(self, images: Sequence[GeneratedImage]) -> None:
        """Writes one sheet of several ``images`` that the source begins, and ends the answer."""
        if len(images) > 1:
            pictures = [image.to_pil() for image in images]
            captions = [f"seed {image.seed}" for image in images]
            if source := self._canvas or self._source:
                opened = open_picture(source.data, "image")
                pictures.insert(0, fitted(opened, pictures[0].size, self._options.fit))
                captions.insert(0, source.name)
            self._sheet(pictures, captions, images[0].seed)
        self._end()

    def film(self, images: Sequence[GeneratedImage], captions: Sequence[str]) -> None:
        """Writes ``images``, frames, as an animation and on one sheet with ``captions``, and ends the answer."""
        frames, seed = [image.to_pil() for image in images], images[0].seed
        name = file_name(self._capability, *self._parts, seed, "trajectory")
        self._keep("animation", self._folder.write(name, "webp", animation(frames, source_type=self._said)))
        self._sheet(frames, captions, seed)
        self._end()

    def _take(self, image: GeneratedImage) -> None:
        """Writes one picture, and says where."""
        name = file_name(self._capability, *self._parts, image.seed)
        if self._trajectory:
            name += f"-{image.image_index:02}"
        path = self._folder.write(name, report.ending(image), image.data)
        self._said = said_in(image.data)
        news = [notice for notice in image.notices if notice not in self._notices]
        self._notices += news
        self._options.made.append(report.picture(image, path))
        if not self._options.json:
            report.say(news, self._options.command)
            line(f"{path}  seed {image.seed}{report.figures(image)}")

    def _sheet(self, pictures: Sequence[Image.Image], captions: Sequence[str], seed: int) -> None:
        sheet = contact_sheet(pictures, captions, columns=min(len(pictures), 8))
        file = encode_image(sheet, **pillow_options("image/png", self._said))
        name = file_name(self._capability, *self._parts, seed, "sheet")
        self._keep("contact_sheet", self._folder.write(name, "png", file.data))

    def _keep(self, kind: str, path: Path) -> None:
        """Notes a file that is no picture of the answer, and says where it is."""
        self._more[kind] = str(path)
        if not self._options.json:
            line(f"{path}  {kind.replace('_', ' ')}")

    def _end(self) -> None:
        if self._options.json:
            images = sorted(self._options.made, key=lambda image: int(image["image_index"]))
            report.print_json({"images": images, **self._more, "notices": report.plain(self._notices)})


def fitted(picture: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    """``picture``, upright, as the model saw it, with its transparency."""
    layer = picture.convert("RGBA")
    return ImageOps.pad(layer, size, color="white") if fit == "letterbox" else ImageOps.fit(layer, size)
