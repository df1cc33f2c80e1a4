"""What lies on a device is for the engine's thread alone: event loops, and threads beside them, never wait for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contract.conftest import serving
from tests.contract.gateways import gateway_of, noise_picture, png
from tests.contract.services import Bounds
from tests.contract.toys import TOYS
from unclip import Generate, Preview, Sampling

WAYS = ("cpu", "item", "tolist", "__bool__", "__float__", "__int__", "__index__")  # by which a value leaves a device


@pytest.mark.parametrize("name", ["real", "Kandinsky"])
def test_only_the_engines_thread_waits_for_its_device(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, seen = TOYS[name], set[tuple[str, str]]()
    for way in WAYS:
        swift = getattr(torch.Tensor, way)

        def noted(tensor: torch.Tensor, *rest: Any, swift: Any = swift, way: str = way) -> Any:
            seen.add((way, threading.current_thread().name))
            return swift(tensor, *rest)

        monkeypatch.setattr(torch.Tensor, way, noted)
    assert toy.make
    quick: dict[str, Any] = {"decoder": Sampling(steps=4), "prior": Sampling(steps=2), "seed": 1}
    with serving(Bounds(), toy.make(tmp_path), toy) as services, gateway_of(services) as client:
        seen.clear()  # what loads and warms a model may
        assert client.vary(png(noise_picture(40, 40)), report_psnr=True, decoder=quick["decoder"], seed=1)
        events = list(client.stream(Generate("a cat", **quick), preview_interval=1))
    assert sum(isinstance(event, Preview) for event in events) == 3
    assert {thread for _, thread in seen} == {f"{stage}-engine" for stage in ("encoder", "prior", "decoder")}
