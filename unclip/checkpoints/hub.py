"""Checkpoints that lie in a repository of the Hugging Face Hub: only the folders asked for are fetched, and kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unclip.errors import CheckpointError

ALONGSIDE = ("unclip.json", "model_index.json", "README.md", "*/config.json")
# Weights of other frameworks; and a variant in half precision holds the same weights again.
LEFT_OUT = ("*.msgpack", "*.h5", "*.onnx", "*.fp16.*")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")  # never loaded
ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class HubId:
    """``owner/name``, or ``owner/name@revision`` with a branch, tag or commit."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """The id that ``text`` is, None when it is none."""
        found = ID.fullmatch(text)
        return None if found is None else cls(found["repository"], found["revision"])

    def fetch(self, folders: Iterable[str], *, pickles: bool = False) -> Path:
        """The local folder with these components of the repository; what is there already is not fetched again.

        Without a network, or with ``HF_HUB_OFFLINE=1``, it is what an earlier run has kept in the Hub's cache
        (``HF_HUB_CACHE``). pickles: fetch the weights in files that are not safetensors too.

        Raises:
            CheckpointError: there is no such repository, or it cannot be reached and nothing of it is kept.
        """
        from huggingface_hub import snapshot_download  # here, since a second of imports is for Hub ids only
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(
                    self.repository,
                    revision=self.revision,
                    allow_patterns=[*(f"{folder}/*" for folder in folders), *ALONGSIDE],
                    ignore_patterns=[*LEFT_OUT, *(() if pickles else PICKLES)],
                )
            )
        except LocalEntryNotFoundError:
            reason = "the Hub cannot be reached and its cache has nothing of it"
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"checkpoint: no folder {self.repository}, and no repository to be had: {reason}")
