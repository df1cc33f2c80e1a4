"""What can be said of Triton without one: addresses, errors, the repository that is written, and who waits for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder_svc import app as decoder_app
from decoder_svc import networks as decoder_networks
from encoder_svc import app as encoder_app
from encoder_svc import networks as encoder_networks
from prior_svc import app as prior_app
from prior_svc import networks as prior_networks
from tests.unit.engine_bench import WAIT
from tests.unit.triton_configs import KARLOS, assert_serves, config_of, options
from unclip import model_app
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.cli import main
from unclip.cli.arguments import parser
from unclip.cli.serve import of_services
from unclip.engine.current_batch import abandoned, deadline
from unclip.engine.engine import Engine
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.errors import ConfigurationError, DeadlineExceeded, OutOfDeviceMemory, Overloaded, Unavailable
from unclip.networks.interface import COMPONENTS, Network, NetworkName, Port, Signature, Tensors, running_on
from unclip.networks.placement import Placement
from unclip.serving.settings import ModelSettings, parse
from unclip.triton.address import ModelAddress, cpu_threads, parse_networks
from unclip.triton.export import Options, export, write_model
from unclip.triton.failures import error_of
from unclip.triton.remote import to_array

CPU = torch.device("cpu")
MODULES = {"text_encoder": encoder_networks, "image_encoder": encoder_networks, "prior": prior_networks}


def test_networks_are_found_by_their_addresses() -> None:
    found = parse_networks("decoder=triton://gpu-1:8001/d,upsampler=triton://10.0.0.2:8001/up.v2", KARLOS)
    assert found == {"decoder": ModelAddress("gpu-1:8001", "d"), "upsampler": ModelAddress("10.0.0.2:8001", "up.v2")}
    assert parse_networks("", KARLOS) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prior", "must be name=triton://host:port/model; got 'prior'"),
        ("prior=http://a:1/b", "must be name=triton"),
        ("prior=triton://a/b", "must be name=triton"),
        ("prior=triton://a:1", "must be name=triton"),
        ("decoder=triton://a:1/b", "this service runs prior; got 'decoder'"),
        ("prior=triton://a:1/b,prior=triton://a:1/c", "prior is named twice"),
    ],
)
def test_an_address_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_networks(text, ["prior"])


def test_a_repeated_flag_and_an_environment_variable_say_the_same() -> None:
    one, other = "decoder=triton://a:1/b", "upsampler=triton://a:1/c"
    flags = parse(ModelSettings, ["--network", one, "--network", other], "x", {})
    variable = parse(ModelSettings, [], "x", {"UNCLIP_NETWORK": f"{one},{other}"})
    assert flags.network == variable.network == f"{one},{other}"


def test_the_command_line_refuses_a_network_that_no_service_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--network", "vae=triton://a:1/b"]) == 2
    assert "upsampler_last, as name=triton://host:port/model; got 'vae=triton://a:1/b'" in capsys.readouterr().err


def test_each_service_of_a_stack_is_told_of_its_own_networks() -> None:
    decoder, prior = "decoder=triton://a:1/b", "prior=triton://a:1/c"
    words = ["serve", "--network", decoder, "--network", prior, "--precision", "bfloat16", "--image-encoder", "x/y"]
    precision = ["--precision", "bfloat16"]
    assert of_services(parser().parse_args(words)) == {
        "encoder": ["--image-encoder", "x/y", *precision],
        "prior": ["--network", prior, *precision],
        "decoder": ["--network", decoder, *precision],
    }


def test_where_networks_run_is_told_without_addresses() -> None:
    elsewhere: Network = lambda inputs: inputs["x"]  # noqa: E731
    names: list[NetworkName] = ["upsampler", "upsampler_last"]
    assert running_on(CPU, {}, names) == "cpu"
    assert running_on(CPU, {"upsampler": elsewhere}, names) == "triton, cpu"
    assert running_on(CPU, dict.fromkeys(names, elsewhere), names) == "triton"


@pytest.mark.parametrize(
    ("chosen", "elsewhere", "needed", "threads"),
    [
        (0, (), ("prior",), 0),
        (0, ("prior",), ("prior",), 1),
        (4, ("prior",), ("prior",), 4),
        (0, ("decoder",), ("decoder", "upsampler"), 0),
        (0, ("decoder", "upsampler"), ("decoder", "upsampler"), 1),
    ],
)
def test_a_service_whose_networks_all_run_elsewhere_has_one_thread(
    chosen: int, elsewhere: tuple[NetworkName, ...], needed: tuple[NetworkName, ...], threads: int
) -> None:
    assert cpu_threads(chosen, elsewhere, needed) == threads


@pytest.mark.parametrize(
    ("app", "networks", "threads"),
    [
        (encoder_app, "text_encoder image_encoder", 1),
        (encoder_app, "image_encoder", 0),
        (prior_app, "prior", 1),
        (prior_app, "", 0),
        (decoder_app, "decoder upsampler upsampler_last", 1),
        (decoder_app, "decoder upsampler", 0),
    ],
)
async def test_a_service_opens_its_device_with_as_many_threads(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, app: Any, networks: str, threads: int
) -> None:
    class Opened(Exception):
        pass

    def open_device(name: str, threads: int) -> None:
        raise Opened(threads)

    monkeypatch.setattr(model_app, "open_device", open_device)
    addresses = ",".join(f"{name}=triton://127.0.0.1:1/{name}" for name in networks.split())
    with pytest.raises(Opened) as opened:
        await app.build(app.Settings(checkpoint=str(tiny_checkpoint), network=addresses))
    assert opened.value.args == (threads,)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("StatusCode.UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", Overloaded),
        ("StatusCode.UNAVAILABLE", "Request timeout expired", Overloaded),
        ("StatusCode.RESOURCE_EXHAUSTED", "", Overloaded),
        ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", Unavailable),
        ("StatusCode.UNAVAILABLE", "Request for unknown model: 'prior' is not ready", Unavailable),
        ("StatusCode.CANCELLED", "", Unavailable),
        ("StatusCode.NOT_FOUND", "Request for unknown model", Unavailable),
        ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
        ("StatusCode.INTERNAL", "OUT_OF_DEVICE_MEMORY", OutOfDeviceMemory),
        ("StatusCode.INTERNAL", "Traceback", RuntimeError),
        ("StatusCode.INVALID_ARGUMENT", "unexpected shape", RuntimeError),
    ],
)
def test_what_triton_says_becomes_an_error_of_ours(status: str, message: str, kind: type[Exception]) -> None:
    error = error_of(status, message, "prior")
    assert type(error) is kind
    if kind is not RuntimeError:
        assert "connect to all addresses" not in str(error)


@pytest.mark.parametrize(("most", "rows"), [(1, 1), (2, 2), (16, 2)])
def test_a_warm_up_has_no_more_rows_than_the_model_takes(
    tiny_checkpoint: Path, tmp_path: Path, most: int, rows: int
) -> None:
    write_model("prior", Checkpoint.open(tiny_checkpoint), tmp_path, Options(max_batch=most))
    assert [warm.batch_size for warm in config_of(tmp_path / "prior").model_warmup] == [rows]


def test_every_network_is_written_with_its_signature_and_its_own_components(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    chosen = options(precision="float16", python_path=("/a", "/b"))
    assert [folder.name for folder in export(str(tiny_checkpoint), tmp_path, chosen)] == list(KARLOS)
    for name in KARLOS:
        signature = MODULES.get(name, decoder_networks).signature(name, checkpoint)
        weights = checkpoint.version([COMPONENTS[name]])
        told = assert_serves(config_of(tmp_path / name), name, "python", signature, weights)
        assert told == {"network": name, "threads": "3", "precision": "float16", "python_path": '["/a", "/b"]'}
        assert compile((tmp_path / name / "1" / "model.py").read_text(), "model.py", "exec")
        kept = {path.name for path in (tmp_path / name / "1" / "checkpoint").iterdir()}
        assert kept == {COMPONENTS[name], "model_index.json"} | ({"text_proj"} if name == "decoder" else set())


def test_a_student_is_written_with_what_tells_its_signature(taught_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint, name = Checkpoint.open(taught_checkpoint), "decoder_student"
    made = [folder.name for folder in export(str(taught_checkpoint), tmp_path, options())]
    assert made == [*KARLOS[:4], name, *KARLOS[4:]]
    signature = decoder_networks.signature("decoder_student", checkpoint)
    assert [port.name for port in signature.inputs] == ["sample", "timestep", "guidance", "context", "addition", "mask"]
    assert_serves(config_of(tmp_path / name), "decoder_student", "python", signature, checkpoint.version([name]))
    kept = tmp_path / name / "1" / "checkpoint"
    assert {path.name for path in kept.iterdir()} == {name, "decoder", "text_proj", "model_index.json"}
    assert [path.name for path in (kept / "decoder").iterdir()] == ["config.json"]
    alone = Checkpoint.open(kept)
    assert decoder_networks.signature("decoder_student", alone) == signature
    decoder_networks.load("decoder_student", alone, Placement(CPU))


def test_a_student_may_run_elsewhere_where_there_is_one() -> None:
    assert list(parse_networks("decoder_student=triton://a:1/b", decoder_app.NETWORKS["decode"])) == ["decoder_student"]
    words = ["serve", "--network", "decoder_student=triton://a:1/b"]
    assert of_services(parser().parse_args(words))["decoder"] == words[1:]


def test_a_checkpoint_without_a_network_exports_the_others(tmp_path: Path, tiny_checkpoint: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    shutil.rmtree(copy / "super_res_last")
    assert "upsampler_last" not in {folder.name for folder in export(str(copy), tmp_path / "models")}


@pytest.mark.parametrize("name", KARLOS)
def test_a_network_keeps_its_signature(tiny_checkpoint: Path, name: NetworkName) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    module = MODULES.get(name, decoder_networks)
    signature: Signature = module.signature(name, checkpoint)
    dtypes = {"FP32": torch.float32, "INT64": torch.int64, "BOOL": torch.bool}
    inputs = {
        port.name: torch.zeros((2, *(port.trial if n < 0 else n for n in port.shape)), dtype=dtypes[port.format])
        for port in signature.inputs
    }
    with torch.inference_mode():
        out = module.load(name, checkpoint, Placement(CPU))(inputs)
    assert out.shape == (2, *signature.output.shape)


def test_a_number_for_each_row_is_sent_as_an_axis_of_one() -> None:
    assert to_array(torch.tensor([3, 4]), Port("timestep", "INT64")).tolist() == [[3], [4]]
    assert to_array(torch.ones(2, 3, dtype=torch.bfloat16), Port("x", "FP32", (3,))).dtype == "float32"


class Elsewhere:
    """A network that runs elsewhere and fails as told; it keeps what the engine's thread was busy with."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls = error, 0
        self.seen: list[tuple[bool, float]] = []

    def __call__(self, inputs: Tensors) -> torch.Tensor:
        self.calls += 1
        self.seen.append((abandoned(), deadline()))
        if self.error:
            raise self.error
        return inputs["x"]


def run(network: Elsewhere, deadlines: Sequence[float]) -> list[ForwardJob]:
    engine = Engine({"x": ForwardProgram(network, torch.device("cpu"))}, max_batch=8)
    try:
        jobs = [ForwardJob(("x",), {"x": torch.zeros(1)}, deadline=at) for at in deadlines]
        with engine.reserve(len(jobs)) as room:

            def together() -> None:
                for job in jobs:
                    room.submit(job)

            engine.call(together).result(WAIT)
            for job in jobs:
                job.future.exception(WAIT)
        return jobs
    finally:
        engine.close()


@pytest.mark.parametrize("error", [Unavailable("x", "away"), Overloaded("full", 1.0)])
def test_a_network_that_is_away_or_busy_is_not_asked_again_for_every_row(error: Exception) -> None:
    network = Elsewhere(error)
    jobs = run(network, [float("inf")] * 4)
    assert [job.future.exception() for job in jobs] == [error] * 4
    assert network.calls == 1


def test_a_tick_is_of_use_until_the_last_of_its_deadlines() -> None:
    network, now = Elsewhere(), time.monotonic()
    run(network, [now + 50, now + 90])
    assert network.seen == [(False, now + 90)]
    assert (abandoned(), deadline()) == (False, float("inf"))


def test_the_half_inside_the_server_imports_no_torch_before_it_has_said_how_long_threads_spin() -> None:
    check = "import sys, unclip.triton.backend; assert not {'torch', 'grpc'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
