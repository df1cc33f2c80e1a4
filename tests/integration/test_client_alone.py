"""What a client installs is enough for it: it works where no package of an extra is, and says which one to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.certificates import Authority
from unclip.extras import EXTRAS
from unclip.testing import BlockingStubStack

# Hides packages as if they were not installed, then runs the rest of its arguments as Python.
ALONE = """
import sys
hidden = set(sys.argv.pop(1).split(","))
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
exec(sys.argv.pop(1))
"""
EVERY = [module for extra in EXTRAS.values() for module in extra.packages.values()]
GENERATE = """
from unclip import Client
with Client(sys.argv[1]) as client:
    print(client.generate("a red apple", seed=1)[0].to_pil().size, client.model_info().name)
"""
COMMAND = "from unclip.cli import main; sys.exit(main())"


def alone(program: str, *arguments: str, hidden: Sequence[str] = (*EVERY, "grpc_status")) -> tuple[int, str]:
    """The status and the output of a program where ``hidden`` packages are not."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(hidden), program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    return done.returncode, done.stdout + done.stderr


def test_a_client_needs_no_package_of_an_extra(tmp_path: Path) -> None:
    with BlockingStubStack() as stack:
        assert alone(GENERATE, stack.address) == (0, "(256, 256) stub\n")
        status, told = alone(COMMAND, "generate", "a red apple", "--server", stack.address, "--out", str(tmp_path))
        assert (status, len(list(tmp_path.glob("*.png")))) == (0, 1), told
        status, told = alone(COMMAND, "doctor", "--remote-only", "--server", stack.address)
        assert (status, "gateway health" in told) == (0, True), told


def test_trusting_a_ca_needs_no_package_of_an_extra_either(tmp_path: Path) -> None:
    program = """
from unclip import Client, Tls, UnclipError
try:
    with Client("127.0.0.1:1", tls=Tls(ca=sys.argv[1]), timeout=5) as client:
        client.model_info()
except UnclipError as error:
    print(type(error).__name__)
"""
    assert alone(program, str(Authority(tmp_path).ca)) == (0, "Unavailable\n")
    (tmp_path / "empty.pem").write_text("# nothing\n")
    assert alone(program, str(tmp_path / "empty.pem")) == (0, "ConfigurationError\n")


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        (["torch"], "pip install 'unclip[model]'"),
        (["gateway"], "pip install 'unclip-services'"),
        (EVERY, "pip install 'unclip-services' 'unclip[model]'"),
    ],
)
def test_serve_says_in_one_line_what_to_install(hidden: list[str], told: str) -> None:
    line = f"unclip: a stack on this machine needs more than the client: {told}\n"
    assert alone(COMMAND, "serve", hidden=hidden) == (2, line)


@pytest.mark.parametrize(
    ("program", "module", "install"),
    [
        ("import runpy; runpy.run_module('unclip.testing', run_name='__main__')", "grpc_health", "unclip[server]"),
        ("from unclip.testing import BlockingStubStack; BlockingStubStack().__enter__()", "gateway", "unclip-services"),
        (
            "from unclip import Client, Tls\n"
            "with Client('127.0.0.1:1', tls=Tls(cert=sys.executable, key=sys.executable)) as client:\n"
            "    client.model_info()",
            "cryptography",
            "unclip[tls]",
        ),
    ],
)
def test_what_an_extra_lacks_is_named_with_what_to_install(program: str, module: str, install: str) -> None:
    status, told = alone(program, hidden=[module])
    assert status != 0
    assert told.splitlines()[-1].endswith(f"this needs {module}, which is not here: pip install '{install}'"), told
