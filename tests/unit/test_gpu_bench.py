"""``bench gpu`` runs on a CPU too, so that whoever first has a GPU finds it running; and its checks can fail."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from tests.bench import gpu, gpu_checks
from tests.bench.gpu_ways import Ours
from tests.bench.options import Options
from tests.bench.report import MET, MISSED, Report
from unclip.options import SamplingSettings


def test_it_runs_and_what_can_be_right_on_a_cpu_is(tmp_path: Path) -> None:
    report = gpu.run(Options(True, 1, tmp_path, out=tmp_path / "out"))
    assert {name: report.verdict(name) for name in report.bars if "over_eager" not in name} == dict.fromkeys(
        [
            "float32_from_the_cpu_at_most",
            "graphs_from_none_at_most",
            "bfloat16_from_float32_median",
            "alone_from_in_a_crowd_at_most_255ths",
            "waits_within_steps",
        ],
        MET,
    )
    assert {row["system"] for row in report.rows} == {"diffusers eager", "ours"}
    trace = json.loads(gzip.decompress((tmp_path / "out" / "gpu-trace.json.gz").read_bytes()))
    assert trace["traceEvents"]


def test_a_device_that_draws_something_else_is_found_out(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swift = Ours.result

    def wrong(ours: Ours, stage: str, seed: int, settings: SamplingSettings) -> torch.Tensor:
        off = 0.01 * (len(made) >= 6) * (stage == "decoder")  # right on the CPU, which comes first
        made.append(stage)
        return swift(ours, stage, seed, settings) + off

    made = list[str]()
    monkeypatch.setattr(Ours, "result", wrong)
    found = {each.name: each for each in gpu_checks.checks(tiny_checkpoint, torch.device("cpu"))}
    report = Report("gpu")
    for each in found.values():
        report.figure(each.name, each.value, each.bar)
    assert report.verdict("float32_from_the_cpu_at_most") == MISSED
