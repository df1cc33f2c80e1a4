"""Captions as people and files write them: each is read as what it shows, or refused, and what is left out is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.contract.conftest import serving
from tests.contract.odd_inputs.captioned import CAPTIONED, MASK, PICTURE, QUICK
from tests.contract.services import OTHER, SAME, Bounds, Services, array, gap
from tests.tiny import CONTEXT
from unclip import Client
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.client import Generate, GeneratedImage, Notice, Sampling
from unclip.errors import InvalidRequest
from unclip.testing import GatewayServer
from unclip.testing.blocking import LoopThread
from unclip.testing.model import STAGES

ROOM = CONTEXT - 2  # words that fit, where each is one token
FULL = "red " * ROOM

BLANKS = {
    "empty": "",
    "spaces": "   ",
    "tab and break": "\t\r\n",
    "no-break space": "\u00a0",
    "ideographic space": "\u3000",
    "zero-width space": "\u200b",
    "byte order mark": "\ufeff",
    "word joiners": "\u2060 \u2060",
    "soft hyphen": "\u00ad",
    "marks of direction": "\u200e\u202e",
    "Hangul filler": "\u3164",
    "Braille blank": "\u2800",
}
# What it says, and how a plain hand would have written it.
SAME_AS = {
    "line feed": ("a red\ncat", "a red cat"),
    "carriage return": ("a red\rcat", "a red cat"),
    "both": ("a red\r\ncat\r\n", "a red cat"),
    "tab": ("a\tred\tcat", "a red cat"),
    "form feed": ("a red\fcat", "a red cat"),
    "vertical tab": ("a red\vcat", "a red cat"),
    "next line": ("a red\x85cat", "a red cat"),
    "line separator": ("a red\u2028cat", "a red cat"),
    "paragraph separator": ("a red\u2029cat", "a red cat"),
    "no-break spaces": ("a\u00a0red\u00a0cat", "a red cat"),
    "ideographic space": ("a red\u3000cat", "a red cat"),
    "spaces around": ("  a red   cat ", "a red cat"),
    "capitals": ("A Red CAT", "a red cat"),
    "blank of one kind": ("\u200b\u00a0", ""),
    "blank of another": ("\n", ""),
}
# What it says, and what is all that it would say if a word of it were obeyed, or left out.
NOT_ONLY = {
    "end token": ("a cat <|endoftext|> and a red dog", "a cat"),
    "end token first": ("<|endoftext|> dog", ""),
    "end token alone": ("<|endoftext|>", ""),
    "start token": ("<|startoftext|> dog", "dog"),
    "start token inside": ("red <|startoftext|> dog", "red dog"),
    "tokens of others": ("[PAD] dog </s>", "dog"),
    "exclamation mark": ("red dog !", "red dog"),
    "another alphabet": ("собака", ""),
    "emoji": ("🐈 dog", "dog"),
}
REFUSED = {
    "null": ("a\0cat", ["control characters", "U+0000 at position 1"]),
    "bell": ("cat\x07", ["control characters", "U+0007 at position 3"]),
    "escape": ("\x1b[31mcat", ["control characters", "U+001B at position 0"]),
    "delete": ("c\x7fat", ["control characters", "U+007F at position 1"]),
    "eight-bit escape": ("cat\x9b2J", ["control characters", "U+009B at position 3"]),
    "separator that is a control": ("a\x1ccat", ["control characters", "U+001C at position 1"]),
    "a byte too long": ("x" * 4097, ["at most 4096 bytes", "got 4097"]),
    "too long in UTF-8": ("ä" * 2049, ["at most 4096 bytes", "got 4098"]),
    "too long and blank": (
        "\u3000" * 1366,
        ["must not be empty; got nothing but blanks, 1366 of them", "at most 4096 bytes", "got 4098"],
    ),
    "lone surrogate": ("cat\ud800", ["must be Unicode", "U+D800"]),
    "bytes": (b"cat", ["must be a text"]),
    "number": (7, ["must be a text; got 7"]),
}
# Cleaned by a checkpoint that names it: what it says, and what is read.
CLEANED = {
    "zero-width space in a word": ("c\u200bat", "cat"),
    "joiners": ("do\u200dg \u2060red", "dog red"),
    "byte order mark": ("\ufeffred cat", "red cat"),
    "soft hyphen": ("c\u00adat", "cat"),
    "marks of direction": ("\u202ered\u202c cat", "red cat"),
    "typographic apostrophe": ("the cat’s dog", "the cat's dog"),
    "typographic quotes": ("a “red” ‘cat’", "a \"red\" 'cat'"),
    "entities": ("cat &amp; dog", "cat & dog"),
    "entities twice": ("&amp;quot;red&amp;quot; cat", '"red" cat'),
    "entity of a space": ("red&nbsp;cat", "red cat"),
    "ligature": ("ﬁre dog", "fire dog"),
    "full width": ("ｒｅｄ　ｃａｔ", "red cat"),
    "mended encoding": ("cafÃ© dog", "café dog"),
    "composed": ("cafe\u0301 dog", "café dog"),
    "emoji style": ("❤\ufe0f dog", "❤ dog"),
    "escaped end token": ("red &lt;|endoftext|&gt; dog", "red <|endoftext|> dog"),
}


def refused(client: Client, method: str, field: str, caption: Any, **given: Any) -> str:
    """Why ``caption`` in ``field`` is refused."""
    with pytest.raises(InvalidRequest) as found:
        getattr(client, method)(**given, **{field: caption})
    assert {violation.field for violation in found.value.violations} == {field}
    return "; ".join(violation.description for violation in found.value.violations)


def apart(client: Client, one: str, other: str) -> float:
    """How far the embeddings of two captions are apart."""
    answer = client.embed([one, other])
    return gap(*(embedding.values for embedding in answer.captions))


@pytest.mark.parametrize("name", BLANKS)
@pytest.mark.parametrize(
    ("method", "field"), [("generate", "caption"), ("text_diff", "after"), ("edit", "caption")], ids=lambda name: name
)
def test_a_caption_of_which_nothing_shows_is_refused_as_empty(
    client: Client, method: str, field: str, name: str
) -> None:
    given: dict[str, Any] = {"generate": {}, "text_diff": {"image": PICTURE, "before": ""}}.get(
        method, {"image": PICTURE, "mask": MASK}
    )
    caption = BLANKS[name]
    told = f"must not be empty; got nothing but blanks, {len(caption)} of them" if caption else "must not be empty"
    assert refused(client, method, field, caption, **given) == told


def test_so_is_the_caption_to_go_to(client: Client) -> None:
    assert refused(client, "interpolate", "to_caption", "\u200b", image=PICTURE) == (
        "must not be empty; got nothing but blanks, 1 of them"
    )


@pytest.mark.parametrize("name", SAME_AS)
def test_what_looks_the_same_means_the_same(client: Client, name: str) -> None:
    assert apart(client, *SAME_AS[name]) < SAME


@pytest.mark.parametrize("name", NOT_ONLY)
def test_every_word_counts_and_none_is_obeyed(client: Client, name: str) -> None:
    assert apart(client, *NOT_ONLY[name]) > OTHER


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_caption_is_refused_by_field_limit_and_value(client: Client, name: str) -> None:
    caption, words = REFUSED[name]
    told = refused(client, "generate", "caption", caption)
    assert not [word for word in words if word not in told], told


def test_the_recipe_has_the_caption_as_it_came(client: Client) -> None:
    caption, blank = " a “red”\r\n<|endoftext|>\tcat\u200b!", "\u00a0"
    prior = Sampling(steps=1, guidance_scale=2)
    [image] = client.generate(caption, negative_caption=blank, seed=1, prior=prior, **QUICK)
    assert isinstance(image.recipe, Generate)
    assert (image.recipe.caption, image.recipe.negative_caption) == (caption, blank)
    [plain] = client.generate(caption, seed=1, prior=prior, **QUICK)
    assert plain.to_pil().tobytes() == image.to_pil().tobytes()  # a blank negative caption is none


@pytest.mark.parametrize(("method", "field", "given"), CAPTIONED)
def test_what_the_model_had_no_room_for_is_told(client: Client, method: str, field: str, given: dict[str, Any]) -> None:
    for _ in ("fresh", "from the cache"):
        [image] = getattr(client, method)(**given, **{field: f"{FULL}Dog Cat"}, **QUICK)
        [notice] = image.notices
        assert (notice.kind, notice.field) == ("caption_cut", field)
        assert notice.parts[0].endswith("Dog Cat")
        assert f'the model reads the first {ROOM}: left out is "' in notice.message
    [image] = getattr(client, method)(**given, **{field: "red dog"}, **QUICK)
    assert image.notices == ()


def test_captions_that_differ_only_there_are_told_apart_by_their_notices(client: Client) -> None:
    answer = client.embed([f"{FULL}dog", "red", f"{FULL}cat", FULL])
    first, _, second, fits = answer.captions
    assert gap(first.values, second.values) < SAME
    assert gap(first.values, fits.values) < SAME
    message = f'the caption has {ROOM + 1} tokens and the model reads the first {ROOM}: left out is "%s"'
    assert answer.notices == (
        Notice("caption_cut", "captions[0]", ("dog",), message % "dog"),
        Notice("caption_cut", "captions[2]", ("cat",), message % "cat"),
    )


def test_a_long_caption_is_told_in_one_short_line(client: Client) -> None:
    [notice] = client.embed(["dog\n" * 1000]).notices
    assert notice.parts == (" ".join(["dog"] * (1000 - ROOM)),)
    assert len(notice.message) < 200
    assert notice.message.isprintable()


def test_a_stream_tells_it_before_the_first_picture(client: Client) -> None:
    request = Generate(f"{FULL}dog", image_count=2, **QUICK)
    events = [event for event in client.stream(request) if isinstance(event, (Notice, GeneratedImage))]
    assert [type(event) for event in events] == [Notice, GeneratedImage, GeneratedImage]
    assert all(event.notices == (events[0],) for event in events if isinstance(event, GeneratedImage))
    assert isinstance(events[0], Notice)
    assert events[0].field == "caption"


def test_on_the_wire_it_names_the_field_as_a_refusal_would(services: Services) -> None:
    request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption=f"{FULL}dog"))
    with LoopThread() as thread:
        gateway = GatewayServer(dict.fromkeys(STAGES, services.address))
        thread.run(gateway.__aenter__())
        try:
            with grpc.insecure_channel(gateway.address) as channel:
                stub = gateway_pb2_grpc.GatewayServiceStub(channel)
                [streamed] = [answer.notice for answer in stub.Stream(request, timeout=60) if answer.HasField("notice")]
                [answered] = stub.Generate(request.generate, timeout=60).notices
        finally:
            thread.run(gateway.__aexit__(None, None, None))
    assert (streamed.field, answered.field) == ("generate.caption", "caption")
    assert list(streamed.parts) == list(answered.parts) == ["dog"]


@pytest.fixture(scope="module")
def cleaning(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Real services of a checkpoint that names a cleaning."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("cleaning") / "tiny")
    manifest = json.loads((folder / "unclip.json").read_text())
    (folder / "unclip.json").write_text(json.dumps({**manifest, "cleaning": "ftfy-1"}))
    with serving(Bounds(), folder) as services:
        yield services


@pytest.mark.parametrize("name", CLEANED)
def test_a_checkpoint_that_names_a_cleaning_reads_what_is_meant(cleaning: Services, name: str) -> None:
    odd, plain = CLEANED[name]
    answer = cleaning.encoder.EncodeText(encoder_pb2.EncodeTextRequest(captions=[odd, plain]))
    one, other = (array(encoding.embedding.values) for encoding in answer.encodings)
    assert gap(one, other) < SAME


def test_one_that_names_none_reads_as_its_tokenizer_does(services: Services) -> None:
    answer = services.encoder.EncodeText(encoder_pb2.EncodeTextRequest(captions=["cat’s &amp; dog", "cat's & dog"]))
    one, other = (array(encoding.embedding.values) for encoding in answer.encodings)
    assert gap(one, other) > OTHER
