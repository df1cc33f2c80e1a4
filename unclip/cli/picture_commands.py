"""The commands that make pictures, and what can be said to them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unclip.cli import making, replaying
from unclip.cli.connection import add_connection
from unclip.cli.parsing import Parser, add_command
from unclip.cli.requests import add_options
from unclip.client import Edit, Generate, Interpolate, Request, TextDiff, Vary
from unclip.wire.limits import MAX_FRAMES

if TYPE_CHECKING:
    from unclip.cli.parsing import Commands

PICTURE = "PNG, JPEG or WebP file; - for standard input"
NAMES = """Files are named by what was done, the source's name, the caption's words and
the seed, each shortened to 40 bytes. A name that another file has gets a number;
--force overwrites it."""


def add_generate(commands: Commands) -> None:
    """``unclip generate``."""
    lines = [
        'unclip generate "a flat emoji of a red apple" --count 4 --seed 1',
        'unclip generate "a 3d emoji of a robot" --candidates 16 --count 4 --out robots',
        "unclip generate --embedding vectors.npz --index 2+0-1",
    ]
    command = add_command(commands, "generate", making.generate, "make pictures from a caption", lines, NAMES)
    command.add_argument("caption", nargs="?", default="", help="may be left out where an embedding is given")
    command.add_argument(
        "--embedding",
        type=Path,
        metavar="FILE",
        help=".npz of unclip embed --out: what to paint; - for standard input",
    )
    command.add_argument(
        "--index", default="0", metavar="SUM", help='its row, or a sum of rows as "2-0+1" (%(default)s)'
    )
    add_picture_options(command, Generate)


def add_vary(commands: Commands) -> None:
    """``unclip vary``."""
    lines = ["unclip vary apple.png --count 4 --eta 0.8", "cat apple.png | unclip vary - --fit letterbox"]
    command = add_command(commands, "vary", making.vary, "make variations of a picture", lines, NAMES)
    command.add_argument("image", type=Path, help=PICTURE)
    add_picture_options(command, Vary)


def add_text_diff(commands: Commands) -> None:
    """``unclip text-diff``."""
    lines = ['unclip text-diff apple.png --before "a red apple" --after "a green apple" --theta 0.7 --frames 6']
    help = "change a picture from one caption to another"
    command = add_command(commands, "text-diff", making.text_diff, help, lines, NAMES)
    command.add_argument("image", type=Path, help=PICTURE)
    command.add_argument("--before", default="", help='what it shows now, such as "a victorian house"; may be left out')
    command.add_argument("--after", required=True, help='what it shall show, such as "a modern house"')
    command.add_argument(
        "--theta", type=float, default=0.5, dest="thetas", metavar="X", help="how far to go, 0 to 1 (%(default)s)"
    )
    add_frames(command)
    add_picture_options(command, TextDiff)


def add_interpolate(commands: Commands) -> None:
    """``unclip interpolate``."""
    lines = [
        "unclip interpolate apple.png robot.png --frames 6",
        'unclip interpolate apple.png --caption "a 3d emoji of a robot"',
    ]
    help = "go from a picture to another one, or to a caption"
    command = add_command(commands, "interpolate", making.interpolate, help, lines, NAMES)
    command.add_argument("image", type=Path, help=PICTURE)
    end = command.add_mutually_exclusive_group(required=True)
    end.add_argument("to", type=Path, nargs="?", metavar="to-image", help="the picture to end with")
    end.add_argument("--caption", default="", dest="to_caption", metavar="TEXT", help="the caption to end with")
    add_frames(command)
    add_picture_options(command, Interpolate)


def add_edit(commands: Commands) -> None:
    """``unclip edit``."""
    lines = [
        'unclip edit apple.png "a green apple" --mask mask.png --count 4',
        'unclip edit half.png "a red apple" --pad 0,0,64,0',
    ]
    more = f"Repaints what the mask says, or else what is transparent; the rest stays exactly as it is.\n{NAMES}"
    help = "repaint a part of a picture, or continue it beyond its edges"
    command = add_command(commands, "edit", making.edit, help, lines, more)
    command.add_argument("image", type=Path, help=PICTURE)
    command.add_argument("caption", help="what the whole picture shall show")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--mask", type=Path, metavar="FILE", help="a picture of the same size, light where to repaint")
    where.add_argument(
        "--pad",
        type=margins,
        metavar="N|L,T,R,B",
        help="pixels to paint beyond the edges",
    )
    add_picture_options(command, Edit)


def add_replay(commands: Commands) -> None:
    """``unclip replay``."""
    lines = [
        "unclip replay out/generate-a-red-apple-1.png",
        "unclip replay varied.png --source apple.png",
    ]
    help = "make a picture again from the recipe inside its file"
    command = add_command(commands, "replay", replaying.replay, help, lines)
    command.add_argument("picture", type=Path, help=f"{PICTURE}, that unclip made")
    command.add_argument(
        "--source",
        type=Path,
        action="append",
        default=[],
        dest="sources",
        metavar="PATH",
        help="a picture it began with, or a folder to look in; may be given many times (the picture's own folder)",
    )
    command.add_argument("--any-model", action="store_true", help="also where the server has another model")
    add_output(command)
    add_connection(command)


def add_frames(command: Parser) -> None:
    """How many pictures a trajectory has."""
    command.add_argument(
        "--frames", type=frames, default=6, metavar="N", help=f"pictures on the way, 1 to {MAX_FRAMES} (%(default)s)"
    )


def add_picture_options(command: Parser, kind: type[Request]) -> None:
    """Options, output and connection of what makes the pictures of a ``kind``."""
    add_options(command, kind)
    add_output(command)
    add_connection(command)


def add_output(command: Parser) -> None:
    """Where pictures go."""
    command.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (%(default)s)")
    command.add_argument("--force", action="store_true", help="overwrite files that have the same name")


def frames(text: str) -> int:
    """How many pictures a trajectory may have."""
    number = int(text)
    if not 1 <= number <= MAX_FRAMES:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_FRAMES}; got {number}")
    return number


def margins(text: str) -> tuple[int, int, int, int]:
    """Pixels on the left, top, right and bottom: four whole numbers with commas between, or one for all sides."""
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) == 1:
        numbers *= 4
    if len(numbers) != 4 or min(numbers) < 0 or not any(numbers):
        raise argparse.ArgumentTypeError(f"must be N or LEFT,TOP,RIGHT,BOTTOM, 0 or more and not all 0; got {text}")
    left, top, right, bottom = numbers
    return left, top, right, bottom
