"""``unclip serve --web``: all services with networks, and OpenAI's SDK in front."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openai

from tests.tiny import FINAL
from tests.web.stacks import opened

GRACE_S = 60


def test_serve_prints_where_openais_api_is_and_it_makes_pictures(tiny_checkpoint: Path) -> None:
    words = ["serve", "--checkpoint", str(tiny_checkpoint), "--port", "0", "--web", "0", "--threads", "1"]
    command = [sys.executable, "-m", "unclip.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            assert serving.stdout.readline().startswith("gateway on 127.0.0.1:")
            said, _, base_url = serving.stdout.readline().strip().rpartition(" ")
            assert said == "OpenAI's Images API on"
            with openai.OpenAI(base_url=base_url, api_key="any") as client:
                answer = client.images.generate(prompt="a red apple", size="64x64")
                assert answer.data is not None
                assert opened(httpx.get(str(answer.data[0].url)).content).size == (64, 64)
                assert (answer.model_extra or {})["native_size"] == f"{FINAL}x{FINAL}"
                stream = client.images.generate(prompt="a red apple", stream=True, partial_images=1)
                assert [event.type for event in stream][-1] == "image_generation.completed"
        finally:
            serving.send_signal(signal.SIGINT)
            told, _ = serving.communicate(timeout=GRACE_S)
    assert serving.returncode == 0
    assert " web " in told
