"""What can be said on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unclip.cli import asking, checkpoints, demo, making, replaying, serve
from unclip.cli import keys as cli_keys
from unclip.cli.connection import add_connection
from unclip.cli.requests import add_options
from unclip.client import Edit, Generate, Interpolate, Request, TextDiff, Vary
from unclip.wire.enums import FITS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def parser() -> argparse.ArgumentParser:
    """The parser of ``unclip``; what it gives has ``run``, the function to call with it."""
    top = argparse.ArgumentParser(prog="unclip", description="Pictures from captions by unCLIP (DALL-E 2) over gRPC.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add_serve(commands)
    add_demo(commands)
    add_generate(commands)
    add_vary(commands)
    add_text_diff(commands)
    add_interpolate(commands)
    add_edit(commands)
    add_replay(commands)
    add_embed(commands)
    add_convert(commands)
    add_export_triton(commands)
    info = commands.add_parser("info", help="what the stack has loaded and can do")
    add_connection(info)
    info.set_defaults(run=asking.info)
    add_keys(commands)
    add_doctor(commands)
    return top


def add_serve(commands: Commands) -> None:
    """``unclip serve``."""
    command = commands.add_parser("serve", help="run all services on this machine until interrupted")
    add_service_options(command)
    command.add_argument("--host", default="127.0.0.1", help="where the gateway listens (%(default)s)")
    command.add_argument("--port", type=int, default=50050, help="the gateway's port, 0 for a free one (%(default)s)")
    command.add_argument("--log-dir", type=Path, help="folder for the services' logs, kept (default: a temporary one)")
    command.set_defaults(run=serve.serve)


def add_demo(commands: Commands) -> None:
    """``unclip demo``."""
    command = commands.add_parser("demo", help="start all services, make pictures, stop them")
    add_service_options(command)
    command.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for pictures and logs (%(default)s)"
    )
    command.add_argument("--steps", type=positive, help="decoder steps (default: the checkpoint's)")
    command.set_defaults(run=demo.demo)


def add_convert(commands: Commands) -> None:
    """``unclip convert``."""
    command = commands.add_parser("convert", help="make a checkpoint of safetensors from one whose weights are pickles")
    command.add_argument("source", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    command.add_argument("target", type=Path, help="folder to make")
    command.add_argument("--image-encoder", metavar="CHECKPOINT", help="whose image encoder completes it")
    command.set_defaults(run=checkpoints.convert)


def add_export_triton(commands: Commands) -> None:
    """``unclip export-triton``."""
    command = commands.add_parser(
        "export-triton",
        help="write a checkpoint as a model repository for NVIDIA Triton",
        description="What follows the two is for python -m unclip.triton.export; its --help lists it.",
    )
    command.add_argument("checkpoint", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    command.add_argument("repository", type=Path, help="folder of the models")
    command.add_argument("options", nargs=argparse.REMAINDER, help="such as --gpu 0 --precision bfloat16")
    command.set_defaults(run=checkpoints.export_triton)


def add_generate(commands: Commands) -> None:
    """``unclip generate``."""
    command = commands.add_parser("generate", help="make pictures from a caption")
    command.add_argument("caption", nargs="?", default="", help="may be left out where an embedding is given")
    command.add_argument("--embedding", type=Path, metavar="FILE", help=".npz of unclip embed --out: what to paint")
    command.add_argument(
        "--index", default="0", metavar="SUM", help='its row, or a sum of rows as "2-0+1" (%(default)s)'
    )
    add_picture_options(command, Generate)
    command.set_defaults(run=making.generate)


def add_vary(commands: Commands) -> None:
    """``unclip vary``."""
    command = commands.add_parser("vary", help="make variations of a picture")
    command.add_argument("image", type=Path)
    add_picture_options(command, Vary)
    command.set_defaults(run=making.vary)


def add_text_diff(commands: Commands) -> None:
    """``unclip text-diff``."""
    command = commands.add_parser("text-diff", help="change a picture from one caption to another")
    command.add_argument("image", type=Path)
    command.add_argument("--before", default="", help='what it shows now, such as "a victorian house"; may be left out')
    command.add_argument("--after", required=True, help='what it shall show, such as "a modern house"')
    command.add_argument("--theta", type=float, default=0.5, help="how far to go, 0 to 1 (%(default)s)")
    command.add_argument("--frames", type=positive, default=6, help="pictures on the way there (%(default)s)")
    add_picture_options(command, TextDiff)
    command.set_defaults(run=making.text_diff)


def add_interpolate(commands: Commands) -> None:
    """``unclip interpolate``."""
    command = commands.add_parser("interpolate", help="go from a picture to another one, or to a caption")
    command.add_argument("image", type=Path)
    end = command.add_mutually_exclusive_group(required=True)
    end.add_argument("to", type=Path, nargs="?", help="the picture to end with")
    end.add_argument("--caption", default="", dest="to_caption", help="the caption to end with")
    command.add_argument("--frames", type=positive, default=6, help="pictures on the way there (%(default)s)")
    add_picture_options(command, Interpolate)
    command.set_defaults(run=making.interpolate)


def add_replay(commands: Commands) -> None:
    """``unclip replay``."""
    command = commands.add_parser("replay", help="make a picture again from the recipe inside its file")
    command.add_argument("picture", type=Path)
    command.add_argument(
        "--source",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a picture it began with, or a folder to look in; may be given many times (the picture's own folder)",
    )
    command.add_argument("--any-model", action="store_true", help="also where the server has another model")
    command.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    add_connection(command)
    command.set_defaults(run=replaying.replay)


def add_edit(commands: Commands) -> None:
    """``unclip edit``."""
    command = commands.add_parser(
        "edit",
        help="repaint a part of a picture, or continue it beyond its edges",
        description="Repaints what the mask says, or else what is transparent; the rest stays exactly as it is.",
    )
    command.add_argument("image", type=Path)
    command.add_argument("caption", help="what the whole picture shall show")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--mask", type=Path, help="a picture of the same size, light where to repaint")
    where.add_argument(
        "--pad",
        type=margins,
        metavar="N|L,T,R,B",
        help="pixels to paint beyond the edges",
    )
    add_picture_options(command, Edit)
    command.set_defaults(run=making.edit)


def add_embed(commands: Commands) -> None:
    """``unclip embed``."""
    command = commands.add_parser("embed", help="CLIP embeddings of captions and pictures, and how alike they are")
    command.add_argument("--caption", action="append", default=[], dest="captions", help="may be given many times")
    command.add_argument("--image", action="append", default=[], dest="images", type=Path, help="likewise")
    command.add_argument("--out", type=Path, help="also write the vectors, one row each, into this .npz file")
    command.add_argument("--fit", choices=list(FITS.numbers), default="crop", help="as for unclip vary (%(default)s)")
    add_connection(command)
    command.set_defaults(run=asking.embed)


def add_keys(commands: Commands) -> None:
    """``unclip keys new``."""
    keys = commands.add_parser("keys", help="API keys for the gateway").add_subparsers(required=True, metavar="COMMAND")
    new = keys.add_parser("new", help="make a key; prints it, and its entry for the gateway's file of keys")
    new.add_argument("name", help="its id, by which logs and figures call it")
    new.add_argument("--requests-per-minute", type=positive, default=60, metavar="N", help="(%(default)s)")
    new.add_argument("--concurrency", type=positive, default=4, metavar="N", help="calls at once (%(default)s)")
    new.add_argument("--days", type=positive, help="until it expires (default: never)")
    new.add_argument("--json", action="store_true", help="print the result as JSON")
    new.set_defaults(run=cli_keys.new)


def add_doctor(commands: Commands) -> None:
    """``unclip doctor``."""
    command = commands.add_parser("doctor", help="check this machine and the services; exits with 1 if anything fails")
    command.add_argument("--checkpoint", type=Path, help="folder (default: UNCLIP_CHECKPOINT, or checkpoints/emoji)")
    command.add_argument(
        "--stage",
        action="append",
        default=[],
        dest="stages",
        metavar="NAME=HOST:PORT",
        help="also look at each replica of this stage by itself; may be given many times",
    )
    command.add_argument("--no-picture", action="store_true", help="do not have a small picture made")
    command.add_argument("--remote-only", action="store_true", help="leave out what concerns this machine")
    add_connection(command, "--address")
    command.set_defaults(run=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    """``unclip.cli.doctor``, imported only when asked for: it brings libraries that nothing else here needs."""
    from unclip.cli.doctor import doctor

    return doctor(options)


def add_service_options(command: argparse.ArgumentParser) -> None:
    """Options of the services on this machine."""
    command.add_argument(
        "--checkpoint",
        type=Path,
        help="folder, or owner/name on the Hugging Face Hub (default: UNCLIP_CHECKPOINT, or checkpoints/emoji)",
    )
    command.add_argument(
        "--image-encoder", metavar="CHECKPOINT", help="whose image encoder to use where the checkpoint has none"
    )
    command.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16", "float16"], help="of the networks (default: auto)"
    )
    command.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NAME=triton://HOST:PORT/MODEL",
        help="a network that a Triton server runs; may be repeated",
    )
    command.add_argument("--threads", type=positive, help="CPU threads of each model service (default: its own)")


def add_picture_options(command: argparse.ArgumentParser, kind: type[Request]) -> None:
    """Options, output and connection of what makes the pictures of a ``kind``."""
    add_options(command, kind)
    command.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (%(default)s)")
    add_connection(command)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
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
