"""A node with a kubelet and containerd, kube-proxy, and a name server for Services.

It lives in namespaces of its own (`apart`): of the network, where nothing else is reached, of mounts and of processes,
so that whatever it starts and mounts is gone with it. Its pods are routed (the CNI plugin ``ptp``); nothing enforces
NetworkPolicies.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cluster.control_plane import BINARIES, Api, Object, Programs, binaries, missing
from tests.drill.names import NameServer

RUNTIME = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "catatonit", "kubelet", "kube-proxy", "nft")
PLUGINS = ("ptp", "host-local", "loopback")
IMAGES = "UNCLIP_KUBE_IMAGES"
NODE, NODE_ADDRESS, POD_RANGE = "one", "198.19.0.1", "198.19.0.0/16"
POD_SUBNET = "198.19.1.0/24"
PAUSE = "localhost/pause:1"
# Apart from the machine's own: what containerd, its plugins and the kubelet write there is gone with them.
OWN_MOUNTS = ("/run", "/var/lib", "/var/log")


def impossible(archives: Sequence[str]) -> str:
    """Why there can be no node here, with images from these archives; empty where there can."""
    if reason := missing((*BINARIES, *RUNTIME, *PLUGINS)):
        return reason
    folder = os.environ.get(IMAGES, "")
    if not folder:
        return f"{IMAGES} names no folder with {', '.join(archives)}, as `docker save` writes them"
    absent = [name for name in archives if not (Path(folder) / name).exists()]
    if absent:
        return f"{folder} has no {', '.join(absent)}"
    if groups():
        return "there is a kubelet on this machine already"
    tried = subprocess.run([*APART, "mount", "-t", "tmpfs", "none", "/run"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no namespaces of one's own here: {tried.stderr.strip()}"


APART = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def apart(command: Sequence[str]) -> int:
    """Runs a command where a node may live; its status. Nothing that it started is left."""
    variables = {**os.environ, "PATH": f"{binaries()}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    process = subprocess.Popen([*APART, *command], env=variables)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()
        for found in groups():
            remove_groups(found)


def groups() -> list[Path]:
    """Control groups of pods, of either version."""
    return [found for pattern in ("kubepods", "*/kubepods") for found in Path("/sys/fs/cgroup").glob(pattern)]


def remove_groups(group: Path) -> None:
    """Control groups that nobody is in any more."""
    for below in [found for found in group.iterdir() if found.is_dir()]:
        remove_groups(below)
    with contextlib.suppress(OSError):
        group.rmdir()


@contextmanager
def node(folder: Path, api: Api, archives: Sequence[str]) -> Iterator[Programs]:
    """The node, ready, with images from archives; inside of `apart` and `network`."""
    for name, content in {
        "containerd.toml": containerd_settings(folder).encode(),
        "kubelet.json": json.dumps(kubelet_settings(folder)).encode(),
        "cni/pods.conflist": json.dumps(pod_network(folder)).encode(),
        "pause.tar": pause_image((binaries() / "catatonit").read_bytes()),
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    config = str(folder / "kubeconfig")
    with Programs(folder) as programs, Names(api):
        programs.start("containerd", "--config", str(folder / "containerd.toml"))
        programs.wait(lambda: ctr(folder, "version", check=False), "containerd")
        for archive in (folder / "pause.tar", *(Path(os.environ[IMAGES]) / name for name in archives)):
            ctr(folder, "images", "import", "--local", str(archive))
        programs.start(
            "kubelet",
            *("--config", str(folder / "kubelet.json"), "--kubeconfig", config, "--root-dir", str(folder / "kubelet")),
            *("--hostname-override", NODE, "--node-ip", NODE_ADDRESS),
        )
        programs.start(
            "kube-proxy",
            *("--kubeconfig", config, "--proxy-mode", "nftables", "--cluster-cidr", POD_RANGE),
            *("--hostname-override", NODE, "--conntrack-max-per-core", "0"),
            *("--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0"),
        )
        programs.wait(lambda: ready(api), "the node")
        yield programs


def network(folder: Path) -> None:
    """The node's address and resolver, and what is written outside of ``folder``."""
    for place in OWN_MOUNTS:
        run("mount", "-t", "tmpfs", "none", place)
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
    run("ip", "route", "add", "default", "dev", "lo")  # to addresses of Services, which kube-proxy changes
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    (folder / "resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n")
    run("mount", "--bind", str(folder / "resolv.conf"), os.path.realpath("/etc/resolv.conf"))


def run(*command: str) -> None:
    """Runs a command. Raises subprocess.CalledProcessError."""
    subprocess.run(command, check=True)


def ctr(folder: Path, *words: str, check: bool = True) -> bool:
    """containerd's own client; whether it did."""
    address = ("--address", str(folder / "containerd.sock"), "--namespace", "k8s.io")
    done = subprocess.run([str(binaries() / "ctr"), *address, *words], capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"ctr {' '.join(words)}: {done.stderr}")
    return done.returncode == 0


def ready(api: Api) -> bool:
    """Whether the node is, and takes pods."""
    try:
        found = api.get(f"/api/v1/nodes/{NODE}")
    except httpx.HTTPStatusError:
        return False
    conditions = {condition["type"]: condition["status"] for condition in found["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not found["spec"].get("taints")


class Names(threading.Thread):
    """Answers for Services as a cluster's DNS does, while the body runs."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self._api, self._stopped = Api(api.address), threading.Event()
        self._server = NameServer(NODE_ADDRESS, 53)

    def __enter__(self) -> Names:
        self._server.__enter__()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()
        self._server.__exit__(None, None, None)
        self._api.close()

    def run(self) -> None:
        """Looks at Services and their endpoints, twice a second."""
        while not self._stopped.wait(0.5):
            with contextlib.suppress(httpx.HTTPError):
                self._server.records = self._records()

    def _records(self) -> dict[str, tuple[str, ...]]:
        pods = dict[tuple[str, str], list[str]]()
        for piece in self._api.items("/apis/discovery.k8s.io/v1/endpointslices"):
            service = piece["metadata"]["labels"].get("kubernetes.io/service-name", "")
            found = pods.setdefault((piece["metadata"]["namespace"], service), [])
            for endpoint in piece["endpoints"] or []:
                found += endpoint["addresses"] if endpoint["conditions"].get("ready") else []
        records = {}
        for service in self._api.items("/api/v1/services"):
            name, space = service["metadata"]["name"], service["metadata"]["namespace"]
            address = service["spec"]["clusterIP"]
            found = pods.get((space, name), []) if address == "None" else [address]
            records[f"{name}.{space}.svc.cluster.local"] = tuple(found)
        return records


def containerd_settings(folder: Path) -> str:
    """Of containerd 2, in TOML. A node that may not make processes less likely to be killed says so."""
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    return f"""
version = 3
root = '{folder}/containerd'
state = '/run/containerd'
grpc.address = '{folder}/containerd.sock'
plugins.'io.containerd.cri.v1.images'.pinned_images.sandbox = '{PAUSE}'
plugins.'io.containerd.internal.v1.opt'.path = '{folder}/opt'
[{runtime}]
restrict_oom_score_adj = true
disable_apparmor = true
cni.bin_dirs = ['{binaries()}']
cni.conf_dir = '{folder}/cni'
[{runtime}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
options.BinaryName = '{binaries()}/runc'
"""


def kubelet_settings(folder: Path) -> Object:
    """Of the kubelet: on a machine with control groups of either version, in namespaces, with little room on disk."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "readOnlyPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # nothing but this machine reaches it
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "featureGates": {"KubeletInUserNamespace": True},  # some settings of the kernel are not ours to change
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "podLogsDir": str(folder / "pods"),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "enforceNodeAllocatable": [],
    }


def pod_network(folder: Path) -> Object:
    """Of the CNI plugin: each pod has a pair of interfaces, and the node routes."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": POD_SUBNET}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugin = {"type": "ptp", "ipMasq": False, "ipam": {**ipam, "dataDir": str(folder / "addresses")}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}


def pause_image(program: bytes) -> bytes:
    """An archive of an image with one program that does nothing, as `docker save` writes it."""
    layer = packed({"pause": program})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause", "-P"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    return packed(
        {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode(), "layer.tar": layer}
    )


def packed(files: dict[str, bytes]) -> bytes:
    """A tar of files that may be run."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
