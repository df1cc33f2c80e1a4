"""Generate, Vary and TextDiff ask the stages for what the paper says, in front of stages that record the questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from gateway.compose import Float32Array, Gist
from gateway.feed import Event, Feed, Finished, Progress, Watch, events_of
from gateway.generate import generate
from gateway.plan import GeneratePlan, Output, SourceImage, TextDiffPlan, VaryPlan
from gateway.slerp import normalise
from gateway.text_diff import in_template, text_diff
from gateway.vary import vary
from unclip.errors import Overloaded
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding

DDIM = SamplingSettings("ddim", 5, 1.0, 0.0)
OUTPUT = Output(upsampler=SamplingSettings("ddpm", 3))
SOURCE = SourceImage(data=b"source", digest="d")
X_T = np.full((3, 4, 4), 0.5, np.float32)
WORDS = {"": [1.0, 0.0, 0.0], "before": [1.0, 2.0, 0.0], "after": [1.0, 2.0, 3.0]}
Z_I = np.array([2.0, 0.0, 0.0], np.float32)


def encoding(caption: str) -> TextEncoding:
    values = np.asarray(WORDS.get(caption, [float(len(caption)), 1.0, 1.0]), np.float32)
    return TextEncoding(
        embedding=Embedding(values=values, clip_space="clip"),
        token_states=np.zeros((2, 3), np.float32),
        token_mask=np.ones(2, np.bool_),
    )


NOTHING = encoding("")


@dataclass
class RecordingStages:
    """Answers at once, and remembers what it was asked."""

    captions: list[Sequence[str]] = field(default_factory=list)
    sampled: list[tuple[int, int]] = field(default_factory=list)
    decoded: list[tuple[Gist, int, SamplingSettings]] = field(default_factory=list)
    inverted: list[int] = field(default_factory=list)
    upsampled: list[int] = field(default_factory=list)
    most_decoding: int = 0
    fail_seed: int | None = None
    _decoding: int = 0

    async def encode_text(self, captions: Sequence[str]) -> list[TextEncoding]:
        self.captions.append(captions)
        return [encoding(caption) for caption in captions]

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        return [Embedding(values=Z_I, clip_space="clip") for _ in images]

    async def sample_prior(
        self,
        text: TextEncoding,
        unconditional: TextEncoding,
        seed: int,
        settings: SamplingSettings,
        candidates: int,
        watch: Watch,
    ) -> Embedding:
        self.sampled.append((seed, candidates))
        return Embedding(values=np.full(3, seed, np.float32), clip_space="clip")

    async def decode(self, gist: Gist, seed: int, settings: SamplingSettings, every: int, watch: Watch) -> Float32Array:
        if seed == self.fail_seed:
            raise Overloaded("full", 1.0)
        self.decoded.append((gist, seed, settings))
        self._decoding += 1
        self.most_decoding = max(self.most_decoding, self._decoding)
        watch.progress("decoder", 1, 1)
        await asyncio.sleep(0.005)
        self._decoding -= 1
        return np.zeros((3, 4, 4), np.float32)

    async def invert(
        self, image: bytes, embedding: Embedding, unconditional: TextEncoding, steps: int, watch: Watch
    ) -> Float32Array:
        self.inverted.append(steps)
        return X_T

    async def upsample(self, sample: Float32Array, seed: int, settings: SamplingSettings, watch: Watch) -> Float32Array:
        self.upsampled.append(seed)
        return np.zeros((3, 8, 8), np.float32)


async def run(work: Callable[[Feed], Awaitable[None]]) -> list[Event]:
    return [event async for event in events_of(work)]


def generate_plan(seeds: tuple[int, ...]) -> GeneratePlan:
    return GeneratePlan("a cat", seeds, candidates=2, prior=DDIM, decoder=DDIM, output=OUTPUT)


def vary_plan(start: str = "inverted") -> VaryPlan:
    return VaryPlan(SOURCE, (5, 6), start="random" if start == "random" else "inverted", decoder=DDIM, output=OUTPUT)


def diff_plan(thetas: tuple[float, ...], before: str = "before", after: str = "after") -> TextDiffPlan:
    return TextDiffPlan(SOURCE, before, after, thetas, seed=9, decoder=DDIM, output=OUTPUT)


async def test_generate_encodes_the_caption_once_as_it_is_and_gives_every_stage_the_images_seed() -> None:
    stages = RecordingStages()
    events = await run(lambda feed: generate(generate_plan((7, 8)), stages, NOTHING, feed))
    assert stages.captions == [["a cat"]]
    assert sorted(stages.sampled) == [(7, 2), (8, 2)]
    assert sorted(stages.upsampled) == [7, 8]
    for gist, seed, _ in stages.decoded:
        assert gist.embedding.values[0] == seed
        assert gist.text is not None
        assert gist.start_noise is None
    assert sorted(e.image_index for e in events if isinstance(e, Finished)) == [0, 1]


async def test_images_of_one_request_are_at_work_at_the_same_time() -> None:
    stages = RecordingStages()
    await run(lambda feed: generate(generate_plan(tuple(range(6))), stages, NOTHING, feed))
    assert stages.most_decoding == 6


async def test_progress_of_an_image_comes_before_the_image() -> None:
    events = await run(lambda feed: generate(generate_plan((1, 2)), RecordingStages(), NOTHING, feed))
    for index in (0, 1):
        mine = [e for e in events if e.image_index == index]
        assert isinstance(mine[-1], Finished)
        assert any(isinstance(e, Progress) and e.stage == "decoder" for e in mine[:-1])


async def test_one_failing_image_fails_the_request() -> None:
    stages = RecordingStages(fail_seed=2)
    with pytest.raises(Overloaded):
        await run(lambda feed: generate(generate_plan((1, 2, 3)), stages, NOTHING, feed))


async def test_vary_inverts_once_with_the_decoders_steps_and_starts_every_image_there() -> None:
    stages = RecordingStages()
    await run(lambda feed: vary(vary_plan(), stages, NOTHING, feed))
    assert stages.inverted == [DDIM.steps]
    assert sorted(seed for _, seed, _ in stages.decoded) == [5, 6]
    for gist, _, _ in stages.decoded:
        assert gist.start_noise is X_T
        assert gist.text is None
        np.testing.assert_array_equal(gist.embedding.values, Z_I)


async def test_vary_from_random_noise_inverts_nothing() -> None:
    stages = RecordingStages()
    await run(lambda feed: vary(vary_plan("random"), stages, NOTHING, feed))
    assert stages.inverted == []
    assert all(gist.start_noise is None for gist, _, _ in stages.decoded)


async def test_text_diff_rotates_the_gist_towards_the_difference_and_changes_nothing_else() -> None:
    stages = RecordingStages()
    await run(lambda feed: text_diff(diff_plan((0.0, 0.5, 1.0)), "{}", stages, NOTHING, feed))
    assert {seed for _, seed, _ in stages.decoded} == {9}
    assert all(gist.start_noise is X_T for gist, _, _ in stages.decoded)
    still, half, full = (gist.embedding.values for gist, _, _ in stages.decoded)
    np.testing.assert_array_equal(still, Z_I)
    # f_t(after) - f_t(before) points along the third axis, at a right angle to z_i; |z_i| = 2 is kept.
    np.testing.assert_allclose(half, 2 * normalise([1.0, 0.0, 1.0]), atol=1e-6)
    np.testing.assert_allclose(full, [0.0, 0.0, 2.0], atol=1e-6)


async def test_text_diff_of_a_caption_with_itself_reconstructs_at_any_theta() -> None:
    stages = RecordingStages()
    await run(lambda feed: text_diff(diff_plan((0.0, 0.7), after="before"), "{}", stages, NOTHING, feed))
    assert stages.captions == [["before"]]
    for gist, _, _ in stages.decoded:
        np.testing.assert_array_equal(gist.embedding.values, Z_I)


async def test_text_diff_puts_captions_into_the_checkpoints_template() -> None:
    stages = RecordingStages()
    await run(lambda feed: text_diff(diff_plan((0.5,)), "a photo of {}", stages, NOTHING, feed))
    assert stages.captions == [["a photo of before", "a photo of after"]]


async def test_text_diff_of_many_frames_leaves_room_in_the_queues() -> None:
    stages = RecordingStages()
    await run(lambda feed: text_diff(diff_plan((0.1,) * 40), "{}", stages, NOTHING, feed))
    assert stages.most_decoding == 16
    assert len(stages.upsampled) == 40


@pytest.mark.parametrize(
    ("template", "caption", "expected"),
    [
        ("a photo of {}", "a cat", "a photo of a cat"),
        ("a photo of {}", "", "a photo of"),
        ("{}", "", ""),
        ("a {} emoji", "", "a emoji"),
        ("{}", "curly {} braces", "curly {} braces"),
    ],
)
def test_templates(template: str, caption: str, expected: str) -> None:
    assert in_template(template, caption) == expected
