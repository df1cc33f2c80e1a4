"""A real control plane: etcd, API server, controller manager and scheduler as processes, and a node without a kubelet.

The binaries lie in the folder that UNCLIP_KUBE_BIN names. What a kubelet would report, `Node` writes: pods that were
scheduled run and are ready, pods that are told to stop are gone. No container runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.processes import free_port

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
VARIABLE = "UNCLIP_KUBE_BIN"
TOKEN = "tests"  # of a server that only this machine reaches, and that ends with the tests
PATIENCE_S = 120.0
Object = dict[str, Any]


def missing() -> str:
    """Why there can be no control plane here; empty where there can."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        return f"{VARIABLE} names no folder with {', '.join(BINARIES)}"
    absent = [name for name in BINARIES if not os.access(Path(folder) / name, os.X_OK)]
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


class Node(threading.Thread):
    """A node with room for all, and what its kubelet would say of its pods."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self._api, self._stopped = api, threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Says it, until `stop`."""
        while not self._stopped.wait(0.2):
            try:
                for pod in self._api.items("/api/v1/pods"):
                    self._report(pod)
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (404, 409):  # changed or gone meanwhile
                    self.failure = error
            except httpx.TransportError:
                continue

    def stop(self) -> None:
        """Says no more."""
        self._stopped.set()
        self.join()

    def register(self) -> None:
        """Makes the node known, ready."""
        room = {"cpu": "1000", "memory": "4000Gi", "pods": "1000", "nvidia.com/gpu": "1000"}
        labels = {"gpu": "yes", "nvidia.com/gpu.present": "true", "topology.kubernetes.io/zone": "a"}
        room["nvidia.com/gpu.shared"] = "1000"
        self._api.create("/api/v1/nodes", {"kind": "Node", "metadata": {"name": "one", "labels": labels}})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        self._api.merge("/api/v1/nodes/one/status", {"status": status})
        self._api.merge("/api/v1/nodes/one", {"spec": {"taints": []}})  # of nodes that are not known to be ready

    def _report(self, pod: Object) -> None:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        if "deletionTimestamp" in pod["metadata"]:
            self._api.delete(path)
        elif "nodeName" in pod["spec"] and pod["status"].get("phase") == "Pending":
            conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            for condition in conditions:
                condition["lastTransitionTime"] = now
            self._api.merge(f"{path}/status", {"status": {"phase": "Running", "conditions": conditions}})


@contextmanager
def control_plane(folder: Path) -> Iterator[tuple[Api, Node]]:
    """A cluster of one node, whose files and logs are in ``folder``; its processes end with it, by their ids.

    Raises:
        RuntimeError: a process ended, or the API server was not ready in time.
    """
    binaries, processes = Path(os.environ[VARIABLE]), dict[str, subprocess.Popen[bytes]]()
    number = os.getpid()
    host = f"127.{128 + number // 250 % 100}.{1 + number % 250}.1"

    def start(name: str, *options: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            command = [str(binaries / name), *options]
            processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def last_words() -> str:
        ended = [name for name, process in processes.items() if process.poll() is not None]
        return "\n".join(f"{name}: {(folder / f'{name}.log').read_text()[-1500:]}" for name in ended or processes)

    client, peer, port, manager, scheduler = (free_port() for _ in range(5))
    api = Api(f"{host}:{port}")
    try:
        start("etcd", *etcd_options(folder, f"http://{host}:{client}", f"http://{host}:{peer}"))
        start("kube-apiserver", *api_server_options(folder, host, port, f"http://{host}:{client}"))
        end = time.monotonic() + PATIENCE_S
        while not api.healthy():
            if time.monotonic() > end or any(process.poll() is not None for process in processes.values()):
                raise RuntimeError(f"the control plane does not start\n{last_words()}")
            time.sleep(0.2)
        config = folder / "kubeconfig"
        config.write_text(api.kubeconfig())
        own = ("--kubeconfig", str(config), "--bind-address", host, "--leader-elect=false")
        controllers = ("--controllers=*,-nodelifecycle", "--service-account-private-key-file", str(folder / "sa.key"))
        start("kube-controller-manager", *own, "--secure-port", str(manager), *controllers)
        start("kube-scheduler", *own, "--secure-port", str(scheduler))
        node = Node(api)
        node.register()
        node.start()
        try:
            yield api, node
        finally:
            node.stop()
    finally:
        for process in [*processes.values()][::-1]:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
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
    )
