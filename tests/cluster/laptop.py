"""The laptop's values on a node that runs them: pictures, restarts, scaling, another checkpoint, another user."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import yaml

from tests.cluster.control_plane import Api, Object, binaries
from tests.cluster.kubelet import ctr
from tests.cluster.releases import Release, chart_for
from tests.deploy.chart import ROOT, Values
from tests.drill.load import Load, calling

ARCHIVES = ("gateway.tar", "model.tar", "weights.tar")
WEIGHTS = "docker.io/library/unclip-weights"
LAPTOP: Values = yaml.safe_load((ROOT / "deploy" / "helm" / "examples" / "laptop.yaml").read_text())
WEB: Values = {"web": {"enabled": True}}
SMALL = {"requests": {"cpu": "50m"}}  # three decoders and what surges find room on two cores
ROOM: Values = {
    "defaults": {"resources": SMALL},
    **{name: {"resources": SMALL} for name in ("decoder", "gateway", "web")},
}
USER = 1000660000  # as a platform chooses one, with group 0
SOMEBODY: Values = {
    "defaults": {"podSecurityContext": {"runAsUser": USER, "runAsGroup": 0, "fsGroup": USER}},
}
APPLE = ("generate", "a flat emoji of a red apple", "--seed", "1")
STEPS = 4  # of the decoder, for each picture of the load
READY_S = 400.0


@dataclass
class Report:
    """A row for each step: what was seen, how long it took, and what became of the calls meanwhile."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def row(self, step: str, seconds: float, seen: str, ok: bool, *loads: Load) -> None:
        """Adds one, and prints it."""
        calls, failed = sum(len(load.ended) for load in loads), sum(len(load.failures) for load in loads)
        row = {"step": step, "seconds": round(seconds, 1), "calls": calls, "failed": failed, "seen": seen}
        self.rows.append({**row, "ok": ok and not failed})
        print(json.dumps(self.rows[-1]), flush=True)
        for load in loads:
            for outcome in load.failures:
                print(outcome, flush=True)


@dataclass
class Laptop:
    """A release, and what is done with it."""

    release: Release
    folder: Path
    out: Path
    report: Report

    @property
    def gateway(self) -> str:
        """The one address of its gateways."""
        return f"unclip-gateway.{self.release.namespace}.svc.cluster.local:50050"

    @property
    def gateways(self) -> str:
        """Every gateway's own address."""
        return f"unclip-gateway-pods.{self.release.namespace}.svc.cluster.local.:50050"

    @asynccontextmanager
    async def step(self, name: str, seen: Callable[[], Awaitable[str]]) -> AsyncIterator[None]:
        """A step under steady load, until pods that have to go are gone; ``seen`` is asked when all others are there.

        One caller has one address for all gateways, and one balances over them.
        """
        async with (
            calling(self.gateway, STEPS) as one,
            calling(self.gateways, STEPS) as other,
            asking(one),
            asking(other),
        ):
            await asyncio.sleep(5)
            began = time.monotonic()
            yield
            what = await seen()
            took = time.monotonic() - began
            await asyncio.to_thread(self.left)
            await asyncio.sleep(5)
        self.report.row(name, took, what, bool(one.ended and other.ended), one, other)

    def left(self) -> None:
        """Waits until pods that have to go are gone."""
        pods = f"/api/v1/namespaces/{self.release.namespace}/pods"
        while any("deletionTimestamp" in pod["metadata"] for pod in self.release.api.items(pods)):
            time.sleep(1)

    async def settled(self) -> str:
        """Waits for all pods; what there is."""
        counts = await asyncio.to_thread(self.release.settle, READY_S)
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    def pictures(self, folder: str, *words: str) -> list[Path]:
        """Has the command line make pictures; the files."""
        into = self.out / folder
        command = [sys.executable, "-m", "unclip.cli", *words, "--server", self.gateway, "--out", str(into), "--force"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        return sorted(into.glob("*.png"))

    def within(self, name: str, *command: str) -> str:
        """What a command says in a pod of a service."""
        words = ["--kubeconfig", str(self.folder / "kubeconfig"), "--namespace", self.release.namespace]
        done = subprocess.run(
            [str(binaries() / "kubectl"), *words, "exec", f"deployment/unclip-{name}", "--", *command],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return (done.stdout + done.stderr).strip()

    def demo(self) -> str:
        """`unclip demo`, all services in one pod that is otherwise as the decoder's; the phase that it ends in."""
        pods = f"/api/v1/namespaces/{self.release.namespace}/pods"
        [found] = [found for found in self.release.deployments() if found["metadata"]["name"] == "unclip-decoder"]
        spec = {**found["spec"]["template"]["spec"], "restartPolicy": "Never"}
        kept = {key: spec["containers"][0][key] for key in ("image", "resources", "securityContext", "volumeMounts")}
        spec["containers"] = [{"name": "demo", **kept, "command": ["unclip", "demo", "--out", "/tmp/demo"]}]
        self.release.api.create(pods, {"metadata": {"name": "demo"}, "spec": spec})
        end = time.monotonic() + READY_S
        while (phase := self.release.api.get(f"{pods}/demo")["status"]["phase"]) in ("Pending", "Running"):
            if time.monotonic() > end:
                break
            time.sleep(1)
        return str(phase)

    def restart(self) -> None:
        """As `kubectl rollout restart` does it."""
        told = {"kubectl.kubernetes.io/restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        for found in self.release.deployments():
            path = f"/apis/apps/v1/namespaces/{self.release.namespace}/deployments/{found['metadata']['name']}"
            self.release.api.merge(path, {"spec": {"template": {"metadata": {"annotations": told}}}})


async def run(api: Api, folder: Path, out: Path, report: Report) -> None:
    """All of it. Raises what a step that cannot be gone on from raised."""
    release = Release(api, chart_for(api, folder), "pictures")
    laptop = Laptop(release, folder, out, report)
    watching = asyncio.create_task(watched(api, out / "pods.log"))
    try:
        await first(laptop)
        await moved(laptop)
    finally:
        watching.cancel()
        (out / "events.json").write_text(json.dumps(api.items("/api/v1/events"), indent=1))
        gather(folder / "pods", out / "pods")
        release.close()


async def first(laptop: Laptop) -> None:
    """Until pictures come, by every way."""
    began = time.monotonic()
    await asyncio.to_thread(laptop.release.install, LAPTOP, WEB, ROOM)
    seen = await laptop.settled()
    laptop.report.row("install", time.monotonic() - began, seen, ok=True)

    began = time.monotonic()
    await asyncio.to_thread(laptop.release.test)
    laptop.report.row("helm test", time.monotonic() - began, "passed", ok=True)

    began = time.monotonic()
    [apple] = made = await asyncio.to_thread(laptop.pictures, "generate", *APPLE)
    made += await asyncio.to_thread(laptop.pictures, "vary", "vary", str(apple), "--seed", "2")
    words = ("text-diff", str(apple), "--after", "a flat emoji of a green apple", "--frames", "2")
    made += await asyncio.to_thread(laptop.pictures, "text-diff", *words)
    laptop.report.row("generate, vary, text-diff", time.monotonic() - began, f"{len(made)} files", len(made) >= 4)

    began = time.monotonic()
    seen = await asyncio.to_thread(front_door, f"http://unclip-web.{laptop.release.namespace}.svc.cluster.local")
    laptop.report.row("Images API and studio", time.monotonic() - began, seen, ok=True)


async def moved(laptop: Laptop) -> None:
    """What a release goes through while people use it."""
    release = laptop.release
    async with laptop.step("rolling restart of all", laptop.settled):
        await asyncio.to_thread(laptop.restart)

    for replicas in (3, 1):
        async with laptop.step(f"decoders to {replicas}", laptop.settled):
            await asyncio.to_thread(release.upgrade, LAPTOP, WEB, ROOM, {"decoder": {"replicas": replicas}})

    weights = {"weights": {"source": "image", "image": imported(laptop.folder)}}
    async with laptop.step("checkpoint as an image volume", laptop.settled):
        await asyncio.to_thread(release.upgrade, LAPTOP, WEB, ROOM, weights)
    found = await asyncio.to_thread(laptop.within, "decoder", "ls", "/weights/unclip.json")
    laptop.report.row("in its decoder", 0, found, found == "/weights/unclip.json")

    async with laptop.step(f"user {USER} of group 0", laptop.settled):
        await asyncio.to_thread(release.upgrade, LAPTOP, WEB, ROOM, weights, SOMEBODY)
    for name in ("decoder", "gateway", "web"):
        found = await asyncio.to_thread(laptop.within, name, "id")
        laptop.report.row(f"in its {name}", 0, found, f"uid={USER} gid=0" in found)
    began = time.monotonic()
    [again] = await asyncio.to_thread(laptop.pictures, "again", *APPLE)
    [apple] = (laptop.out / "generate").glob("*.png")
    same = again.read_bytes() == apple.read_bytes()
    laptop.report.row("generate", time.monotonic() - began, "the same file" if same else "another file", same)
    await asyncio.to_thread(release.test)
    laptop.report.row("helm test", 0, "passed", ok=True)
    began = time.monotonic()
    phase = await asyncio.to_thread(laptop.demo)
    laptop.report.row("unclip demo in one pod", time.monotonic() - began, phase, phase == "Succeeded")


@asynccontextmanager
async def asking(load: Load) -> AsyncIterator[None]:
    """One picture after the other while the body runs, so that there is no more to do than the machine can; at the exit
    every call has ended."""
    stop = asyncio.Event()

    async def ask() -> None:
        for seed in count():
            if stop.is_set():
                return
            await load.one(seed)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        stop.set()
        await task


def front_door(address: str) -> str:
    """A picture by the Images API, and the studio's page."""
    asked = {"model": "dall-e-2", "prompt": "a flat emoji of a red apple", "n": 1, "response_format": "b64_json"}
    with httpx.Client(base_url=address, timeout=120) as http:
        answer = http.post("/v1/images/generations", json=asked).raise_for_status().json()
        picture = base64.b64decode(answer["data"][0]["b64_json"])
        page = http.get("/", follow_redirects=True).raise_for_status()
    assert picture.startswith(b"\x89PNG"), picture[:16]
    assert "<!doctype html" in page.text[:200].lower(), page.text[:200]
    return f"a PNG of {len(picture)} bytes, a page of {len(page.content)}"


def imported(folder: Path) -> dict[str, str]:
    """The image with the checkpoint, by its digest."""
    address = ("--address", str(folder / "containerd.sock"), "--namespace", "k8s.io")
    told = subprocess.run([str(binaries() / "ctr"), *address, "images", "list"], capture_output=True, text=True)
    [line] = [line for line in told.stdout.splitlines() if line.startswith(f"{WEIGHTS}:")]
    digest = next(word for word in line.split() if word.startswith("sha256:"))
    ctr(folder, "images", "tag", "--force", line.split()[0], f"{WEIGHTS}@{digest}")  # as if it had been pulled so
    return {"reference": WEIGHTS, "digest": digest}


async def watched(api: Api, log: Path) -> None:
    """Writes how pods do, once a second."""
    with log.open("w") as out:
        while True:
            found = await asyncio.to_thread(api.items, "/api/v1/pods")
            out.write(f"{time.time():.0f} {' '.join(told(pod) for pod in found)}\n")
            out.flush()
            await asyncio.sleep(1)


def told(pod: Object) -> str:
    """A pod in a word."""
    status = pod["status"]
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in status.get("conditions", []))
    restarts = sum(found["restartCount"] for found in status.get("containerStatuses", []))
    going = ",going" if "deletionTimestamp" in pod["metadata"] else ""
    return f"{pod['metadata']['name']}:{status['phase']}{',ready' if ready else ''}{going},{restarts}"


def gather(pods: Path, into: Path) -> None:
    """The logs of all containers that are still there."""
    for log in pods.glob("*/*/*.log"):
        name = "-".join(log.relative_to(pods).parts[:2])
        into.mkdir(parents=True, exist_ok=True)
        (into / f"{name}-{log.stem}.log").write_bytes(Path(os.path.realpath(log)).read_bytes())
