"""Encodings of captions met before: the empty one is part of every request, and people try a caption again. Beside
them that of the null picture, which stands for the empty caption where the decoder reads none."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from unclip.wire.embeddings import Embedding, TextEncoding


class TextCache:
    """The encodings last used, by the version of the encoder that made them, in at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: OrderedDict[tuple[str, str | None], Any] = OrderedDict()  # None: the null picture

    async def encode(
        self, captions: Sequence[str], version: str, ask: Callable[[Sequence[str]], Awaitable[list[TextEncoding]]]
    ) -> list[TextEncoding]:
        """The encodings of ``captions`` by an encoder of that ``version``; ``ask``, which has one, is asked for those
        not known, all at once. Raises what it raises."""
        found = {caption: self._known[version, caption] for caption in captions if (version, caption) in self._known}
        missing = [caption for caption in dict.fromkeys(captions) if caption not in found]
        if missing:
            found |= zip(missing, await ask(missing), strict=True)
        for caption in captions:
            self._keep((version, caption), found[caption])
        return [found[caption] for caption in captions]

    async def null_picture(self, version: str, ask: Callable[[], Awaitable[Embedding]]) -> Embedding:
        """The null picture's embedding by an encoder of that ``version``, likewise."""
        found: Embedding = self._known.get((version, None)) or await ask()
        self._keep((version, None), found)
        return found

    def _keep(self, key: tuple[str, str | None], encoding: TextEncoding | Embedding) -> None:
        """Now the one last used; what then is too much goes, longest unused first."""
        if self._known.pop(key, None) is None:
            self._bytes += size(encoding)
        self._known[key] = encoding
        while self._bytes > self._max_bytes:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= size(oldest)


def size(encoding: TextEncoding | Embedding) -> int:
    """Bytes of an encoding's arrays, and of what there is to say of its caption."""
    if isinstance(encoding, Embedding):
        return encoding.values.nbytes
    states = [each for each in (encoding.token_states, encoding.decoder_states) if each is not None]
    arrays = size(encoding.embedding) + encoding.token_mask.nbytes + sum(each.nbytes for each in states)
    return arrays + sum(notice.size for notice in encoding.notices)
