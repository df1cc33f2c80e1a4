"""A real control plane: etcd, API server, controller manager and scheduler as processes.

The binaries lie in the folder that UNCLIP_KUBE_BIN names.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.processes import free_port

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
VARIABLE = "UNCLIP_KUBE_BIN"
TOKEN = "tests"  # of a server that only this machine reaches, and that ends with the tests
PATIENCE_S = 120.0
Object = dict[str, Any]


def binaries() -> Path:
    """The folder of the binaries."""
    return Path(os.environ[VARIABLE])


def missing(names: Sequence[str] = BINARIES) -> str:
    """Why there can be no control plane here; empty where there can."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        return f"{VARIABLE} names no folder with {', '.join(names)}"
    absent = [name for name in names if not os.access(Path(folder) / name, os.X_OK)]
    return f"{folder} has no {', '.join(absent)}" if absent else ""


class Api:
    """The API server, asked over HTTPS as an administrator."""

    def __init__(self, address: str) -> None:
        self.address = address
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self._http = httpx.Client(base_url=f"https://{address}", verify=False, headers=headers, timeout=30)

    def get(self, path: str) -> Object:
        """What is at a path; raises httpx.HTTPStatusError where there is nothing."""
        return self._sent("GET", path)

    def items(self, path: str) -> list[Object]:
        """The objects of a list."""
        return list(self.get(path)["items"])

    def create(self, path: str, found: Object) -> Object:
        """Makes an object."""
        return self._sent("POST", path, found)

    def merge(self, path: str, patch: Object, manager: str = "tests") -> Object:
        """Merges a patch into an object, as ``manager``."""
        media = {"Content-Type": "application/merge-patch+json"}
        return self._sent("PATCH", f"{path}?fieldManager={manager}", patch, media)

    def delete(self, path: str) -> None:
        """Takes an object away at once."""
        self._sent("DELETE", f"{path}?gracePeriodSeconds=0")

    def healthy(self) -> bool:
        """Whether it is ready."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Hangs up."""
        self._http.close()

    def _sent(self, verb: str, path: str, body: Object | None = None, headers: dict[str, str] | None = None) -> Object:
        content = None if body is None else json.dumps(body)
        media = {"Content-Type": "application/json", **(headers or {})}
        answer = self._http.request(verb, path, content=content, headers=media)
        if answer.is_error:
            raise httpx.HTTPStatusError(f"{verb} {path}: {answer.text}", request=answer.request, response=answer)
        return dict(answer.json())

    def kubeconfig(self) -> str:
        """For Helm."""
        cluster = {"server": f"https://{self.address}", "insecure-skip-tls-verify": True}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "tests", "cluster": cluster}],
                "users": [{"name": "tests", "user": {"token": TOKEN}}],
                "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
                "current-context": "tests",
            }
        )


class Programs:
    """Processes of the folder of binaries; a context manager that ends them, by their ids, the newest first."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        """folder: of a log for each. variables: beside those of this process."""
        self.folder = folder
        self._variables = {**os.environ, **(variables or {})}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in [*self._processes.values()][::-1]:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()

    def start(self, name: str, *options: str) -> None:
        """Starts one."""
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [str(binaries() / name), *options]
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self._variables)

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Waits until something holds. Raises RuntimeError when a process has ended, or it takes too long."""
        end = time.monotonic() + PATIENCE_S
        while not ready():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > end:
                words = [f"{name}: {self._log(name)[-1500:]}" for name in ended or self._processes]
                raise RuntimeError("\n".join([f"{what} does not start", *words]))
            time.sleep(0.2)

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")


@contextmanager
def control_plane(folder: Path, controllers: str = "*") -> Iterator[Api]:
    """A cluster without a node, whose files and logs are in ``folder``.

    Raises:
        RuntimeError: a process ended, or the API server was not ready in time.
    """
    number = os.getpid()
    host = f"127.{128 + number // 250 % 100}.{1 + number % 250}.1"
    client, peer, port, manager, scheduler = (free_port() for _ in range(5))
    api = Api(f"{host}:{port}")
    try:
        with Programs(folder) as programs:
            programs.start("etcd", *etcd_options(folder, f"http://{host}:{client}", f"http://{host}:{peer}"))
            programs.start("kube-apiserver", *api_server_options(folder, host, port, f"http://{host}:{client}"))
            programs.wait(api.healthy, "the control plane")
            (folder / "kubeconfig").write_text(api.kubeconfig())
            own = ("--kubeconfig", str(folder / "kubeconfig"), "--bind-address", host, "--leader-elect=false")
            key = ("--service-account-private-key-file", str(folder / "sa.key"))
            manage = ("--secure-port", str(manager), f"--controllers={controllers}", *key)
            programs.start("kube-controller-manager", *own, *manage)
            programs.start("kube-scheduler", *own, "--secure-port", str(scheduler))
            yield api
    finally:
        api.close()


def etcd_options(folder: Path, client: str, peer: str) -> Sequence[str]:
    """Of etcd, by its addresses for clients and for peers."""
    return (
        *("--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    )


def api_server_options(folder: Path, host: str, port: int, etcd: str) -> Sequence[str]:
    """Of the API server. It makes its own certificate, and signs tokens of service accounts with a key made here."""
    key = rsa.generate_private_key(65537, 2048)
    (folder / "sa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "tokens.csv").write_text(f"{TOKEN},tests,tests,system:masters\n")
    account = str(folder / "sa.key")
    return (
        *("--etcd-servers", etcd, "--bind-address", host, "--advertise-address", host, "--secure-port", str(port)),
        *("--cert-dir", str(folder / "certificates"), "--token-auth-file", str(folder / "tokens.csv")),
        *("--service-account-key-file", account, "--service-account-signing-key-file", account),
        *("--service-account-issuer", "https://tests.invalid", "--service-cluster-ip-range", "198.18.0.0/16"),
        *("--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount"),
        *("--kubelet-preferred-address-types", "InternalIP"),
    )
