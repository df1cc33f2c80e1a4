"""A node without a kubelet. What a kubelet would report, it writes; no container runs."""

from __future__ import annotations

import threading
import time

import httpx

from tests.cluster.control_plane import Api, Object


class Node(threading.Thread):
    """A node with room for all, and what its kubelet would say: pods that were scheduled run and are ready, pods that
    are told to stop are gone."""

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
