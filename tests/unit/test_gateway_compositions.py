"""Each capability asks the stages for what the paper says, in front of stages that record the questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from gateway.capabilities.edit import edit
from gateway.capabilities.generate import generate
from gateway.capabilities.interpolate import between, interpolate
from gateway.capabilities.slerp import normalise
from gateway.capabilities.text_diff import in_template, text_diff
from gateway.capabilities.vary import vary
from gateway.events import Event, EventQueue, Finished, Preview, Progress, Reporter, events_of
from gateway.requests.fitting import Subject
from gateway.requests.plan import EditPlan, GeneratePlan, InterpolatePlan, Output, SourceImage, TextDiffPlan, VaryPlan
from unclip.errors import Overloaded
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, Inversion, InvertTask, SampleTask, UpsampleTask

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
    sampled: list[SampleTask] = field(default_factory=list)
    decoded: list[DecodeTask] = field(default_factory=list)
    inverted: list[InvertTask] = field(default_factory=list)
    upsampled: list[UpsampleTask] = field(default_factory=list)
    most_decoding: int = 0
    embeddings: dict[bytes, Float32Array] = field(default_factory=dict)
    noises: dict[bytes, Float32Array] = field(default_factory=dict)
    psnrs: dict[bytes, float] = field(default_factory=dict)
    fail_seed: int | None = None
    _decoding: int = 0

    async def encode_text(self, captions: Sequence[str]) -> list[TextEncoding]:
        self.captions.append(captions)
        return [encoding(caption) for caption in captions]

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        return [Embedding(values=self.embeddings.get(image, Z_I), clip_space="clip") for image in images]

    async def sample_prior(self, task: SampleTask, reporter: Reporter) -> Embedding:
        self.sampled.append(task)
        return Embedding(values=np.full(3, task.seed, np.float32), clip_space="clip")

    async def decode(self, task: DecodeTask, reporter: Reporter) -> Float32Array:
        if task.seed == self.fail_seed:
            raise Overloaded("full", 1.0)
        self.decoded.append(task)
        self._decoding += 1
        self.most_decoding = max(self.most_decoding, self._decoding)
        reporter.progress("decoder", 1, 1)
        await asyncio.sleep(0.005)
        self._decoding -= 1
        return np.zeros((3, 4, 4), np.float32)

    async def invert(self, task: InvertTask, reporter: Reporter) -> Inversion:
        self.inverted.append(task)
        psnr = self.psnrs.get(task.image, 30.0) if task.report_psnr else None
        return Inversion(self.noises.get(task.image, X_T), psnr)

    async def upsample(self, task: UpsampleTask, reporter: Reporter) -> Float32Array:
        self.upsampled.append(task)
        return np.zeros((3, 8, 8), np.float32)

    @property
    def candidates(self) -> list[tuple[int, int]]:
        """Of each embedding asked for, its seed and its candidates."""
        return sorted((task.seed, task.candidates) for task in self.sampled)


async def run(work: Callable[[EventQueue], Awaitable[None]]) -> list[Event]:
    return [event async for event in events_of(work)]


def generate_plan(seeds: tuple[int, ...]) -> GeneratePlan:
    return GeneratePlan("a cat", seeds, candidates=2, prior=DDIM, decoder=DDIM, output=OUTPUT)


def vary_plan(start: str = "inverted") -> VaryPlan:
    return VaryPlan(SOURCE, (5, 6), start="random" if start == "random" else "inverted", decoder=DDIM, output=OUTPUT)


def diff_plan(thetas: tuple[float, ...], before: str = "before", after: str = "after") -> TextDiffPlan:
    return TextDiffPlan(SOURCE, before, after, thetas, seed=9, decoder=DDIM, output=OUTPUT)


async def test_generate_encodes_the_caption_once_as_it_is_and_gives_every_stage_the_images_seed() -> None:
    stages = RecordingStages()
    events = await run(lambda queue: generate(generate_plan((7, 8)), stages, NOTHING, queue))
    assert stages.captions == [["a cat"]]
    assert stages.candidates == [(7, 2), (8, 2)]
    assert sorted(task.seed for task in stages.upsampled) == [7, 8]
    for task in stages.decoded:
        assert task.embedding.values[0] == task.seed
        assert task.text is not None
        assert task.start_noise is None
    assert sorted(e.image_index for e in events if isinstance(e, Finished)) == [0, 1]


async def test_a_negative_caption_takes_the_place_of_the_empty_one() -> None:
    stages = RecordingStages()
    plan = replace(generate_plan((7,)), negative_caption="before")
    await run(lambda queue: generate(plan, stages, NOTHING, queue))
    assert stages.captions == [["a cat", "before"]]
    [sampled], [decoded] = stages.sampled, stages.decoded
    for text in (sampled.unconditional_text, decoded.unconditional_text):
        assert text is not None
        assert text.embedding.values.tolist() == WORDS["before"]


async def test_edit_generates_with_what_is_kept_known_at_both_sizes() -> None:
    kept = np.ones((8, 8), np.bool_)
    kept[3, 6] = False
    subject = Subject(np.full((8, 8, 3), 51, np.uint8), kept)
    plan = EditPlan(generate_plan((7, 8)), subject, (SOURCE,), resampling=3)
    stages = RecordingStages()
    events = await run(lambda queue: edit(plan, (4, 4), stages, NOTHING, queue))
    assert stages.captions == [["a cat"]]
    assert stages.candidates == [(7, 2), (8, 2)]
    assert sorted(e.image_index for e in events if isinstance(e, Finished)) == [0, 1]
    for decoded, upsampled in zip(stages.decoded, stages.upsampled, strict=True):
        base, final = decoded.known, upsampled.known
        assert base is not None
        assert final is not None
        assert base.resampling == final.resampling == 3
        assert np.argwhere(~base.mask).tolist() == [[1, 3]]
        assert np.argwhere(~final.mask).tolist() == [[3, 6]]
        assert base.pixels[:, base.mask] == pytest.approx(51 / 127.5 - 1)
        assert final.pixels[:, final.mask] == pytest.approx(51 / 127.5 - 1)


async def test_without_an_edit_nothing_is_known() -> None:
    stages = RecordingStages()
    await run(lambda queue: generate(generate_plan((7,)), stages, NOTHING, queue))
    assert stages.decoded[0].known is stages.upsampled[0].known is None


async def test_images_of_one_request_are_at_work_at_the_same_time() -> None:
    stages = RecordingStages()
    await run(lambda queue: generate(generate_plan(tuple(range(6))), stages, NOTHING, queue))
    assert stages.most_decoding == 6


async def test_progress_of_an_image_comes_before_the_image() -> None:
    events = await run(lambda queue: generate(generate_plan((1, 2)), RecordingStages(), NOTHING, queue))
    for index in (0, 1):
        mine = [e for e in events if isinstance(e, Progress | Preview | Finished) and e.image_index == index]
        assert isinstance(mine[-1], Finished)
        assert any(isinstance(e, Progress) and e.stage == "decoder" for e in mine[:-1])


async def test_one_failing_image_fails_the_request() -> None:
    stages = RecordingStages(fail_seed=2)
    with pytest.raises(Overloaded):
        await run(lambda queue: generate(generate_plan((1, 2, 3)), stages, NOTHING, queue))


async def test_vary_inverts_once_with_the_decoders_steps_and_starts_every_image_there() -> None:
    stages = RecordingStages()
    await run(lambda queue: vary(vary_plan(), stages, NOTHING, queue))
    assert [task.steps for task in stages.inverted] == [DDIM.steps]
    assert sorted(task.seed for task in stages.decoded) == [5, 6]
    for task in stages.decoded:
        assert task.start_noise is X_T
        assert task.text is None
        np.testing.assert_array_equal(task.embedding.values, Z_I)


async def test_vary_from_random_noise_inverts_nothing() -> None:
    stages = RecordingStages()
    await run(lambda queue: vary(vary_plan("random"), stages, NOTHING, queue))
    assert stages.inverted == []
    assert all(task.start_noise is None for task in stages.decoded)


async def test_text_diff_rotates_the_gist_towards_the_difference_and_changes_nothing_else() -> None:
    stages = RecordingStages()
    await run(lambda queue: text_diff(diff_plan((0.0, 0.5, 1.0)), "{}", stages, NOTHING, queue))
    assert {task.seed for task in stages.decoded} == {9}
    assert all(task.start_noise is X_T for task in stages.decoded)
    still, half, full = (task.embedding.values for task in stages.decoded)
    np.testing.assert_array_equal(still, Z_I)
    # f_t(after) - f_t(before) points along the third axis, at a right angle to z_i; |z_i| = 2 is kept.
    np.testing.assert_allclose(half, 2 * normalise([1.0, 0.0, 1.0]), atol=1e-6)
    np.testing.assert_allclose(full, [0.0, 0.0, 2.0], atol=1e-6)


def interpolate_plan(ts: tuple[float, ...], *, captioned: bool = False, random: bool = False) -> InterpolatePlan:
    return InterpolatePlan(
        SOURCE,
        None if captioned else SourceImage(b"other", "e"),
        "after" if captioned else "",
        ts,
        start="random" if random else "inverted",
        seed=9,
        candidates=2,
        prior=DDIM,
        decoder=DDIM,
        output=OUTPUT,
    )


async def test_interpolate_inverts_both_pictures_and_mixes_their_pairs() -> None:
    stages = RecordingStages(embeddings={b"other": np.array([0.0, 4.0, 0.0], np.float32)}, noises={b"other": -X_T})
    await run(lambda queue: interpolate(interpolate_plan((0.0, 0.5, 1.0)), stages, NOTHING, queue))
    tasks = {t: task for task, t in zip(stages.decoded, (0.0, 0.5, 1.0), strict=True)}
    assert [task.steps for task in stages.inverted] == [5, 5]
    assert tasks[0.0].embedding.values.tolist() == Z_I.tolist()
    assert tasks[1.0].embedding.values.tolist() == [0.0, 4.0, 0.0]
    assert tasks[0.5].embedding.values == pytest.approx(3 / np.sqrt(2) * np.array([1.0, 1.0, 0.0]), abs=1e-6)
    assert tasks[0.0].start_noise is not None
    assert tasks[1.0].start_noise is not None
    assert (tasks[0.0].start_noise == X_T).all()
    assert (tasks[1.0].start_noise == -X_T).all()
    assert {task.seed for task in stages.decoded} == {9}


async def test_interpolate_to_a_caption_samples_the_prior_once_and_keeps_the_pictures_noise() -> None:
    stages = RecordingStages()
    await run(lambda queue: interpolate(interpolate_plan((0.0, 1.0), captioned=True), stages, NOTHING, queue))
    assert stages.captions == [["after"]]
    assert stages.candidates == [(9, 2)]
    assert [task.steps for task in stages.inverted] == [5]
    assert [task.embedding.values.tolist() for task in stages.decoded] == [Z_I.tolist(), [9.0, 9.0, 9.0]]
    assert all(task.start_noise is X_T for task in stages.decoded)


async def test_interpolate_from_random_noise_inverts_nothing() -> None:
    stages = RecordingStages()
    await run(lambda queue: interpolate(interpolate_plan((0.5,), random=True), stages, NOTHING, queue))
    assert stages.inverted == []
    assert [task.start_noise for task in stages.decoded] == [None]


def psnrs(events: list[Event]) -> list[float | None]:
    return [event.inversion_psnr for event in events if isinstance(event, Finished)]


async def test_the_inversion_is_measured_only_when_asked_for() -> None:
    stages = RecordingStages(psnrs={SOURCE.data: 31.5})
    varied, diffed = replace(vary_plan(), report_psnr=True), replace(diff_plan((0.1, 0.2)), report_psnr=True)
    assert psnrs(await run(lambda queue: vary(varied, stages, NOTHING, queue))) == [31.5, 31.5]
    assert psnrs(await run(lambda queue: text_diff(diffed, "{}", stages, NOTHING, queue))) == [31.5, 31.5]
    assert psnrs(await run(lambda queue: vary(vary_plan(), stages, NOTHING, queue))) == [None, None]


async def test_of_two_inversions_the_worse_is_told() -> None:
    stages = RecordingStages(psnrs={SOURCE.data: 31.5, b"other": 28.0})
    plan = replace(interpolate_plan((0.1, 0.9)), report_psnr=True)
    assert psnrs(await run(lambda queue: interpolate(plan, stages, NOTHING, queue))) == [28.0, 28.0]
    captioned = replace(interpolate_plan((0.1,), captioned=True), report_psnr=True)
    assert psnrs(await run(lambda queue: interpolate(captioned, stages, NOTHING, queue))) == [31.5]


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_between_equal_arrays_lies_that_array(t: float) -> None:
    assert between(X_T, X_T.copy(), t).tobytes() == X_T.tobytes()


def test_between_noises_keeps_their_shape_and_their_length() -> None:
    one, other = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    half = between(one, other, 0.5)
    assert half.shape == one.shape
    assert np.linalg.norm(half) == pytest.approx((np.linalg.norm(one) + np.linalg.norm(other)) / 2, rel=1e-5)
    assert np.linalg.norm(half) > 1.3 * np.linalg.norm((one + other) / 2)  # a straight mixture would be too short


async def test_text_diff_of_a_caption_with_itself_reconstructs_at_any_theta() -> None:
    stages = RecordingStages()
    await run(lambda queue: text_diff(diff_plan((0.0, 0.7), after="before"), "{}", stages, NOTHING, queue))
    assert stages.captions == [["before"]]
    for task in stages.decoded:
        np.testing.assert_array_equal(task.embedding.values, Z_I)


async def test_text_diff_puts_captions_into_the_checkpoints_template() -> None:
    stages = RecordingStages()
    await run(lambda queue: text_diff(diff_plan((0.5,)), "a photo of {}", stages, NOTHING, queue))
    assert stages.captions == [["a photo of before", "a photo of after"]]


async def test_text_diff_of_many_frames_leaves_room_in_the_queues() -> None:
    stages = RecordingStages()
    await run(lambda queue: text_diff(diff_plan((0.1,) * 40), "{}", stages, NOTHING, queue))
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
