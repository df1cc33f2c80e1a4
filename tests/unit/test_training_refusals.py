"""What a run and an evaluation do not begin with: weights, folders and judges that cannot be right."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.training_smoke import PRESET, Trained
from training import clip, presets, tokenizer
from training.all import run
from training.evaluate import evaluate
from training.presets import Limits, Stage
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
