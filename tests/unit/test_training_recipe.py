"""The whole recipe in seconds: every stage from zero, cut and taken up, exported, judged."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.training_drawings import COLOURS, Eyes, drawing
from training import clip, decoder, loop, presets, student, tokenizer
from training import evaluate as evaluation
from training import judge as judging
from training.all import run
from training.embeddings import Examples
from training.evaluate import evaluate
from training.grow import weights
from training.loop import OUT_OF_TIME
from training.pictures import WHITE, Pair, composite
from training.pipeline import Pipeline, walked
from training.presets import PRESETS, Limits, Stage
from training.questions import questions
from training.split import Split
from training.student import SAMPLING, Student, walk
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import DECODER_FOLDERS, ENCODER_FOLDERS, PRIOR_FOLDERS, UPSAMPLER_FOLDERS
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.options import SAMPLERS
from unclip.wire.embeddings import Embedding
from unclip.wire.tasks import DecodeTask

PRESET = PRESETS["smoke"]


def drawn(concepts: set[str] | None, styles: tuple[str, ...], size: int, cache: Path) -> list[Pair]:
    """The preset's pictures without a package to draw them from."""
    return [drawing(label, style, size) for style in styles for label in COLOURS]


@dataclass(frozen=True)
class Trained:
    """Where a smoke run left checkpoint, judge and state, and how many commands it took."""

    checkpoint: Path
    judge: Path
    state: Path
    commands: int


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All stages from zero; every command is late, so that each does one step and the next goes on."""
    home = tmp_path_factory.mktemp("recipe")
    out = home / "checkpoints" / "emoji"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(presets, "pairs", drawn)
        commands = 1
        while not (out / "unclip.json").exists():
            try:
                run(PRESET, out, Limits(until=time.monotonic()))
            except SystemExit as end:
                assert end.code == OUT_OF_TIME  # noqa: PT017
                commands += 1
    return Trained(out, out.with_name("judge"), home / PRESET.folder, commands)


@pytest.fixture
def at_home(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke run's folder and pictures."""
    monkeypatch.chdir(trained.checkpoint.parent.parent)
    monkeypatch.setattr(presets, "pairs", drawn)


# Training.


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
def test_networks_of_another_clip_are_not_taken_up(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.state, tmp_path / PRESET.folder)
    (tmp_path / PRESET.folder / "clip.pt").unlink()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RuntimeError, match=r"prior\.pt is of another run"):
        run(replace(PRESET, clip=Stage(1, 8, 1e-3)), tmp_path / "next", Limits())


@pytest.mark.usefixtures("at_home")
def test_what_learned_by_another_tokenizer_is_not_taken_up(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.state, tmp_path / PRESET.folder)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(PRESET.folder / "tokenizer")
    tokenizer.train(["other words alone"], PRESET.vocabulary, PRESET.context, PRESET.folder / "tokenizer")

    with pytest.raises(RuntimeError, match=r"clip\.pt is of another run"):
        clip.train(PRESET)


@pytest.mark.usefixtures("at_home")
def test_an_evaluation_asks_for_nothing_that_may_have_been_taught(trained: Trained, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained.checkpoint, tmp_path / "other"))
    data = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps({**data, "held_out": data["held_out"][1:]}))
    with pytest.raises(RuntimeError, match="taught otherwise than preset smoke teaches now"):
        evaluate(folder, trained.judge, tmp_path)
    judge = Path(shutil.copytree(trained.judge, tmp_path / "judge"))
    about = json.loads((judge / "judge.json").read_text())
    (judge / "judge.json").write_text(json.dumps({**about, "split": "another"}))
    with pytest.raises(RuntimeError, match="this judge was taught under another split"):
        evaluate(trained.checkpoint, judge, tmp_path)
    (judge / "judge.json").write_text(json.dumps({name: told for name, told in about.items() if name != "split"}))
    with pytest.raises(RuntimeError, match="this judge was taught under another split"):
        evaluate(trained.checkpoint, judge, tmp_path)
    with pytest.raises(RuntimeError, match="there is no judge"):
        evaluate(trained.checkpoint, tmp_path, tmp_path)


@pytest.mark.usefixtures("at_home")
def test_what_is_held_out_now_and_was_not_from_the_weights_that_a_run_begins_with_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "committed", lambda _: Split(frozenset({"flat/red apple"})))
    for kept in (("clip",), ("clip", "decoder")):
        with pytest.raises(RuntimeError, match="its held_out is not that of preset smoke"):
            run(replace(PRESET, start=trained.checkpoint, kept=kept), tmp_path / "next", Limits())
    assert not list(tmp_path.iterdir())  # nothing was trained before that was found


@pytest.mark.usefixtures("at_home")
def test_weights_of_another_shape_are_refused_before_anything_is_trained(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = replace(PRESET, start=trained.checkpoint)
    for other, name in (
        (replace(start, prior_layers=2), "prior"),
        (replace(start, upsampler_channels=(32, 32, 64)), "super_res_first"),
        (replace(start, decoder_channels=(32, 32, 96)), "text_proj"),
    ):
        with pytest.raises(RuntimeError, match=f"its {name} has another shape|{name} has another shape"):
            run(other, tmp_path / "next", Limits())
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("at_home")
def test_an_out_that_is_not_to_be_replaced_is_refused_before_anything_is_trained(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder" / "decoder").mkdir(parents=True)
    shutil.copytree(trained.judge, tmp_path / "others" / "judge")
    about = json.loads((trained.judge / "judge.json").read_text()) | {"preset": "another"}
    (tmp_path / "others" / "judge" / "judge.json").write_text(json.dumps(about))
    for out, said in (
        ("file", "cannot be written"),
        ("folder", "has decoder and no unclip.json"),
        ("judge", "the judge's folder"),
        ("others/mine", "the judge of preset another"),
    ):
        with pytest.raises(RuntimeError, match=said):
            run(PRESET, tmp_path / out, Limits())
    assert not (tmp_path / PRESET.folder).exists()


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
    assert after.fast("decoder") == SAMPLING


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
    assert data[1] == data[0] | {"kept": sorted(kept)}


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


# Judging.


@pytest.mark.usefixtures("at_home")
def test_a_judge_is_read_as_it_was_saved_and_has_not_seen_what_is_held_out(trained: Trained) -> None:
    judge = judging.load(trained.judge, loop.device())
    taught, held_out = PRESET.pairs()

    lessons = {pair.key for pair in judging.Lessons(PRESET).pairs()}

    assert lessons == {pair.key for pair in taught}
    assert held_out
    about = json.loads((trained.judge / "judge.json").read_text())
    assert (about["preset"], about["pictures"]) == ("smoke", len(taught))
    assert (about["shape"]["width"], about["shape"]["channels"]) == (128, [24, 48, 96, 160])
    state = torch.load(trained.state / "judge.pt", weights_only=True)["mean"]
    assert torch.allclose(judge.state_dict()["image.0.weight"], state["image.0.weight"], atol=1e-3)
    views = np.stack([composite(pair.rgba, WHITE[1]) for pair in taught])
    assert np.linalg.norm(judge.see_all(views), axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(judge.read_all(["a flat emoji of a banana"]), axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("at_home")
def test_an_evaluation_leaves_numbers_sheets_and_a_page(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales, steps = (1.0, 2.0), (1, 2)
    for name, few in (
        ("GUIDANCE", scales),
        ("PRIOR_GUIDANCE", scales),
        ("STEPS", steps),
        ("PRIOR_STEPS", steps),
        ("UPSAMPLER_STEPS", steps),
    ):
        monkeypatch.setattr(f"training.sweeps.{name}", few)
    monkeypatch.setattr("training.evaluate.PictureTeacher", Eyes)
    out = tmp_path / "evaluate"

    metrics = evaluate(trained.checkpoint, trained.judge, out)

    report = json.loads((out / "evaluate.json").read_text())
    assert report["metrics"] == metrics
    assert metrics["pictures"] == len(evaluation.SEEDS) * metrics["captions"] == 4 * metrics["pairs"]
    for name in ("prompt.generated.top5", "prompt.real.top5", "prompt.shuffled.top5"):
        assert name in metrics
    for name in ("frechet.generated.mean", "frechet_efficientnet.generated.mean"):
        assert metrics[name] > 0
    assert all("frechet efficientnet" in row for row in report["sweeps"]["prior"])
    assert [row["condition"] for row in report["sweeps"]["prior"]][-1] == "prior"
    for name in ("samplers", "prior_samplers", "upsampler"):
        assert {row["sampler"] for row in report["sweeps"][name]} == set(SAMPLERS)
    page = (out / "index.html").read_text()
    for picture in (*(f"{name}.png" for name in report["sweeps"]), "samples.png", "held_out.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
        assert picture in page


@pytest.mark.usefixtures("at_home")
def test_what_is_held_out_is_what_is_asked(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def generate(self: Pipeline, captions: list[str], seeds: list[int]) -> object:
        asked.extend(captions)
        return np.zeros((len(captions), 64, 64, 3), np.uint8)

    monkeypatch.setattr(Pipeline, "generate", generate)
    monkeypatch.setattr("training.evaluate.PictureTeacher", Eyes)
    _, held_out = PRESET.pairs()

    evaluate(trained.checkpoint, trained.judge, tmp_path, sweep=False)

    assert set(asked) == {question.caption for question in questions(held_out)}
