"""Pictures of pictures: contact sheets with captions, trajectories as animated WebP, and canvases to paint on."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from unclip.client.pictures import as_seen
from unclip.errors import InvalidRequest
from unclip.wire.images import MAX_PIXELS, MAX_SIDE, flatten
from unclip.wire.marks import pillow_options

MARGIN = 12
FONT_SIZE = 14
MIN_CELL = 128  # narrower pictures are enlarged by whole factors, so that their captions have room
PAPER, INK = (255, 255, 255), (32, 32, 32)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int | None = None) -> Image.Image:
    """All ``pictures`` on one sheet, each above its caption, row by row.

    columns: pictures in a row; about as many as rows when None.

    Raises:
        ValueError: there are no pictures, or not as many captions.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"a sheet needs pictures with a caption each; got {len(pictures)} and {len(captions)}")
    pictures = [on_paper(picture) for picture in pictures]
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    factor = max(1, math.ceil(MIN_CELL / max(picture.width for picture in pictures)))
    width = factor * max(picture.width for picture in pictures)
    height = factor * max(picture.height for picture in pictures)
    font: Font = ImageFont.load_default(FONT_SIZE)
    texts = [wrap(caption, font, width) for caption in captions]
    line_height = FONT_SIZE + 4
    cell_height = height + MARGIN // 2 + line_height * max(len(lines) for lines in texts)
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (MARGIN + columns * (width + MARGIN), MARGIN + rows * (cell_height + MARGIN)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * (width + MARGIN), MARGIN + row * (cell_height + MARGIN)
        cell = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
        sheet.paste(cell, (left + (width - cell.width) // 2, top + (height - cell.height) // 2))
        for number, line in enumerate(lines):
            place = (left + width / 2, top + height + MARGIN // 2 + number * line_height)
            draw.text(place, line, fill=INK, font=font, anchor="ma")
    return sheet


def wrap(text: str, font: Font, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` pixels, broken between words, inside a word that is wider alone."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def on_paper(picture: Image.Image) -> Image.Image:
    """``picture`` as RGB, what is transparent showing the sheet."""
    return flatten(as_seen(picture))


def pad(picture: Image.Image, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Image.Image:
    """``picture``, as gateways see it, on a transparent canvas that is so many pixels larger on each side; RGBA.

    Edit paints what is transparent: sent without a mask, the canvas has the picture continued beyond its edges.

    Raises:
        ValueError: a margin is negative.
        InvalidRequest: the canvas would be larger than a gateway takes.
    """
    if min(left, top, right, bottom) < 0:
        raise ValueError(f"margins must not be negative; got {left}, {top}, {right}, {bottom}")
    require_size(left + picture.width + right, top + picture.height + bottom, "pad")
    seen = as_seen(picture).convert("RGBA")
    require_size(left + seen.width + right, top + seen.height + bottom, "pad")  # it may have been turned
    canvas = Image.new("RGBA", (left + seen.width + right, top + seen.height + bottom))
    canvas.paste(seen, (left, top))
    return canvas


def require_size(width: int, height: int, field: str) -> None:
    """Raises InvalidRequest where a picture of this size is larger than a gateway takes."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limits = f"at most {MAX_SIDE} px a side and {MAX_PIXELS} pixels"
        raise InvalidRequest.of(field, f"must make a picture of {limits}; got {width} x {height}")


def animate(frames: Sequence[Image.Image], path: Path, seconds: float = 2.0, source_type: str = "") -> Path:
    """Writes the ``animation`` of ``frames``; raises as it does."""
    data = animation(frames, seconds, source_type)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def animation(frames: Sequence[Image.Image], seconds: float = 2.0, source_type: str = "") -> bytes:
    """``frames`` as a lossless animated WebP that takes ``seconds`` there, the same back, and begins again.

    The first and the last frame stay twice as long, so that the eye finds both ends. source_type: what it says that it
    is, see `unclip.wire.marks`, empty for nothing.

    Raises:
        ValueError: there are no frames, or they differ in size.
    """
    if not frames or len({frame.size for frame in frames}) != 1:
        raise ValueError("an animation needs frames of one size")
    there = [on_paper(frame) for frame in frames]
    round_trip = there + there[-2:0:-1]
    each = max(20, round(1000 * seconds / len(there)))
    ends = {0, len(there) - 1}
    durations = [each * (2 if index in ends else 1) for index in range(len(round_trip))]
    file = io.BytesIO()
    more = {"save_all": True, "append_images": round_trip[1:], "duration": durations, "loop": 0, "lossless": True}
    round_trip[0].save(file, "WEBP", **more, **pillow_options("image/webp", source_type))
    return file.getvalue()
