"""Judging what the whole recipe made: numbers, sheets, a page, and nothing asked that was taught."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.unit.training_drawings import Eyes, drawing
from tests.unit.training_smoke import PRESET, Trained, drawn
from training import evaluate as evaluation
from training import judge as judging
from training import loop, manipulations, presets
from training.evaluate import evaluate
from training.pictures import WHITE, composite
from training.pipeline import Pipeline
from training.questions import questions
from training.split import Split
from unclip.options import SAMPLERS


@pytest.mark.usefixtures("at_home")
def test_a_judge_is_read_as_it_was_saved_and_has_not_seen_what_is_held_out(trained: Trained) -> None:
    judge = judging.load(trained.judge, loop.device(), PRESET)
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions that an evaluation asks for; nothing is drawn, and no teacher sees it."""
    found: list[str] = []

    def generate(self: Pipeline, captions: list[str], seeds: list[int]) -> object:
        found.extend(captions)
        return np.zeros((len(captions), 64, 64, 3), np.uint8)

    monkeypatch.setattr(Pipeline, "generate", generate)
    monkeypatch.setattr("training.evaluate.PictureTeacher", Eyes)
    return found


@pytest.mark.usefixtures("at_home")
def test_what_is_held_out_is_what_is_asked(trained: Trained, tmp_path: Path, asked: list[str]) -> None:
    _, held_out = PRESET.pairs()

    evaluate(trained.checkpoint, trained.judge, tmp_path, sweep=False)

    assert set(asked) == {question.caption for question in questions(held_out)}


@pytest.mark.usefixtures("at_home")
def test_what_is_held_out_and_was_taught_all_the_same_is_not_asked(
    trained: Trained, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = {"flat/banana": drawing("red apple", "noto", PRESET.size).rgba}
    every = [
        replace(pair, rgba=copied.get(pair.key, pair.rgba))
        for pair in drawn(None, PRESET.styles, PRESET.size, tmp_path)
    ]
    monkeypatch.setattr(presets, "pairs", lambda *_: every)
    monkeypatch.setattr(presets, "committed", lambda _: Split(frozenset({"flat/banana", "noto/red heart"})))
    checkpoint = Path(shutil.copytree(trained.checkpoint, tmp_path / "emoji"))
    told = json.loads((checkpoint / "data.json").read_text()) | PRESET.teaching()
    (checkpoint / "data.json").write_text(json.dumps(told))
    judge = Path(shutil.copytree(trained.judge, tmp_path / "judge"))
    about = json.loads((judge / "judge.json").read_text()) | {"split": judging.split_of(PRESET)}
    (judge / "judge.json").write_text(json.dumps(about))

    metrics = evaluate(checkpoint, judge, tmp_path / "out", sweep=False)

    assert set(asked) == {q.caption for q in questions([drawing("red heart", "noto", PRESET.size)])}
    assert (metrics["pairs"], metrics["twins"]) == (1, 1)


@pytest.mark.parametrize(("measuring", "measures"), [(evaluation, "evaluate"), (manipulations, "measure")])
@pytest.mark.parametrize(("said", "meant"), [([], "here/judge"), (["--judge", "another"], "another")])
def test_the_judge_beside_a_checkpoint_is_taken_where_no_other_is_named(
    measuring: ModuleType,
    measures: str,
    said: list[str],
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found: list[Path] = []

    def measure(checkpoint: Path, judge: Path, *rest: object) -> dict[str, float]:
        found.append(judge)
        return {}

    monkeypatch.setattr(measuring, measures, measure)
    monkeypatch.setattr("sys.argv", ["measure", "--checkpoint", "here/emoji", *said])
    measuring.main()
    assert [judge.resolve() for judge in found] == [tmp_path / meant]
