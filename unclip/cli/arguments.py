"""What can be said on the command line."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from unclip.cli import asking, checkpoints, demo, serve, verifying
from unclip.cli import keys as cli_keys
from unclip.cli.connection import add_connection, add_json
from unclip.cli.parsing import Parser, add_command, examples
from unclip.cli.picture_commands import (
    PICTURE,
    add_edit,
    add_generate,
    add_interpolate,
    add_replay,
    add_text_diff,
    add_vary,
)
from unclip.wire.enums import FITS

if TYPE_CHECKING:
    from unclip.cli.parsing import Commands


def parser() -> Parser:
    """The parser of ``unclip``; what it gives has ``run``, the function to call with it, and ``command``."""
    top = Parser(
        prog="unclip",
        description="Pictures from captions by unCLIP (DALL-E 2) over gRPC.",
        epilog=examples("unclip serve", 'unclip generate "a flat emoji of a red apple"', "unclip vary --help"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"unclip {version()}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add_serve(commands)
    add_demo(commands)
    add_generate(commands)
    add_vary(commands)
    add_text_diff(commands)
    add_interpolate(commands)
    add_edit(commands)
    add_replay(commands)
    add_verify(commands)
    add_embed(commands)
    add_convert(commands)
    add_export_triton(commands)
    add_info(commands)
    add_keys(commands)
    add_doctor(commands)
    return top


def version() -> str:
    """The installed version."""
    try:
        return metadata.version("unclip")
    except metadata.PackageNotFoundError:
        return "of a checkout"


def add_serve(commands: Commands) -> None:
    """``unclip serve``."""
    lines = ["unclip serve", "unclip serve --port 0 --threads 4", "unclip serve --checkpoint kakaobrain/karlo-v1-alpha"]
    command = add_command(commands, "serve", serve.serve, "run all services on this machine until interrupted", lines)
    add_service_options(command)
    command.add_argument("--host", default="127.0.0.1", help="where the gateway listens (%(default)s)")
    command.add_argument("--port", type=int, default=50050, help="the gateway's port, 0 for a free one (%(default)s)")
    command.add_argument(
        "--web",
        type=int,
        metavar="PORT",
        help="also serve the studio, a page, and OpenAI's Images API at this port (no)",
    )
    command.add_argument("--log-dir", type=Path, help="folder for the services' logs, kept (default: a temporary one)")


def add_demo(commands: Commands) -> None:
    """``unclip demo``."""
    lines = ["unclip demo", "unclip demo --out elsewhere --steps 10"]
    more = "Files of an earlier demo in the same folder are written anew."
    command = add_command(commands, "demo", demo.demo, "start all services, make pictures, stop them", lines, more)
    add_service_options(command)
    command.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for pictures and logs (%(default)s)"
    )
    command.add_argument("--steps", type=positive, help="decoder steps (default: the checkpoint's)")


def add_convert(commands: Commands) -> None:
    """``unclip convert``."""
    lines = ["unclip convert downloads/karlo checkpoints/karlo"]
    help = "make a checkpoint of safetensors from one whose weights are pickles"
    command = add_command(commands, "convert", checkpoints.convert, help, lines)
    command.add_argument("source", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    command.add_argument("target", type=Path, help="folder to make")
    command.add_argument("--image-encoder", metavar="CHECKPOINT", help="whose image encoder completes it")


def add_export_triton(commands: Commands) -> None:
    """``unclip export-triton``."""
    lines = ["unclip export-triton checkpoints/emoji models", "unclip export-triton checkpoints/emoji models --gpu 0"]
    more = "What follows the two is for python -m unclip.triton.export; its --help lists it."
    help = "write a checkpoint as a model repository for NVIDIA Triton"
    command = add_command(commands, "export-triton", checkpoints.export_triton, help, lines, more)
    command.add_argument("checkpoint", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    command.add_argument("repository", type=Path, help="folder of the models")
    command.add_argument("options", nargs=argparse.REMAINDER, help="such as --gpu 0 --precision bfloat16")


def add_verify(commands: Commands) -> None:
    """``unclip verify``."""
    lines = ["unclip verify out/*.png", "unclip verify picture.jpg --trust ca.pem --json"]
    help = "say which marks picture files carry of having been made by AI, and whether they hold"
    more = """A file has passed that says so, in XMP or signed, and holds nothing broken; with
--trust, its signature must be of somebody whom these CAs know. Exits with 1 if one
has not, with 2 if one is no picture. Nothing is asked of any server."""
    command = add_command(commands, "verify", verifying.verify, help, lines, more)
    command.add_argument("pictures", type=Path, nargs="+", metavar="picture", help=PICTURE)
    command.add_argument(
        "--trust", type=Path, metavar="FILE", help="PEM file of CAs, one of which must know the signer"
    )
    add_json(command)


def add_embed(commands: Commands) -> None:
    """``unclip embed``."""
    lines = [
        'unclip embed --caption "a red apple" --image apple.png',
        "unclip embed --image apple.png --out vectors.npz",
    ]
    help = "CLIP embeddings of captions and pictures, and how alike they are"
    command = add_command(commands, "embed", asking.embed, help, lines)
    command.add_argument(
        "--caption", action="append", default=[], dest="captions", metavar="TEXT", help="may be given many times"
    )
    command.add_argument(
        "--image", action="append", default=[], dest="images", metavar="FILE", type=Path, help="likewise; - for stdin"
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="also write the vectors, one row each, into this .npz file, anew"
    )
    command.add_argument("--fit", choices=list(FITS.numbers), default="crop", help="as for unclip vary (%(default)s)")
    add_connection(command)


def add_info(commands: Commands) -> None:
    """``unclip info``."""
    lines = [
        "unclip info",
        "unclip info --captions apple",
        "unclip info --server gateway.example:50050 --tls --json",
    ]
    command = add_command(commands, "info", asking.info, "what the stack has loaded and can do", lines)
    command.add_argument(
        "--captions",
        nargs="*",
        metavar="WORD",
        help="list what it was taught to draw and examples of captions, all or those with these words",
    )
    add_connection(command)


def add_keys(commands: Commands) -> None:
    """``unclip keys new``."""
    lines = ["unclip keys new alice --days 30 >>keys.toml"]
    help = "API keys for the gateway"
    keys = commands.add_parser(
        "keys", help=help, epilog=examples(*lines), formatter_class=argparse.RawDescriptionHelpFormatter
    ).add_subparsers(required=True, metavar="COMMAND")
    help = "make a key; prints it, and its entry for the gateway's file of keys"
    new = add_command(keys, "new", cli_keys.new, help, lines)
    new.add_argument("name", help="its id, by which logs and figures call it")
    new.add_argument("--requests-per-minute", type=positive, default=60, metavar="N", help="(%(default)s)")
    new.add_argument("--concurrency", type=positive, default=4, metavar="N", help="calls at once (%(default)s)")
    new.add_argument("--days", type=positive, help="until it expires (default: never)")
    add_json(new)


def add_doctor(commands: Commands) -> None:
    """``unclip doctor``."""
    lines = ["unclip doctor", "unclip doctor --remote-only --server gateway.example:50050 --stage prior=10.0.0.7:50052"]
    help = "check this machine and the services; exits with 1 if anything fails"
    command = add_command(commands, "doctor", run_doctor, help, lines)
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


def run_doctor(options: argparse.Namespace) -> int:
    """``unclip.cli.doctor``, imported only when asked for: it brings libraries that nothing else here needs."""
    from unclip.cli.doctor import doctor

    return doctor(options)


def add_service_options(command: Parser) -> None:
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


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
    return number
