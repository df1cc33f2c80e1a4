"""``unclip generate``, ``vary``, ``text-diff``, ``interpolate`` and ``edit``: pictures into files."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageOps

from unclip.cli import report
from unclip.cli.connection import connect
from unclip.cli.progress import Bar
from unclip.cli.requests import request_of
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
from unclip.client.sheets import animate, contact_sheet, pad
from unclip.client.vectors import combine, read_rows


def generate(options: argparse.Namespace) -> None:
    """Pictures of a caption."""
    request = request_of(options, Generate, caption=options.caption, embedding=embedding(options))
    save_with_sheet(options, run(options, request, "generate"), "generate")


def vary(options: argparse.Namespace) -> None:
    """Variations of a picture."""
    request = request_of(options, Vary, image=options.image)
    save_with_sheet(options, run(options, request, "vary"), f"vary-{options.image.stem}", options.image)


def text_diff(options: argparse.Namespace) -> None:
    """A picture on its way from one caption to another: frames, and all of them as an animation and on one sheet."""
    thetas = thetas_to(options.theta, options.frames)
    ends = {"image": options.image, "before": options.before, "after": options.after}
    images = run(options, request_of(options, TextDiff, **ends, thetas=thetas), "text-diff")
    save_trajectory(options, images, f"text-diff-{options.image.stem}", [f"theta = {theta:.2f}" for theta in thetas])


def interpolate(options: argparse.Namespace) -> None:
    """From a picture to another one, or to a caption: frames, an animation and a sheet, as of a text diff."""
    ts = thetas_to(1.0, options.frames)
    ends = {"image": options.image, "to": options.to, "to_caption": options.to_caption}
    images = run(options, request_of(options, Interpolate, **ends, ts=ts), "interpolate")
    save_trajectory(options, images, f"interpolate-{options.image.stem}", [f"t = {t:.2f}" for t in ts])


def embedding(options: argparse.Namespace) -> Embedding | None:
    """What ``options`` say to paint, None where the prior shall say."""
    if options.embedding is None:
        return None
    return combine([row for _, row in read_rows(options.embedding)], options.index)


def edit(options: argparse.Namespace) -> None:
    """A picture repainted in part, or continued beyond its edges; the canvas for the latter is written too."""
    canvas = None if options.pad is None else padded(options)
    ends = {"image": canvas or options.image, "caption": options.caption, "mask": options.mask}
    request = request_of(options, Edit, **ends)
    images = run(options, request, "edit")
    more = {} if canvas is None else {"canvas": str(canvas)}
    save_with_sheet(options, images, f"edit-{options.image.stem}", canvas or options.image, **more)


def padded(options: argparse.Namespace) -> Path:
    """Writes the picture on its larger canvas; with that file, the source of its recipe, an edit can be made again.

    Raises:
        InvalidRequest: the picture cannot be read.
    """
    canvas = pad(open_picture(options.image, "image"), *options.pad)
    options.out.mkdir(parents=True, exist_ok=True)
    path: Path = options.out / f"edit-{options.image.stem}-canvas.png"
    canvas.save(path)
    return path


def thetas_to(theta: float, frames: int) -> tuple[float, ...]:
    """``frames`` even steps from 0 to ``theta``; a single one is ``theta`` itself."""
    return (theta,) if frames == 1 else tuple(theta * index / (frames - 1) for index in range(frames))


def run(options: argparse.Namespace, request: Request, label: str) -> list[GeneratedImage]:
    """The pictures of ``request``, with a progress bar. The folder for them is made first, so as not to fail last."""
    with connect(options) as client:
        options.out.mkdir(parents=True, exist_ok=True)
        with Bar(request, label) as bar:
            return bar.watch(client.stream(request))


def save_with_sheet(
    options: argparse.Namespace, images: list[GeneratedImage], stem: str, source: Path | None = None, **more: str
) -> None:
    """Writes ``images``, and when there are several one sheet of them that ``source`` begins; says where."""
    if len(images) > 1:
        pictures = [image.to_pil() for image in images]
        captions = [f"seed {image.seed}" for image in images]
        if source is not None:
            pictures.insert(0, fitted(open_picture(source, "image"), pictures[0].size, options.fit))
            captions.insert(0, source.name)
        sheet = options.out / f"{stem}-sheet.png"
        contact_sheet(pictures, captions, columns=min(len(pictures), 8)).save(sheet)
        more["contact_sheet"] = str(sheet)
    save(options, images, [f"{stem}-{image.seed}" for image in images], **more)


def fitted(picture: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    """``picture`` as the model saw it, with its transparency."""
    layer = picture.convert("RGBA")
    return ImageOps.pad(layer, size, color="white") if fit == "letterbox" else ImageOps.fit(layer, size)


def save_trajectory(options: argparse.Namespace, images: list[GeneratedImage], stem: str, captions: list[str]) -> None:
    """Writes ``images`` as frames, as an animation, and on one sheet with ``captions``; says where."""
    frames = [image.to_pil() for image in images]
    film = animate(frames, options.out / f"{stem}-trajectory.webp")
    sheet = options.out / f"{stem}-sheet.png"
    contact_sheet(frames, captions, columns=min(len(frames), 8)).save(sheet)
    names = [f"{stem}-{index:02}" for index in range(len(images))]
    save(options, images, names, animation=str(film), contact_sheet=str(sheet))


def save(options: argparse.Namespace, images: list[GeneratedImage], names: list[str], **more: str) -> None:
    """Writes ``images`` and says where; ``more`` files are already written."""
    paths = report.save(images, options.out, names)
    notices = images[0].notices if images else ()
    if options.json:
        told = [report.picture(*pair) for pair in zip(images, paths, strict=True)]
        report.print_json({"images": told, **more, "notices": report.plain(notices)})
        return
    report.say(notices)
    for image, path in zip(images, paths, strict=True):
        print(f"{path}  seed {image.seed}{report.figures(image)}")
    for kind, path_text in more.items():
        print(f"{path_text}  {kind.replace('_', ' ')}")
