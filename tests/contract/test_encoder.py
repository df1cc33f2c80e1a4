"""CLIP encodes captions and pictures as the contract says."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.contract.requests import file_of, image, picture
from tests.contract.services import OTHER, SAME, Services, array, gap, kind
from tests.contract.toys import TOYS
from tests.tiny import CONTEXT, WIDTH
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.type.v1 import embedding_pb2, image_pb2

FAMILIES = tuple(TOYS)


def encode(services: Services, *captions: str) -> list[embedding_pb2.TextEncoding]:
    return list(services.encoder.EncodeText(encoder_pb2.EncodeTextRequest(captions=captions)).encodings)


def embed(services: Services, *images: image_pb2.Image) -> list[embedding_pb2.Embedding]:
    return list(services.encoder.EncodeImage(encoder_pb2.EncodeImageRequest(images=images)).embeddings)


def test_a_caption_becomes_embedding_states_and_mask(services: Services) -> None:
    [encoding] = encode(services, "a cat")
    embedding, states, mask = map(array, (encoding.embedding.values, encoding.token_states, encoding.token_mask))
    assert kind(embedding) == ("float32", (WIDTH,))
    assert kind(states) == ("float32", (CONTEXT, WIDTH))
    assert kind(mask) == ("bool", (CONTEXT,))
    assert np.isfinite(embedding).all()
    assert np.isfinite(states).all()


def test_the_mask_shows_the_captions_tokens_from_the_start(services: Services) -> None:
    masks = [array(e.token_mask) for e in encode(services, "", "a cat", "a cat and a dog")]
    lengths = [int(mask.sum()) for mask in masks]
    assert 0 < lengths[0] < lengths[1] < lengths[2]
    assert all(mask[:length].all() for mask, length in zip(masks, lengths, strict=True))


def test_what_exceeds_the_context_is_cut(services: Services) -> None:
    one, other = encode(services, "cat " * 100, "cat " * 100 + "dog")
    assert array(one.token_mask).all()
    assert one == other


def test_captions_are_answered_in_order_and_alike_alone_or_together(services: Services) -> None:
    captions = ["a cat", "a dog", "", "a cat"]
    together = encode(services, *captions)
    assert len(together) == 4
    for caption, encoding in zip(captions, together, strict=True):
        [alone] = encode(services, caption)
        assert gap(array(encoding.embedding.values), array(alone.embedding.values)) < SAME
        assert gap(array(encoding.token_states), array(alone.token_states)) < SAME


def test_different_captions_have_different_encodings(services: Services) -> None:
    cat, dog = encode(services, "a cat", "a dog")
    assert gap(array(cat.embedding.values), array(dog.embedding.values)) > OTHER
    assert gap(array(cat.token_states), array(dog.token_states)) > OTHER


def test_a_picture_becomes_an_embedding_of_the_same_space(services: Services) -> None:
    [embedding] = embed(services, image(picture()))
    values = array(embedding.values)
    assert kind(values) == ("float32", (WIDTH,))
    assert np.isfinite(values).all()
    assert embedding.clip_space == services.text("a cat").embedding.clip_space != ""


def test_pictures_are_answered_in_order_and_alike_alone_or_together(services: Services) -> None:
    pictures = [image(picture(colour)) for colour in ("red", "blue", "red")]
    together = [array(embedding.values) for embedding in embed(services, *pictures)]
    alone = [array(embed(services, one)[0].values) for one in pictures]
    assert gap(np.stack(together), np.stack(alone)) < SAME
    assert gap(together[0], together[1]) > OTHER


def test_the_pixels_count_and_not_the_file(services: Services) -> None:
    whole = picture("green")
    png, webp = embed(services, image(whole), image(whole, "WEBP", lossless=True))
    assert gap(array(png.values), array(webp.values)) < SAME
    mislabelled = image_pb2.Image(data=file_of(whole), media_type="image/jpeg", width=7, height=7)
    [embedding] = embed(services, mislabelled)
    assert gap(array(embedding.values), array(png.values)) < SAME


def test_any_size_of_picture_is_taken(services: Services) -> None:
    sizes = [(1, 1), (3, 700), (700, 3), (1000, 1000)]
    embeddings = embed(services, *(image(picture(width=width, height=height)) for width, height in sizes))
    assert all(np.isfinite(array(embedding.values)).all() for embedding in embeddings)


def test_a_picture_too_large_to_be_read_beside_other_calls_is_seen_as_a_small_one_is(services: Services) -> None:
    large, small = embed(services, *(image(Image.new("RGB", (side, side), "red")) for side in (1100, 100)))
    assert gap(array(large.values), array(small.values)) < SAME


def test_as_many_are_taken_as_promised(services: Services) -> None:
    assert len(encode(services, *["a cat"] * 64)) == 64
    assert len(encode(services, "ä" * 2048)) == 1
    assert len(embed(services, *[image(picture())] * 16)) == 16
