"""The page's types, which its comments tell: TypeScript checks them, strictly. Nothing is made of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "node"
COMPILER = NODE / "node_modules" / "typescript" / "bin" / "tsc"


@pytest.mark.skipif(not shutil.which("node") or not COMPILER.exists(), reason="needs node and npm's typescript")
def test_every_module_of_the_page_passes_the_strict_checks_of_typescript() -> None:
    command = ["node", str(COMPILER), "--project", str(NODE)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert found.stdout + found.stderr == ""
    assert found.returncode == 0
