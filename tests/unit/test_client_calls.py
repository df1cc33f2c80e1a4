"""The blocking client against a real socket: what is sent, what comes back, and how failure looks."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from PIL import Image

from tests.unit.client_peer import CHOSEN_SEED, SIDE, STEPS, GatewayPeer, invalid, overloaded, picture, status
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import notice_pb2, sampling_pb2
from unclip.client import (
    Client,
    Edit,
    Fit,
    Generate,
    GeneratedImage,
    Notice,
    Preview,
    Progress,
    Sampling,
    TextDiff,
    Vary,
)
from unclip.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable, UnclipError


def test_what_is_not_said_is_left_to_the_server(peer: GatewayPeer, client: Client) -> None:
    client.generate("a cat")

    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.GenerateRequest)
    assert asked.caption == "a cat"
    assert not asked.HasField("seed")
    assert not asked.HasField("image_count")
    assert asked.decoder == sampling_pb2.SamplingOptions()


def test_a_partial_sampling_sends_its_parts_only(peer: GatewayPeer, client: Client) -> None:
    client.generate("a cat", seed=0, decoder=Sampling(sampler="ddim", eta=0.0), prior=Sampling(steps=5))

    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.GenerateRequest)
    assert asked.HasField("seed")
    assert asked.seed == 0
    assert asked.decoder.sampler == sampling_pb2.SAMPLER_DDIM
    assert asked.decoder.HasField("eta")
    assert not asked.decoder.HasField("steps")
    assert asked.prior.steps == 5


def test_a_picture_comes_with_what_made_it(client: Client) -> None:
    [first, second] = client.generate("a cat", image_count=2)

    assert (first.seed, second.seed) == (CHOSEN_SEED, CHOSEN_SEED + 1)
    assert first.to_pil().size == (first.width, first.height) == (SIDE, SIDE)
    assert first.data == picture(CHOSEN_SEED)
    assert first.model_version == "v1"


def test_what_an_answer_tells_of_its_request_comes_with_its_pictures(peer: GatewayPeer, client: Client) -> None:
    younger: Any = 99
    cut = notice_pb2.Notice(kind=notice_pb2.NOTICE_KIND_CAPTION_CUT, field="caption", parts=["a dog"], message="cut")
    peer.notices = [cut, notice_pb2.Notice(kind=younger, field="caption", message="yet another")]
    expected = (Notice("caption_cut", "caption", ("a dog",), "cut"), Notice(None, "caption", (), "yet another"))

    images = client.generate("a cat", image_count=2)
    assert [image.notices for image in images] == [expected] * 2
    assert client.embed(["a cat"]).notices == expected

    events = list(client.stream(Generate("a cat", image_count=2)))
    assert tuple(event for event in events if isinstance(event, Notice)) == expected
    assert [event.notices for event in events if isinstance(event, GeneratedImage)] == [expected] * 2
    assert images[0].recipe == client.generate("a cat", image_count=2)[0].recipe


def test_a_recipe_makes_the_same_picture_again_alone(client: Client) -> None:
    second = client.generate("a cat", image_count=2, decoder=Sampling(steps=7, guidance_scale=2.0))[1]

    [again] = [event for event in client.stream(second.recipe) if isinstance(event, GeneratedImage)]

    assert again.data == second.data
    assert isinstance(second.recipe, Generate)
    assert second.recipe.decoder == Sampling(steps=7, guidance_scale=2.0)


def test_the_recipe_of_a_variation_wants_its_source_back(client: Client) -> None:
    [made] = client.vary(picture(7), seed=3, eta=0.25, start="random")
    assert isinstance(made.recipe, Vary)
    assert (made.recipe.image, made.recipe.eta, made.recipe.start) == (None, 0.25, "random")

    with pytest.raises(InvalidRequest, match="put them back"):
        list(client.stream(made.recipe))
    events = list(client.stream(replace(made.recipe, image=picture(7))))
    assert isinstance(events[-1], GeneratedImage)
    assert events[-1].data == made.data


def test_an_interpolation_ends_with_a_picture_or_a_caption(peer: GatewayPeer, client: Client) -> None:
    client.interpolate(picture(7), picture(8), ts=[0, 1], start="random")
    client.interpolate(picture(7), to_caption="a cat", prior=Sampling(steps=3))
    pictures, captioned = (asked for asked in peer.asked if isinstance(asked, gateway_pb2.InterpolateRequest))
    assert (pictures.to_image.data, list(pictures.ts)) == (picture(8), [0, 1])
    assert pictures.start == gateway_pb2.START_RANDOM
    assert not pictures.HasField("prior")
    assert (captioned.WhichOneof("to"), captioned.to_caption, captioned.prior.steps) == ("to_caption", "a cat", 3)


@pytest.mark.parametrize("ends", [{}, {"to": b"a file", "to_caption": "a cat"}])
def test_an_interpolation_with_no_end_or_two_is_refused_unsent(
    peer: GatewayPeer, client: Client, ends: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest):
        client.interpolate(picture(7), **ends)
    assert peer.asked == []


def test_an_edit_sends_picture_and_mask_and_wants_both_back(peer: GatewayPeer, client: Client) -> None:
    said = Edit(
        picture(7),
        "a cat",
        picture(8),
        negative_caption="a dog",
        seed=3,
        image_count=1,
        prior_candidates=4,
        prior=Sampling(steps=5),
        decoder=Sampling(sampler="ddpm"),
        upsampler=Sampling(steps=2),
        format="webp",
        resampling=6,
        fit="letterbox",
    )
    [made] = [event for event in client.stream(said) if isinstance(event, GeneratedImage)]

    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.StreamRequest)
    assert (asked.edit.image.data, asked.edit.mask.data) == (picture(7), picture(8))
    assert (asked.edit.caption, asked.edit.negative_caption, asked.edit.prior_candidates) == ("a cat", "a dog", 4)
    assert (asked.edit.resampling, asked.edit.fit) == (6, gateway_pb2.FIT_LETTERBOX)
    assert made.recipe == replace(said, image=None, mask=None)
    with pytest.raises(InvalidRequest, match="put them back"):
        list(client.stream(made.recipe))


def test_an_edit_without_a_mask_sends_none(peer: GatewayPeer, client: Client) -> None:
    client.edit(Image.new("RGBA", (4, 4)), "a cat")
    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.EditRequest)
    assert not asked.HasField("mask")
    assert not asked.HasField("resampling")
    with Image.open(io.BytesIO(asked.image.data)) as sent:
        assert sent.mode == "RGBA"


def test_every_picture_is_sent_with_its_fit(peer: GatewayPeer, client: Client) -> None:
    fits: dict[Fit, int] = {"crop": gateway_pb2.FIT_CENTER_CROP, "letterbox": gateway_pb2.FIT_LETTERBOX}
    for fit, number in fits.items():
        [varied] = client.vary(picture(7), fit=fit)
        [diffed] = client.text_diff(picture(7), "", "a cat", fit=fit)
        [between] = client.interpolate(picture(7), picture(8), fit=fit)
        client.embed(images=[picture(7)], fit=fit)
        assert {asked.fit for asked in peer.asked} == {number}  # type: ignore[attr-defined]
        assert [made.recipe.fit for made in (varied, diffed, between)] == [fit] * 3  # type: ignore[union-attr]
        peer.asked.clear()
    with pytest.raises(InvalidRequest, match="crop, letterbox"):
        client.vary(picture(7), fit="stretch")  # type: ignore[arg-type]


def test_a_text_diff_keeps_the_order_of_its_thetas(peer: GatewayPeer, client: Client) -> None:
    frames = client.text_diff(picture(7), "a house", "a modern house", thetas=[0, 0.25, 0.5], seed=9)

    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.TextDiffRequest)
    assert list(asked.thetas) == [0, 0.25, 0.5]
    assert (asked.before, asked.after) == ("a house", "a modern house")
    assert [frame.image_index for frame in frames] == [0, 1, 2]
    assert isinstance(frames[0].recipe, TextDiff)


def test_a_picture_is_sent_as_path_as_bytes_or_from_pillow(peer: GatewayPeer, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "house.png"
    path.write_bytes(picture(7))

    for source in (path, str(path), picture(7)):
        client.vary(source)
    client.vary(Image.open(path))

    sent = [asked.image.data for asked in peer.asked if isinstance(asked, gateway_pb2.VaryRequest)]
    assert sent[:3] == [picture(7)] * 3
    with Image.open(io.BytesIO(sent[3])) as pillow, Image.open(path) as original:
        assert pillow.tobytes() == original.tobytes()


def test_a_file_that_is_missing_or_too_large_is_never_sent(peer: GatewayPeer, client: Client, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)

    with pytest.raises(InvalidRequest, match=r"image: cannot read .*nowhere.png"):
        client.vary(tmp_path / "nowhere.png")
    with pytest.raises(InvalidRequest, match="must be at most 10485760 bytes"):
        client.vary(large)
    assert peer.asked == []


def test_what_no_message_can_hold_is_an_invalid_request(client: Client) -> None:
    for request in (Generate("a cat", seed=1 << 64), Generate("\ud800"), Generate("a cat", image_count=1 << 40)):
        with pytest.raises(InvalidRequest):
            list(client.stream(request))


def test_embeddings_come_in_the_order_asked(client: Client) -> None:
    both = client.embed(["a cat", "a dog"], [picture(1)])
    dog = client.embed(["a dog"]).captions[0]

    assert (len(both.captions), len(both.images)) == (2, 1)
    assert np.array_equal(both.captions[1].values, dog.values)
    assert not np.array_equal(both.captions[0].values, dog.values)
    assert dog.clip_space == "clip"


def test_the_model_tells_of_itself(client: Client) -> None:
    model = client.model_info()

    assert model.capabilities == ("generate", "vary", "text_diff", "embed")
    [stage] = model.stages
    assert (stage.stage, stage.image_size, stage.parameters) == ("decoder", SIDE, 1234567)
    assert stage.defaults == Sampling("dpm++2m", 20, 3.5, 0.0)


def test_a_stream_tells_progress_previews_and_pictures(client: Client) -> None:
    events = list(client.stream(Generate("a cat", image_count=2), preview_interval=1))

    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[0] == Progress("decoder", 1, STEPS, image_index=1, queue_position=0)
    assert len(progress) == 2 * STEPS
    assert [event.image_index for event in events if isinstance(event, Preview)] == [1, 0]
    assert [event.image_index for event in events if isinstance(event, GeneratedImage)] == [1, 0]


def test_leaving_a_stream_cancels_the_work(peer: GatewayPeer, client: Client) -> None:
    peer.hangs = True
    with closing(client.stream(Generate("a cat"))) as events:
        assert isinstance(next(events), Progress)

    assert peer.left.wait(5)


def test_every_violation_is_told(peer: GatewayPeer, client: Client) -> None:
    peer.fails = invalid(("caption", "must be 1 to 4096 bytes; got none"), ("decoder.steps", "must be 1 to 1000"))

    with pytest.raises(InvalidRequest) as caught:
        client.generate("")
    assert [violation.field for violation in caught.value.violations] == ["caption", "decoder.steps"]


def test_an_overloaded_server_says_when_to_come_back(peer: GatewayPeer, client: Client) -> None:
    peer.fails = overloaded(7)

    with pytest.raises(Overloaded) as caught:
        client.generate("a cat")
    assert caught.value.retry_after == 7


def test_a_failure_in_the_middle_of_a_stream_comes_after_its_pictures(peer: GatewayPeer, client: Client) -> None:
    peer.fails_after = status(code_pb2.INTERNAL, "INTERNAL", "request 5")
    events = client.stream(Generate("a cat"))

    seen = [next(events) for _ in range(STEPS + 1)]
    with pytest.raises(UnclipError):
        next(events)
    assert isinstance(seen[-1], GeneratedImage)


def test_nobody_listening_is_unavailable() -> None:
    gone = GatewayPeer()
    gone.start()
    gone.stop()

    with Client(gone.target, timeout=5) as client, pytest.raises((Unavailable, DeadlineExceeded)):
        client.model_info()


def test_the_timeout_bounds_a_call(peer: GatewayPeer) -> None:
    peer.hangs = True

    with Client(peer.target, timeout=0.3) as client, pytest.raises(DeadlineExceeded):
        list(client.stream(Generate("a cat")))


def test_every_call_carries_metadata_and_a_request_id_of_its_own(peer: GatewayPeer) -> None:
    with Client(peer.target, metadata=[("authorization", "Bearer key")]) as client:
        client.generate("a cat")
        client.generate("a cat")

    first, second = peer.metadata
    assert first["authorization"] == "Bearer key"
    assert first["x-request-id"] != second["x-request-id"]


def test_a_channel_of_the_callers_stays_open(peer: GatewayPeer) -> None:
    with grpc.insecure_channel(peer.target) as channel:
        for _ in range(2):
            with Client(channel=channel) as client:
                assert client.generate("a cat")
