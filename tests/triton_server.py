"""A real tritonserver on this machine, out of the nvidia-pytriton wheel; `make` puts it into ``.venv-triton``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

ROOT = Path(__file__).resolve().parent.parent
HOME = "UNCLIP_TRITON_VENV"  # another place of the venv
GRACE_S = 20.0
PATHS = (str(ROOT), sysconfig.get_path("purelib"))  # where the server's Python finds this package and what it needs


class NoTriton(Exception):
    """There is no tritonserver that runs here; the message says why."""


def wheel() -> Path:
    """The folder of the wheel's package.

    Raises:
        NoTriton: it is not installed, or has nothing for this Python.
    """
    venv = Path(os.environ.get(HOME, ROOT / ".venv-triton"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    package = venv / "lib" / f"python{version}" / "site-packages" / "pytriton"
    if not package.is_dir():
        raise NoTriton(f"no tritonserver in {venv}: make test installs it where the wheel can be had")
    if not (package / "tritonserver" / "python_backend_stubs" / version).is_dir():
        raise NoTriton(f"the nvidia-pytriton wheel has no Python backend for Python {version}")
    return package


class TritonServer:
    """A tritonserver over a model repository; a context manager that ends it.

    It answers from `start` on, ready or not; wait with `wait_ready`. `kill` and `start` again to have it return on the
    same port.
    """

    def __init__(self, repository: Path, scratch: Path, port: int, models: Sequence[str] = ()) -> None:
        """scratch: for its backend and its log. models: to load, all of the repository when empty."""
        self.repository, self._scratch, self._port, self._models = repository, scratch, port, models
        self._process: subprocess.Popen[bytes] | None = None
        self.log = scratch / "tritonserver.log"

    @property
    def address(self) -> str:
        """``host:port`` of its gRPC endpoint."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts the process.

        Raises:
            NoTriton: there is none.
        """
        package = wheel()
        server = package / "tritonserver"
        backend = self._backend(server)
        libraries = [*sorted(package.parent.glob("nvidia_pytriton.libs")), Path(sysconfig.get_config_var("LIBDIR"))]
        command = [
            *(str(server / "bin" / "tritonserver"), "--model-repository", str(self.repository)),
            *("--backend-directory", str(backend.parent), "--allow-http=false", "--allow-metrics=false"),
            *("--grpc-address=127.0.0.1", f"--grpc-port={self._port}", "--disable-auto-complete-config"),
            *("--exit-on-error=false", "--exit-timeout-secs=1"),
        ]
        if self._models:
            command += ["--model-control-mode=explicit", *(f"--load-model={model}" for model in self._models)]
        environment = os.environ | {
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            # What the stub itself imports before a model's own path counts.
            "PYTHONPATH": sysconfig.get_path("purelib"),
        }
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with the processes of its models
            )

    def _backend(self, server: Path) -> Path:
        backend = self._scratch / "backends" / "python"
        if not backend.is_dir():
            shutil.copytree(server / "backends" / "python", backend)
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
            (backend / stub.name).symlink_to(stub)
        return backend

    def wait_ready(self, models: Sequence[str], patience: float = 120.0) -> None:
        """Waits until the models are ready.

        Raises:
            NoTriton: the server ended; its last words follow.
            TimeoutError: they were not ready in time.
        """
        from tritonclient.grpc import InferenceServerClient
        from tritonclient.utils import InferenceServerException

        end = time.monotonic() + patience
        with InferenceServerClient(self.address) as client:
            while True:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise NoTriton(f"tritonserver does not run here:\n{self.last_words()}")
                try:
                    if all(client.is_model_ready(model, client_timeout=2) for model in models):
                        return
                except (InferenceServerException, grpc.RpcError):
                    pass
                if time.monotonic() > end:
                    raise TimeoutError(f"the models are not ready:\n{self.last_words()}")
                time.sleep(0.1)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Ends it as an operator would."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()  # whatever is left of it

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
