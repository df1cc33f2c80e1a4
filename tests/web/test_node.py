"""OpenAI's SDK for Node, and LangChain's for it, as they are; skipped where npm's packages cannot be had."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.web.stacks import WebStack, openai_mask, picture

NODE = Path(__file__).parent / "node"
HERE = shutil.which("node") is not None and (NODE / "node_modules" / "openai").is_dir()
pytestmark = pytest.mark.skipif(not HERE, reason="needs node, and npm's openai and @langchain/openai: see the Makefile")


def told(script: str, *words: str) -> list[dict[str, Any]]:
    """What ``script`` prints, a line of JSON each."""
    found = subprocess.run(
        ["node", str(NODE / script), *words], capture_output=True, text=True, timeout=90, cwd=NODE, check=False
    )
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_the_node_sdk_generates_edits_varies_streams_and_understands_refusals(stack: WebStack, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(picture())
    (tmp_path / "mask.png").write_bytes(openai_mask())
    lines = told("openai.mjs", stack.base_url, str(tmp_path / "image.png"), str(tmp_path / "mask.png"))
    found = {line.pop("call"): line for line in lines}
    for call in ("generate url", "edit"):
        assert (found[call]["status"], found[call]["type"]) == (200, "image/png")
        assert found[call]["url"].endswith(".png")
    assert found["generate b64_json"]["id"]
    assert found["edit image[]"]["b64"] > 100
    assert found["variation"] == {"count": 2}
    partial, completed = "image_generation.partial_image", "image_generation.completed"
    assert found["stream"]["events"] == [partial, partial, completed]
    assert found["edit stream"]["events"] == ["image_edit.partial_image", "image_edit.completed"]
    assert found["unknown model"] == {"status": 404, "code": "model_not_found", "kind": "NotFoundError"}
    assert found["not square"] == {"status": 400, "param": "size", "kind": "BadRequestError"}
    assert "dall-e-2" in found["models"]["models"]


def test_langchains_wrapper_for_node_makes_pictures(stack: WebStack) -> None:
    by_url, coded = told("langchain.mjs", stack.base_url)
    assert (by_url["status"], by_url["type"]) == (200, "image/png")
    assert coded["b64"] > 100
