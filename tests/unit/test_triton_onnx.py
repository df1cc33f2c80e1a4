"""ONNX files for Triton: onnxruntime makes of them what our networks make, and what it does not is not left behind."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from encoder_svc.encoder import Encoder
from tests.karlo import make_tiny_karlo
from tests.tiny import CONTEXT, make_tiny_checkpoint, seal
from tests.unit.test_karlo import encoded, read
from tests.unit.test_parity import Ours, ddpm
from tests.unit.triton_configs import KARLOS, assert_serves, config_of, options
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.errors import ConfigurationError
from unclip.networks.interface import COMPONENTS, LOCAL, Network, NetworkName, Port, Remotes, Signature
from unclip.networks.placement import Placement
from unclip.triton import onnx
from unclip.triton.backend import networks_of
from unclip.triton.export import BACKENDS, BackendName, Options, export, main, write_model

CPU = torch.device("cpu")
NAMES: tuple[NetworkName, ...] = (*KARLOS, "decoder_student")
ONNX: tuple[BackendName, ...] = ("onnxruntime", "tensorrt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with a student, whose first upsampler is laid out as Karlo's is, and so unlike the last."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(make_tiny_karlo(folder / "karlo")[0] / "super_res_first", folder / "tiny" / "super_res_first")
    other = make_tiny_checkpoint(folder / "other", quality="standard")
    shutil.copytree(other, folder / "tiny", dirs_exist_ok=True, ignore=shutil.ignore_patterns("super_res_first"))
    seal(folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="module")
def models(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every network of it."""
    repository = tmp_path_factory.mktemp("onnx") / "models"
    export(str(whole), repository, Options("onnxruntime", threads=3))
    return repository


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are not made, which takes seconds, where only what is beside them counts."""

    def write(name: NetworkName, checkpoint: Checkpoint, signature: Signature, file: Path, precision: str) -> float:
        file.touch()
        return 2e-6

    monkeypatch.setattr(onnx, "write", write)


def signature_of(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    found: Signature = networks_of(name).signature(name, checkpoint)
    return found


def by_onnxruntime(name: NetworkName, checkpoint: Checkpoint, repository: Path) -> Network:
    return onnx.opened(repository / name / "1" / "model.onnx", signature_of(name, checkpoint))


def assert_same(one: Network, other: Network, signature: Signature, rows: int, length: int, bar: float = 2e-5) -> None:
    inputs = onnx.trial(signature, rows, length, vocabulary=200, seed=rows)
    with torch.inference_mode():
        wanted, found = one(inputs), other(inputs)
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape == (rows, *signature.output.shape)
    assert (found - wanted).abs().max() <= bar * wanted.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_makes_of_a_file_what_the_network_makes(models: Path, whole: Path, name: NetworkName) -> None:
    checkpoint = Checkpoint.open(whole)
    network = networks_of(name).load(name, checkpoint, Placement(CPU))
    found = by_onnxruntime(name, checkpoint, models)
    for rows, length in ((1, 1), (2, 8), (7, CONTEXT + 4)):
        assert_same(network, found, signature_of(name, checkpoint), rows, length)


def test_a_picture_of_which_onnxruntime_takes_every_step_is_the_local_one(models: Path, whole: Path) -> None:
    checkpoint = Checkpoint.open(whole)

    def drawn(remotes: Remotes) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = Encoder(checkpoint, CPU, remotes=remotes)
        stages = Ours(whole, remotes)
        try:
            text, empty = read(encoder, "a red cat"), read(encoder, "")
            seen = encoded(encoder, encoder.image_jobs([Image.linear_gradient("L").convert("RGB")]))
            embeddings = torch.cat([stages.embeddings(text, empty, [5], ddpm(4, 3.0)), torch.stack(seen)])
            bases = stages.bases(embeddings, text, empty, [5, 6], ddpm(4, 3.0))
            pictures = stages.finals(bases, [5, 6], ddpm(3))
        finally:
            stages.engine.close()
        return pictures, embeddings

    remotes = {name: by_onnxruntime(name, checkpoint, models) for name in KARLOS}
    ours, theirs = drawn(LOCAL), drawn(remotes)
    assert ((ours[0] - theirs[0]).abs() * 127.5).max() <= 1
    assert torch.allclose(ours[1], theirs[1], atol=1e-4)


def test_a_files_axes_are_those_of_the_config_and_it_names_no_folder_of_ours(models: Path) -> None:
    import onnxruntime

    for name in NAMES:
        file, config = models / name / "1" / "model.onnx", config_of(models / name)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for found, told in ((session.get_inputs(), config.input), (session.get_outputs(), config.output)):
            sizes = {part.name: [-1 if isinstance(n, str) else n for n in part.shape] for part in found}
            assert sizes == {part.name: [-1, *part.dims] for part in told}
        assert file.with_name("model.onnx.data").stat().st_size > 50_000
        assert str(Path.cwd()).encode() not in file.read_bytes()
        assert {path.name for path in models.iterdir()} == set(NAMES)


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("backend", ONNX)
def test_the_config_is_the_signatures_with_nothing_of_python(
    tiny_checkpoint: Path, tmp_path: Path, backend: BackendName
) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    chosen = options(backend, gpus=(1,))
    assert [folder.name for folder in export(str(tiny_checkpoint), tmp_path, chosen)] == list(KARLOS)
    for name in KARLOS:
        config = config_of(tmp_path / name)
        assert [(group.kind, list(group.gpus)) for group in config.instance_group] == [(1, [1])]
        weights = checkpoint.version([COMPONENTS[name]])
        told = assert_serves(config, name, backend, signature_of(name, checkpoint), weights)
        threads = {"intra_op_thread_count": "3"} if backend == "onnxruntime" else {}
        assert told == {"difference": "2.0e-06", **threads}


@pytest.mark.usefixtures("unwritten")
def test_the_script_makes_a_plan_for_every_batch_and_caption(tiny_checkpoint: Path, tmp_path: Path) -> None:
    export(str(tiny_checkpoint), tmp_path / "models", Options("tensorrt", max_batch=4, gpus=(0,)))
    tool = tmp_path / "bin" / "trtexec"  # says what it was called with, and where
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    script = tmp_path / "models" / "decoder" / "plan.sh"
    with os.popen(f"PATH={tool.parent}:$PATH {script}") as out:
        assert out.read().splitlines() == [
            str(script.parent / "1"),
            "--onnx=model.onnx",
            "--saveEngine=model.plan",
            "--stronglyTyped",
            "--minShapes=sample:1x3x16x16,timestep:1x1,context:1x1x24,addition:1x64,mask:1x1",
            "--optShapes=sample:4x3x16x16,timestep:4x1,context:4x20x24,addition:4x64,mask:4x20",
            "--maxShapes=sample:4x3x16x16,timestep:4x1,context:4x20x24,addition:4x64,mask:4x20",
        ]


def test_a_file_that_is_not_the_network_is_refused_and_what_was_there_stays(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image_encoder").mkdir()
    (tmp_path / "image_encoder" / "config.pbtxt").write_text("before")
    forward = onnx._TritonCall.forward
    monkeypatch.setattr(onnx._TritonCall, "forward", lambda network, *tensors: forward(network, *tensors) * 1.001)
    with pytest.raises(
        ConfigurationError, match=r"image_encoder as an ONNX file is off by 1\.0e-03 .*, the limit is 1e-04"
    ):
        write_model("image_encoder", Checkpoint.open(tiny_checkpoint), tmp_path, Options("onnxruntime"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "image_encoder" / "config.pbtxt"]


def test_in_float16_weights_are_half_as_large_and_the_limit_is_another(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    folder = write_model("image_encoder", checkpoint, tmp_path, Options("onnxruntime", precision="float16"))
    weights = next((tiny_checkpoint / "image_encoder").glob("*.safetensors")).stat().st_size
    assert 0.4 * weights < (folder / "1" / "model.onnx.data").stat().st_size < 0.6 * weights
    assert 1e-4 < float(config_of(folder).parameters["difference"].string_value) < 1e-2
    network = networks_of("image_encoder").load("image_encoder", checkpoint, Placement(CPU))
    assert_same(
        network,
        by_onnxruntime("image_encoder", checkpoint, tmp_path),
        signature_of("image_encoder", checkpoint),
        2,
        1,
        bar=1e-2,
    )


def test_the_worst_trial_and_what_is_no_number_count() -> None:
    signature = Signature((Port("x", "FP32", (4,)),), Port("y", "FP32", (4,)))
    network: Network = lambda inputs: inputs["x"]  # noqa: E731

    def off(change: Callable[[torch.Tensor], torch.Tensor]) -> float:
        return onnx.difference(network, lambda inputs: change(inputs["x"]), signature)

    assert off(lambda x: x) == 0
    assert off(lambda x: x if len(x) > 1 else x * 2) == off(lambda x: x * 2 if len(x) > 1 else x) == 1
    assert math.isnan(off(lambda x: x if len(x) > 1 else x * math.nan))
    with pytest.raises(ConfigurationError, match=r"gives \[1, 3\], the network \[1, 4\]"):
        off(lambda x: x[:, 1:])


def test_a_file_that_onnxruntime_does_not_open_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx, "save", lambda network, signature, example, file: file.write_bytes(b"no model"))
    assert main([str(tiny_checkpoint), str(tmp_path), "--backend", "onnxruntime"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("unclip: backend: text_encoder does not become an ONNX file: ")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_its_name_is_told(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(ConfigurationError, match=r"pip install 'unclip\[onnx\]'"):
        export(str(tiny_checkpoint), tmp_path, Options("onnxruntime"))
    assert not list(tmp_path.iterdir())


def test_a_backend_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["somewhere", "models", "--backend", "openvino"])
    told = capsys.readouterr().err
    assert all(name in told for name in (*BACKENDS, "openvino"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options("onnxruntime", precision="bfloat16"), "onnxruntime, auto, float32, float16; got 'bfloat16'"),
        (Options("tensorrt"), "the backend tensorrt needs one"),
        (Options("onnxruntime", python_path=("/a",)), "the backend onnxruntime runs no Python"),
    ],
)
def test_options_that_mean_nothing_to_a_backend_are_refused(tmp_path: Path, options: Options, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        export(str(tmp_path), tmp_path, options)
