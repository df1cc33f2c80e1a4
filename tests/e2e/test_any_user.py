"""The services run as whatever user a platform chooses: without a name, in group 0, as OpenShift has it.

Such a user may write where group 0 may. It is let read everything here, since an interpreter may lie in root's home.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.chart import environment, named, render
from unclip.serving.probe import state

USER = "1000660000"
READS = "-all,+dac_read_search"
AS_USER = [
    "setpriv",
    f"--reuid={USER}",
    "--regid=0",
    "--clear-groups",
    f"--inh-caps={READS}",
    f"--ambient-caps={READS}",
]
PATIENCE_S = 90.0


def possible() -> bool:
    """Whether this process may become such a user."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return False
    return subprocess.run([*AS_USER, "id"], capture_output=True).returncode == 0


@contextmanager
def running(module: str, folder: Path, *options: str) -> Iterator[str]:
    """A service of that user; its address. It ends with SIGTERM, to 0."""
    file, log = folder / f"{module}.address", folder / f"{module}.log"
    variables = {**os.environ, "HOME": "/var/cache/unclip", "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*AS_USER, sys.executable, "-m", module, "--port", "0", "--address-file", str(file), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=variables, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + PATIENCE_S
        while not file.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        assert Path(f"/proc/{process.pid}/status").read_text().split("Uid:")[1].split()[0] == USER
        yield file.read_text().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not possible(), reason="needs root, and setpriv, to become another user")
@pytest.mark.parametrize("module", ["gateway", "prior_svc"])
def test_a_service_runs_as_a_user_that_nobody_knows(module: str, tiny_checkpoint: Path) -> None:
    options = {
        "gateway": ["--patience", "0"],
        "prior_svc": ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--threads", "1"],
    }
    folder = Path(tempfile.mkdtemp(prefix="unclip-user-"))
    folder.chmod(0o770)
    try:
        with running(module, folder, *options[module]) as address:
            assert state(address) == "SERVING"
    finally:
        shutil.rmtree(folder)


def test_the_chart_leaves_the_user_to_the_platform_where_it_is_told_to() -> None:
    fields = dict.fromkeys(["runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy"])
    pod = named(render({"defaults": {"podSecurityContext": fields}}), "Deployment", "unclip-gateway")["spec"][
        "template"
    ]
    assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert "HOME" not in environment(pod)  # the image's, which group 0 may write to
