"""The documented PCA probe runs against a gateway, and its mathematics is that of principal components."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.api.decoder.v1 import decoder_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.client import Embedding
from unclip.testing import BlockingStubStack

pytest_plugins = ["unclip.testing.fixtures"]

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "pca_probe.py"


@pytest.fixture(scope="module")
def probe() -> Any:
    spec = importlib.util.spec_from_file_location("pca_probe", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_axes_are_orthonormal_ordered_and_explain_everything_together(probe: Any) -> None:
    points = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32) * [9, 5, 1, 0.5, 0.1]
    mean, axes, share = probe.principal_axes(points.astype(np.float32))
    assert np.allclose(axes @ axes.T, np.eye(5), atol=1e-9)
    spread = np.var((points - mean) @ axes.T, axis=0)
    assert list(spread) == sorted(spread, reverse=True)
    assert share[-1] == pytest.approx(1)
    assert share[0] == pytest.approx(spread[0] / spread.sum(), rel=1e-5)


def test_more_components_come_nearer_and_all_of_them_arrive(probe: Any) -> None:
    points = np.random.default_rng(1).standard_normal((6, 20)).astype(np.float32)
    mean, axes, _ = probe.principal_axes(points)
    assert len(axes) == 5
    whole = Embedding(points[2], "clip")
    gaps = [float(np.linalg.norm(probe.from_first(whole, mean, axes, k).values - whole.values)) for k in range(6)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-5 < gaps[-2]


def test_the_script_writes_a_sheet_of_pictures_painted_without_the_prior(
    probe: Any, unclip_stack: BlockingStubStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        Image.effect_noise((30, 20 + number), 50 + number).save(folder / f"{number:02}.png")
    (folder / "notes.txt").write_text("not a picture")
    out = tmp_path / "out" / "sheet.png"
    asked = ["--server", unclip_stack.address, "--rows", "2", "--components", "1", "4", "--out", str(out)]
    probe.main([str(folder), *asked])
    assert Image.open(out).width > 4 * unclip_stack.decoder.model.final_size
    assert "2 pictures, 19 components of 20 embeddings" in capsys.readouterr().out
    assert unclip_stack.prior.requests(prior_pb2.SampleRequest) == []
    assert [len(r.images) for r in unclip_stack.encoder.requests(encoder_pb2.EncodeImageRequest)] == [16, 4]
    decoded = unclip_stack.decoder.requests(decoder_pb2.DecodeRequest)
    assert len(decoded) == 2 * 3
    assert {request.seed for request in decoded} == {0}
    assert len({request.embedding.values.data for request in decoded}) == 6


def test_too_few_pictures_are_refused(probe: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="at least 3"):
        probe.main([str(tmp_path)])
