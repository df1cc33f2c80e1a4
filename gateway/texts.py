"""Encodings of captions met before: the empty one is part of every request, and people try a caption again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from unclip.wire.embeddings import TextEncoding


class TextCache:
    """The encodings last used, of one CLIP at a time, in at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._space = ""
        self._known: OrderedDict[str, TextEncoding] = OrderedDict()

    def of(self, clip_space: str) -> TextCache:
        """This cache, for encodings of that CLIP; those of another are forgotten."""
        if clip_space != self._space:
            self._space, self._bytes = clip_space, 0
            self._known.clear()
        return self

    async def encode(
        self, captions: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[list[TextEncoding]]]
    ) -> list[TextEncoding]:
        """The encodings of ``captions``; ``ask`` is asked for those not known, all at once. Raises what it raises."""
        found = {caption: self._known[caption] for caption in captions if caption in self._known}
        missing = [caption for caption in dict.fromkeys(captions) if caption not in found]
        if missing:
            found |= zip(missing, await ask(missing), strict=True)
        for caption in captions:
            self._keep(caption, found[caption])
        return [found[caption] for caption in captions]

    def _keep(self, caption: str, encoding: TextEncoding) -> None:
        """Now the one last used; what then is too much goes, longest unused first."""
        if encoding.embedding.clip_space != self._space:
            return  # the encoder was replaced while it was asked
        if self._known.pop(caption, None) is None:
            self._bytes += size(encoding)
        self._known[caption] = encoding
        while self._bytes > self._max_bytes:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= size(oldest)


def size(encoding: TextEncoding) -> int:
    """Bytes of an encoding's arrays."""
    return encoding.embedding.values.nbytes + encoding.token_states.nbytes + encoding.token_mask.nbytes
