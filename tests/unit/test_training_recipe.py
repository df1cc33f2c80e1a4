"""The whole recipe in seconds: every stage from zero, cut and taken up, exported, judged."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import seal
from tests.unit.training_smoke import PRESET, Trained, drawn
from training import clip, decoder, presets, student
from training.all import run
from training.embeddings import Examples
from training.export import FAST, data_of, packages_of
from training.grow import weights
from training.loop import OUT_OF_TIME
from training.pipeline import Pipeline, walked
from training.presets import Limits, Stage
from training.split import Split
from training.state import alone
from training.student import SAMPLING, Student, former_of, walk
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import DECODER_FOLDERS, ENCODER_FOLDERS, PRIOR_FOLDERS, UPSAMPLER_FOLDERS
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding
from unclip.wire.tasks import DecodeTask


def test_commands_that_ran_out_of_time_are_taken_up_and_every_stage_takes_all_its_steps(trained: Trained) -> None:
    assert trained.commands > 3 * 6
    for stage in ("clip", "prior", "decoder", "upsampler", "judge", "student"):
        state = torch.load(trained.state / f"{stage}.pt", weights_only=True)
        assert (state["step"], state["done"]) == (3, True)
        assert all(np.isfinite(state["curve"]))
        assert (trained.state / f"{stage}.png").exists()


def test_decoder_and_upsampler_leave_a_sheet_of_what_they_make(trained: Trained) -> None:
    for stage in ("small", "decoder", "upsampler"):
        with Image.open(trained.state / f"{stage}-000003.png") as sheet:
            assert np.asarray(sheet.convert("RGB")).std() > 1


def test_the_services_accept_what_was_trained(trained: Trained) -> None:
    Checkpoint.open(trained.checkpoint).verify([*ENCODER_FOLDERS, *PRIOR_FOLDERS, *DECODER_FOLDERS, *UPSAMPLER_FOLDERS])


@pytest.mark.usefixtures("at_home")
def test_a_run_that_was_cut_after_every_step_makes_what_an_uncut_one_does(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    run(PRESET, tmp_path / "uncut" / "emoji", Limits())

    cut, uncut = Checkpoint.open(trained.checkpoint), Checkpoint.open(tmp_path / "uncut" / "emoji")
    assert cut.manifest == uncut.manifest
    judges = [(folder / "judge.safetensors").read_bytes() for folder in (trained.judge, tmp_path / "uncut" / "judge")]
    assert judges[0] == judges[1]


@pytest.mark.usefixtures("at_home")
def test_a_students_time_is_not_the_decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["training", "--preset", "smoke", "--minutes", "0.00001"])
    student.main()
    steps = {
        name: torch.load(PRESET.folder / f"{name}.pt", weights_only=True)["step"] for name in ("decoder", "student")
    }
    assert steps == {"decoder": 3, "student": 1}


@pytest.mark.usefixtures("at_home")
def test_a_run_that_starts_from_a_checkpoint_keeps_its_embedding_space(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clip, "fit", None)  # CLIP is not trained
    start = replace(PRESET, start=trained.checkpoint, prior=Stage(1, 8, 1e-3), decoder=Stage(1, 4, 1e-3))

    run(start, tmp_path / "next" / "emoji", Limits())

    before, after = Checkpoint.open(trained.checkpoint), Checkpoint.open(tmp_path / "next" / "emoji")
    assert after.clip_space == before.clip_space
    assert after.manifest["files"]["decoder/config.json"] == before.manifest["files"]["decoder/config.json"]
    weights = "decoder/diffusion_pytorch_model.safetensors"
    assert after.manifest["files"][weights] != before.manifest["files"][weights]


@pytest.mark.usefixtures("at_home")
def test_a_run_can_teach_the_decoder_alone(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = ("clip", "prior", "upsampler")

    run(replace(PRESET, start=trained.checkpoint, kept=kept, decoder=Stage(1, 4, 1e-3)), tmp_path / "next", Limits())

    before, after = Checkpoint.open(trained.checkpoint), Checkpoint.open(tmp_path / "next")
    changed = {name for name, digest in before.manifest["files"].items() if after.manifest["files"][name] != digest}
    networks = {name.partition("/")[0] for name in changed if name.endswith(".safetensors")}
    assert networks == {"text_proj", "decoder", "decoder_student"}  # another decoder has another student
    data = json.loads((tmp_path / "next" / "data.json").read_text())
    assert data["start"] == json.loads((trained.checkpoint / "data.json").read_text())
    assert data["kept"] == ["clip", "prior", "upsampler"]


@pytest.mark.usefixtures("at_home")
def test_a_run_can_teach_a_student_alone(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = ("clip", "prior", "decoder", "upsampler")

    run(replace(PRESET, start=trained.checkpoint, kept=kept, student=Stage(1, 4, 1e-3)), tmp_path / "next", Limits())

    before, after = Checkpoint.open(trained.checkpoint), Checkpoint.open(tmp_path / "next")
    changed = {name for name, digest in before.manifest["files"].items() if after.manifest["files"][name] != digest}
    assert {name.partition("/")[0] for name in changed if name.endswith(".safetensors")} == {"decoder_student"}
    assert after.fast("decoder") == SamplingSettings(**FAST["decoder"])
    data = [(checkpoint.folder / "data.json").read_text() for checkpoint in (before, after)]
    assert data[1] == data[0]  # as if one run had taught all


def labels_of(keys: list[str]) -> list[str]:
    return [key.partition("/")[2] for key in keys]


@pytest.mark.usefixtures("at_home")
def test_a_decoder_that_is_kept_draws_what_it_was_taught_and_not_what_the_preset_teaches(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hidden = json.loads((trained.checkpoint / "data.json").read_text())["held_out"]
    fewer = [
        pair
        for pair in drawn(None, PRESET.styles, PRESET.size, tmp_path)
        if pair.label in ("banana", *labels_of(hidden))
    ]
    monkeypatch.setattr(presets, "committed", lambda _: Split(frozenset(hidden)))
    monkeypatch.setattr(presets, "pairs", lambda *_: fewer)
    kept = ("clip", "prior", "decoder", "upsampler")

    run(replace(PRESET, start=trained.checkpoint, kept=kept, student=Stage(1, 4, 1e-3)), tmp_path / "next", Limits())

    before, after = (Checkpoint.open(folder) for folder in (trained.checkpoint, tmp_path / "next"))
    assert after.vocabulary == before.vocabulary
    data = [json.loads((checkpoint.folder / "data.json").read_text()) for checkpoint in (before, after)]
    since = data[1].pop("since")
    assert data[1] == data[0] | {"start": data[0], "kept": sorted(kept)}
    assert since["parts"] == ["student"]
    assert since["pictures_sha256"] != data[0]["pictures_sha256"]


@pytest.mark.usefixtures("at_home")
def test_what_a_prior_saw_that_was_taught_beside_a_decoder_that_is_kept_is_told(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((trained.checkpoint / "data.json").read_text())
    others = [replace(pair, rgba=255 - pair.rgba) for pair in drawn(None, PRESET.styles, PRESET.size, trained.state)]
    monkeypatch.setattr(presets, "pairs", lambda *_: others)

    data = data_of(replace(PRESET, start=trained.checkpoint, kept=("clip", "decoder", "upsampler")))

    assert data["since"] == {"parts": ["prior", "student"], **PRESET.teaching()} | data["since"]
    assert data["since"]["pictures_sha256"] != before["pictures_sha256"]
    told = {"start": before, "kept": ["clip", "decoder", "upsampler"], "since": data["since"]}
    assert data == before | told  # the decoder's
    assert len(packages_of(data)) == 3 * len(before["packages"])


@pytest.mark.usefixtures("at_home")
def test_walks_that_were_cut_short_go_on_and_are_those_of_an_uncut_run(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = replace(PRESET, start=trained.checkpoint, kept=("clip", "decoder"))
    encoders, words = clip.train(preset)
    data = Examples(preset, encoders, words)
    teacher = decoder.train(preset, encoders, words, data)
    monkeypatch.setattr("training.student.WALKED", 2)
    monkeypatch.chdir(tmp_path)

    with alone(preset.folder / "walks.pt"), pytest.raises(RuntimeError, match=r"walks\.pt: another run"):
        walk(preset, encoders, words, data, teacher)
    with pytest.raises(SystemExit) as end:
        walk(preset, encoders, words, data, teacher, Limits(until=time.monotonic()))
    cut = torch.load(preset.folder / "walks.pt", weights_only=True)
    resumed = walk(preset, encoders, words, data, teacher)
    monkeypatch.chdir(trained.state)
    uncut = walk(preset, encoders, words, data, teacher)

    assert (end.value.code, len(cut["x"]), len(uncut.x)) == (OUT_OF_TIME, 2, PRESET.walks)
    assert all(torch.equal(getattr(resumed, name), value) for name, value in vars(uncut).items())
    assert torch.equal(resumed.x[:2], cut["x"])
    assert set(resumed.scale.tolist()) - {SAMPLING.guidance_scale}
    assert resumed.x.isfinite().all()


@pytest.mark.usefixtures("at_home")
def test_services_walk_with_a_student_as_its_sheet_shows(trained: Trained) -> None:
    preset = replace(PRESET, start=trained.checkpoint, kept=("clip", "prior", "decoder", "upsampler"))
    encoders, words = clip.train(preset)
    teacher = decoder.train(preset, encoders, words, Examples(preset, encoders, words))
    pupil = Student(preset, teacher)
    pupil.unet.load_state_dict(weights(trained.checkpoint, "decoder_student"))
    model = Pipeline(trained.checkpoint, torch.device("cpu"))
    empty, text = model.read(["", "a red apple"])
    image = torch.from_numpy(text.embedding.values)
    task = DecodeTask(Embedding(image.numpy(), model.checkpoint.clip_space), empty, 7, SAMPLING, text, fast=True)
    with torch.no_grad():
        given = teacher.conditions(
            image[None],
            image[None],
            torch.from_numpy(text.token_states)[None],
            torch.from_numpy(text.token_mask)[None],
        )
        side = preset.base_size
        noise = gaussian([NoiseKey(7, Stream.DECODER, 0, START)], (3, side, side))
        walked_alone = pupil.walked(noise, torch.tensor([SAMPLING.guidance_scale]), *given)

    [served] = walked("student", model.decoder.programs, [model.decoder.decode(task)])

    assert torch.allclose(served, walked_alone[0].clamp(-1, 1), atol=1e-4)


@pytest.mark.usefixtures("at_home")
def test_a_student_begins_with_the_one_before_it_where_that_has_its_shape(trained: Trained) -> None:
    begun = replace(PRESET, start=trained.checkpoint)
    teacher = decoder.begun(begun)
    former = weights(trained.checkpoint, "decoder_student")

    again, alone = Student(begun, teacher).unet.state_dict(), Student(PRESET, teacher).unet.state_dict()
    narrower = Student(replace(begun, student_channels=(32, 32, 32)), teacher).unet.state_dict()
    taught = teacher.unet.state_dict()["conv_out.weight"]

    assert all(torch.equal(again[name], value) for name, value in former.items())
    assert not torch.equal(former["conv_out.weight"], taught)
    assert torch.equal(alone["conv_out.weight"], taught)
    assert torch.equal(narrower["conv_out.weight"], taught)


@pytest.mark.usefixtures("at_home")
def test_a_student_does_not_begin_with_one_that_predicts_something_else(trained: Trained, tmp_path: Path) -> None:
    start = Path(shutil.copytree(trained.checkpoint, tmp_path / "start"))
    assert former_of(replace(PRESET, start=start)) is not None
    scheduler = start / "decoder_student_scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": "epsilon"}))
    seal(start)
    assert former_of(replace(PRESET, start=start)) is None


@pytest.mark.usefixtures("at_home")
def test_a_run_can_teach_the_clip_it_starts_with_and_keep_the_upsampler(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    once = Stage(1, 4, 1e-3)
    start = replace(PRESET, start=trained.checkpoint, kept=("upsampler",), clip=once, prior=once, decoder=once)

    run(start, tmp_path / "next" / "emoji", Limits())

    before, after = Checkpoint.open(trained.checkpoint), Checkpoint.open(tmp_path / "next" / "emoji")
    assert after.clip_space != before.clip_space
    assert not (tmp_path / "next" / "judge").exists()
    changed = {name for name, digest in before.manifest["files"].items() if after.manifest["files"][name] != digest}
    assert {name.partition("/")[0] for name in changed if name.endswith(".safetensors")} == {
        "text_encoder",
        "image_encoder",
        "prior",
        "text_proj",
        "decoder",
        "decoder_student",
    }
    statistics = [weights(folder, "prior")["clip_mean"] for folder in (before.folder, after.folder)]
    assert not torch.equal(*statistics)  # those of the taught CLIP
