"""All services of the stack as processes on this machine, for demonstrations, development and tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.checkpoints.hub import HubId
from unclip.client.calling import Metadata, bearer
from unclip.errors import ConfigurationError, Unavailable
from unclip.extras import require
from unclip.local import reaper
from unclip.local.processes import Prepared, ServiceProcess, Starter, command, sharing, start
from unclip.local.starter import Launch
from unclip.serving.channels import open_sync_channel
from unclip.serving.tls import Tls

MODEL_SERVICES: Mapping[str, str] = {"encoder": "encoder_svc", "prior": "prior_svc", "decoder": "decoder_svc"}
GATEWAY, WEB = "gateway", "unclip.web"
FOR_GATEWAY: Sequence[str] = ("unclip.serving.quiet", "gateway.app")  # the first before gRPC, which it quiets
POLL_S = 0.05
# What the model services import that has no gRPC in it: nearly all of their time.
SHARED: Sequence[str] = (
    "encoder_svc.encoder",
    "prior_svc.prior",
    "decoder_svc.decoder",
    "decoder_svc.upsampler",
    "unclip.engine.engine",
)


def find_checkpoint() -> Path:
    """The embedded checkpoint: $UNCLIP_CHECKPOINT, else ``checkpoints/emoji`` here or beside the package.

    Raises:
        ConfigurationError: there is none.
    """
    if chosen := os.environ.get("UNCLIP_CHECKPOINT"):
        return Path(chosen)
    places = [folder / "checkpoints" / "emoji" for folder in (Path.cwd(), Path(__file__).resolve().parents[2])]
    for place in places:
        if place.is_dir():
            return place
    raise ConfigurationError("no checkpoint found: name one with --checkpoint or UNCLIP_CHECKPOINT")


def located(checkpoint: Path) -> str:
    """A checkpoint as services that run elsewhere understand it: an absolute folder, or the id of a repository.

    Raises:
        ConfigurationError: it is neither.
    """
    if checkpoint.is_dir():
        return str(checkpoint.resolve())
    if checkpoint.exists() or HubId.parse(str(checkpoint)) is None:
        raise ConfigurationError(f"checkpoint {checkpoint} is not a folder, nor owner/name of a repository")
    return str(checkpoint)


class LocalStack:
    """Encoder, prior, decoder with upsampler, and gateway: four processes, each on a port of its own; and where it is
    wanted the one that serves OpenAI's Images API.

    Use it as a context manager. Should this process die before that, one more, ``unclip.local.reaper``, ends them.
    On Linux the model services are forked from one that has imported what they share, ``unclip.local.starter``, unless
    the environment says UNCLIP_SHARE_IMPORTS=0.

    ``address`` is the gateway's ``host:port``, ``web_address`` that of the Images API, "" without, ``pids`` the process
    id of each role, ``log_dir`` the folder with ``<role>.log``.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        threads: int | None = None,
        log_dir: Path | None = None,
        *,
        patience: float = 300.0,
        grace: float = 20.0,
        options: Mapping[str, Sequence[str]] | None = None,
        tls: Tls | None = None,
        api_key: str = "",
        web_port: int | None = None,
    ) -> None:
        """``host``, ``port``: of the gateway, port 0 takes a free one; the others stay on free ports of 127.0.0.1.
        ``checkpoint``: a folder, or ``owner/name`` of a repository on the Hub; that of `find_checkpoint` when None.
        ``threads``: of each model service, its own default when None. ``log_dir``: kept, a temporary folder when
        None. ``patience``: seconds in which all must be ready. ``grace``: seconds a service may take to stop.
        ``options``: more words of the command line of a role, such as
        ``{"gateway": ["--log-format", "json"]}``. ``tls``: how the gateway is spoken to if these have it serve TLS.
        ``api_key``: shown to it if they have it want one. ``web_port``: of the Images API on ``host``, 0 for a free
        one; None for no such process.

        Raises:
            ConfigurationError: the services or what they need is not installed, or no checkpoint is found.
        """
        require("a stack on this machine", "services", "model", *(["web"] if web_port is not None else []))
        self._checkpoint = checkpoint or find_checkpoint()
        self._host = host
        self._port, self._web_port = port, web_port
        self._threads = threads
        self._patience = patience
        self._grace = grace
        self._options, self._tls, self._metadata = options or {}, tls, bearer(api_key)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._services: list[ServiceProcess] = []
        self._reaper: subprocess.Popen[bytes] | None = None
        self._starters: dict[str, Starter | Prepared] = {}  # by roles
        self._chosen_log_dir = log_dir
        self.log_dir = log_dir or Path(tempfile.gettempdir())
        self.address = self.web_address = ""

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each running role."""
        return {service.role: service.pid for service in self._services}

    def start(self) -> None:
        """Starts all services and waits until the gateway knows all stages.

        Raises:
            Unavailable: a service ended, or was not ready in time; the message ends with its last log lines.
            ConfigurationError: the checkpoint is neither a folder nor called like a repository, or a service cannot
                start as configured.
        """
        checkpoint = located(self._checkpoint)
        deadline = time.monotonic() + self._patience
        self._folder = tempfile.TemporaryDirectory(prefix="unclip-")
        self.log_dir = self._chosen_log_dir or Path(self._folder.name)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        try:
            if sharing():
                models = Starter(SHARED, self.log_dir / "starter.log")
                self._starters = {
                    **dict.fromkeys(MODEL_SERVICES, models),
                    "gateway": Prepared(FOR_GATEWAY, self.log_dir / "gateway.log"),
                }
            self._reaper = subprocess.Popen(
                command("unclip.local.reaper"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )
            options = ["--checkpoint", checkpoint]
            if self._threads is not None:
                options += ["--threads", str(self._threads)]
            for role, module in MODEL_SERVICES.items():
                self._launch(role, module, "127.0.0.1", 0, options)
            stages = {service.role: self._wait(service, service.address, deadline) for service in self._services}
            stages["upsampler"] = stages["decoder"]
            targets = [word for role, address in stages.items() for word in (f"--{role}", address)]
            gateway = self._launch("gateway", GATEWAY, self._host, self._port, targets)
            self.address = self._wait(gateway, gateway.address, deadline)
            with open_sync_channel(self.address, tls=self._tls) as channel:
                stub = gateway_pb2_grpc.GatewayServiceStub(channel)
                self._wait(gateway, lambda: ready(stub, self._metadata), deadline)
            if self._web_port is not None:
                web = self._launch("web", WEB, self._host, self._web_port, self._to_gateway())
                self.web_address = self._wait(web, web.address, deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops all services, the gateway first: SIGTERM, and SIGKILL to what has not ended in time."""
        services, self._services = self._services[::-1], []
        for service in services:
            service.process.terminate()
        deadline = time.monotonic() + self._grace
        for service in services:
            try:
                service.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
        for starter in set(self._starters.values()):
            starter.close()
        self._starters = {}
        if self._reaper is not None and self._reaper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(b"done\n")
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def check(self) -> None:
        """Raises, as ``start`` does, when any service has ended by itself."""
        for service in self._services:
            service.check()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _to_gateway(self) -> list[str]:
        """How the web process reaches the gateway."""
        tls = self._tls or Tls()
        files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key, "name": tls.server_name}
        secured = [word for name, value in files.items() if value for word in (f"--gateway-tls-{name}", value)]
        return ["--gateway", self.address, *secured]

    def _launch(self, role: str, module: str, host: str, port: int, options: Sequence[str]) -> ServiceProcess:
        """Starts one service and has the reaper know it."""
        assert self._folder is not None
        address_file = Path(self._folder.name) / f"{role}.address"
        log = self.log_dir / f"{role}.log"
        words = ["--host", host, "--port", str(port), "--address-file", str(address_file), *options]
        launch = Launch(module, [*words, *self._options.get(role, ())], str(log))
        starter = self._starters.get(role)
        process = starter.launch(launch) if starter else start(launch)
        service = ServiceProcess(role, process, address_file, log)
        self._services.append(service)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(reaper.process_line(process.pid).encode())
        return service

    def _wait(self, service: ServiceProcess, answer: Callable[[], str | None], deadline: float) -> str:
        """What ``answer`` gives once it gives anything. Raises as ``start`` does."""
        while True:
            self.check()
            if found := answer():
                return found
            if time.monotonic() > deadline:
                raise Unavailable(
                    service.role, f"the {service.role} was not ready in {self._patience:g} s{service.last_words()}"
                )
            time.sleep(POLL_S)


def ready(stub: gateway_pb2_grpc.GatewayServiceStub, metadata: Metadata = ()) -> str | None:
    """Something true once the gateway has heard of every stage, or wants a key first; None before."""
    try:
        stub.GetModelInfo(gateway_pb2.GetModelInfoRequest(), timeout=5, wait_for_ready=True, metadata=tuple(metadata))
    except grpc.RpcError as error:
        # It may want a key (UNCLIP_API_KEYS has reached it) that has not reached us: then it lives, which must do.
        keyed = isinstance(error, grpc.Call) and error.code() == grpc.StatusCode.UNAUTHENTICATED
        return "ready" if keyed else None
    return "ready"
