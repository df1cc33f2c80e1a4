"""What a run and an evaluation do not begin with: weights, folders and judges that cannot be right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import seal
from tests.unit.training_smoke import PRESET, Trained
from training import clip, presets, tokenizer, upsampler
from training import judge as judging
from training.all import run
from training.evaluate import evaluate
from training.presets import PRESETS, Limits, Stage, preset_of
from training.split import Split


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
    other = tokenizer.train(["other words alone"], PRESET.vocabulary, PRESET.context, tmp_path / "other")
    monkeypatch.setattr(clip, "learn_tokenizer", lambda *_: other)

    with pytest.raises(RuntimeError, match=r"clip\.pt is of another run"):
        clip.train(PRESET)


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
        with pytest.raises(RuntimeError, match=f"{name} has another shape than the preset's"):
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
        ("file/in", "cannot be written"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(RuntimeError, match=said):
            run(PRESET, tmp_path / out, Limits())
        assert sorted(tmp_path.rglob("*")) == before  # nothing was trained, and no empty folder is left
    with pytest.raises(RuntimeError, match="cannot go on from what it would replace"):
        run(replace(PRESET, start=trained.checkpoint), trained.checkpoint / ".." / "emoji", Limits())


def test_the_judge_of_another_preset_of_the_same_pictures_is_replaced(tmp_path: Path) -> None:
    for mine, its, other in (("cpu", "full", "smoke"), ("full", "cpu", "smoke"), ("smoke", "smoke", "full")):
        (tmp_path / "judge.json").write_text(json.dumps({"preset": its}))
        judging.require_replaceable(tmp_path, PRESETS[mine])
        with pytest.raises(RuntimeError, match=f"the judge of preset {its}; that of {other} needs another place"):
            judging.require_replaceable(tmp_path, PRESETS[other])


def altered(start: Path) -> None:
    file = start / "prior" / "config.json"
    file.write_text(file.read_text() + " ")


def without(name: str) -> Callable[[Path], None]:
    return lambda start: shutil.rmtree(start / name)


def endless(component: str) -> Callable[[Path], None]:
    """Infinite in one place, and listed so."""

    def change(start: Path) -> None:
        file = start / component / "diffusion_pytorch_model.safetensors"
        weights = load_file(file)
        weights["conv_in.bias"][0] = torch.inf
        save_file(weights, file)
        seal(start)

    return change


def garbled(start: Path) -> None:
    (start / "decoder_student" / "diffusion_pytorch_model.safetensors").write_bytes(b"short")
    seal(start)


def telling(name: str, told: object) -> Callable[[Path], None]:
    """What a JSON file of the checkpoint is replaced with; None of a field takes it away."""

    def change(start: Path) -> None:
        if not isinstance(told, dict):
            (start / name).write_bytes(told if isinstance(told, bytes) else json.dumps(told).encode())
            return
        data = json.loads((start / name).read_text()) | told
        (start / name).write_text(json.dumps({key: value for key, value in data.items() if value is not None}))

    return change


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (altered, r"prior/config\.json is altered"),
        (without("tokenizer"), "tokenizer is missing"),
        (without("prior"), "prior is missing"),
        (without("decoder"), "decoder is missing"),
        (without("decoder_student"), "decoder_student is missing"),
        (lambda start: (start / "unclip.json").unlink(), r"without unclip\.json nothing says whether it is whole"),
        (endless("super_res_first"), r"its super_res_first has weights that are not finite: conv_in\.bias"),
        (endless("decoder_student"), r"its decoder_student has weights that are not finite: conv_in\.bias"),
        (garbled, r"decoder_student/diffusion_pytorch_model\.safetensors does not load"),
        (telling("unclip.json", {"vocabulary": None}), r"its unclip\.json has no vocabulary"),
        (telling("unclip.json", {"vocabulary": {"concepts": 7}}), "vocabulary"),
        (telling("data.json", {"packages": None}), "packages must be objects with a license; got None"),
        (telling("data.json", {"packages": [{}]}), "packages must be objects with a license"),
        (telling("data.json", {"preset": None}), "preset must be a name; got None"),
        (telling("data.json", {"start": []}), r"it must be an object; got \[\]"),
        (telling("data.json", []), r"no data\.json says what its weights were taught: it must be an object"),
        (telling("data.json", b"null"), "it must be an object; got None"),
        (telling("data.json", b"\xff"), r"no data\.json says what its weights were taught"),
        (telling("data.json", b""), r"no data\.json says what its weights were taught"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_refused_before_anything_is_trained(
    harm: Callable[[Path], None], said: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Path(shutil.copytree(trained.checkpoint, tmp_path / "start"))
    harm(start)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=said):
        run(replace(PRESET, start=start, kept=("clip", "decoder")), tmp_path / "next" / "emoji", Limits())
    assert [path.name for path in tmp_path.iterdir()] == ["start"]


@pytest.mark.usefixtures("at_home")
def test_a_stage_alone_does_not_begin_with_a_damaged_checkpoint(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Path(shutil.copytree(trained.checkpoint, tmp_path / "start"))
    altered(start)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"prior/config\.json is altered"):
        upsampler.train(replace(PRESET, start=start))


@pytest.mark.usefixtures("at_home")
def test_weights_that_were_shown_other_pictures_of_the_same_names_are_not_evaluated(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [replace(pair, rgba=255 - pair.rgba) for pair in (pair for each in PRESET.pairs() for pair in each)]
    assert preset_of(trained.checkpoint) == PRESET
    monkeypatch.setattr(presets, "pairs", lambda *_: others)
    with pytest.raises(RuntimeError, match="taught otherwise than preset smoke teaches now"):
        preset_of(trained.checkpoint)


@pytest.mark.parametrize("told", [b"{}", b"[]", b"null", b'{"preset": 7}', b"\xff", b""])
def test_what_tells_of_no_judge_is_named(told: bytes, tmp_path: Path) -> None:
    (tmp_path / "judge.json").write_bytes(told)
    with pytest.raises(RuntimeError, match="there is no judge"):
        judging.require_replaceable(tmp_path, PRESET)
    with pytest.raises(RuntimeError, match="there is no judge"):
        judging.load(tmp_path, torch.device("cpu"), PRESET)


@pytest.mark.usefixtures("at_home")
def test_a_damaged_judge_is_named(trained: Trained, tmp_path: Path) -> None:
    for name, harm in (
        ("judge.json", {"shape": {"depth": 3}}),
        ("judge.json", {"shape": []}),
        ("judge.safetensors", b"short"),
        ("tokenizer/tokenizer.json", b"\xff"),
    ):
        judge = Path(shutil.copytree(trained.judge, tmp_path / "judge"))
        telling(name, harm)(judge)
        with pytest.raises(RuntimeError, match="the judge is damaged"):
            judging.load(judge, torch.device("cpu"), PRESET)
        shutil.rmtree(judge)


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
