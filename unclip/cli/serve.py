"""``unclip serve``: all services on this machine until interrupted."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

from unclip.cli.terminal import line
from unclip.client import Client
from unclip.errors import ConfigurationError
from unclip.local.stack import MODEL_SERVICES, LocalStack

CHECK_S = 0.5
NETWORKS = {
    "encoder": ("text_encoder", "decoder_text_encoder", "image_encoder"),
    "prior": ("prior",),
    "decoder": ("decoder", "decoder_student", "latent_encoder", "latent_decoder", "upsampler", "upsampler_last"),
}


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Has SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does, so that what was started is stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def of_services(options: argparse.Namespace) -> dict[str, list[str]]:
    """The options that the services of a stack are given beside those of all, by role."""
    chosen: dict[str, list[str]] = {role: [] for role in MODEL_SERVICES}
    if options.image_encoder:
        chosen["encoder"] += ["--image-encoder", options.image_encoder]
    for network in options.network:
        name = network.partition("=")[0]
        role = next((role for role, names in NETWORKS.items() if name in names), None)
        if role is None:
            known = ", ".join(name for names in NETWORKS.values() for name in names)
            raise ConfigurationError(
                f"network must be one of {known}, as name=triton://host:port/model; got {network!r}"
            )
        chosen[role] += ["--network", network]
    if options.precision:
        for words in chosen.values():
            words += ["--precision", options.precision]
    return chosen


def serve(options: argparse.Namespace) -> None:
    """Starts the services, says where they are, and stops them when interrupted or when one of them ends."""
    stack = LocalStack(
        options.checkpoint,
        options.host,
        options.port,
        options.threads,
        options.log_dir,
        options=of_services(options),
        web_port=options.web,
    )
    with terminated_as_interrupted():
        print("starting the services …", file=sys.stderr)
        with stack:
            line(f"gateway on {stack.address}")
            if stack.web_address:
                line(f"OpenAI's Images API on http://{stack.web_address}/v1")
                line(f"the studio on http://{stack.web_address}/")
            with Client(stack.address) as client:
                model = client.model_info()
            line(f"{model.name}, licence {model.license}; it can {', '.join(model.capabilities) or 'nothing'}")
            line("  ".join(f"{role} {pid}" for role, pid in stack.pids.items()))
            line(f"logs in {stack.log_dir}")
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    stack.check()
                    time.sleep(CHECK_S)
            print("stopping", file=sys.stderr)
