"""Typed clients of the stages: plain values in, plain values out, every failure one of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from gateway.admission.concurrency import RequestLimits, SharedLimiters
from gateway.admission.control import Ticket
from gateway.admission.workload import SAMPLING_STAGES
from gateway.events import Reporter
from gateway.stages.answers import PIXELS, Answer, Final, StageProgress, final, require_count, sample_from
from gateway.stages.calls import Call, with_retries
from gateway.stages.circuit_breaker import CircuitBreaker
from gateway.stages.strays import StrayAnswer, Strays
from gateway.stages.text_cache import TextCache
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import image_pb2, model_info_pb2
from unclip.enum_names import StageName
from unclip.errors import DeadlineExceeded, Overloaded, PreconditionFailed
from unclip.options import ServiceName
from unclip.serving.error_table import from_rpc_error
from unclip.serving.load_report import Cost
from unclip.wire.embeddings import Embedding, TextEncoding, text_encodings
from unclip.wire.images import MAX_BYTES
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, Inversion, InvertTask, SampleTask, UpsampleTask

MAX_ENCODED = 16  # pictures in one EncodeImage
VERSIONED = ("fast", "clip_space")  # of what replicas of one version take or refuse alike, the subjects of a refusal

Request = (
    prior_pb2.SampleRequest | decoder_pb2.DecodeRequest | decoder_pb2.InvertRequest | upsampler_pb2.UpsampleRequest
)
Encoded = TypeVar("Encoded", encoder_pb2.EncodeTextResponse, encoder_pb2.EncodeImageResponse)


class Clients:
    """One client per service, each over a channel of its own, and what is known of each; all calls share them.

    versions: of the models that may answer, as `Releases` has them. channel_versions: by which they are reached, see
    `channel_versions_of`.
    """

    def __init__(
        self,
        channels: Mapping[ServiceName, grpc.aio.Channel],
        versions: Mapping[ServiceName, str],
        channel_versions: Mapping[ServiceName, str],
        breakers: Mapping[ServiceName, CircuitBreaker],
    ) -> None:
        self.encoder = encoder_pb2_grpc.EncoderServiceStub(channels["encoder"])
        self.prior = prior_pb2_grpc.PriorServiceStub(channels["prior"])
        self.decoder = decoder_pb2_grpc.DecoderServiceStub(channels["decoder"])
        self.upsampler = upsampler_pb2_grpc.UpsamplerServiceStub(channels["upsampler"])
        self.versions, self.breakers = versions, breakers
        self.strays: Mapping[ServiceName, Strays] = {service: Strays(service) for service in channels}
        self.unversioned = frozenset(service for service, version in channel_versions.items() if not version)


class CallStages:
    """The stages as one call sees them: see ``gateway.capabilities.compose.Stages``, which this is.

    made_by: the version of each stage that has answered so far, as its answers say.
    """

    def __init__(
        self,
        clients: Clients,
        call: Call,
        watched: bool = True,
        texts: TextCache | None = None,
        ticket: Ticket | None = None,
        limits: RequestLimits | None = None,
        ignores_text: bool = False,
    ) -> None:
        """``watched``: somebody wants to know of progress. ``texts``: captions met before, if they may be used.
        ``ticket``: what the call was admitted for; without one it is asked for no more than encodings. ``limits``: what
        its calls wait for. ``ignores_text``: the decoder is guided by embeddings alone."""
        self._clients = clients
        self._call = call
        self._omit = not watched
        self._texts = texts
        self.made_by: dict[ServiceName, str] = {}
        self._ticket = ticket
        self._limits = limits or RequestLimits({}, clients.versions, call.client, SharedLimiters())
        self._ignores_text, self._null_asked = ignores_text, asyncio.Lock()

    async def encode_text(self, captions: Sequence[str]) -> list[TextEncoding]:
        """f_t of 1 to 64 captions."""
        if self._texts is None:
            return await self._encode_uncached(captions)
        version = self._clients.versions["encoder"]
        encodings = await self._texts.encode(captions, version, self._encode_uncached)
        self.made_by["encoder"] = version  # also where all of them had been kept
        return encodings

    async def _encode_uncached(self, captions: Sequence[str]) -> list[TextEncoding]:
        request = encoder_pb2.EncodeTextRequest(captions=captions)

        async def attempt(seconds: float) -> list[TextEncoding]:
            answer = await self._call_encoder(
                lambda: self._clients.encoder.EncodeText(request, timeout=seconds, metadata=self._call.metadata)
            )
            return require_count(text_encodings(answer), len(captions), "encoder")

        return await self._with_retries(attempt, "encoder")

    async def vocabulary(self) -> model_info_pb2.Vocabulary | None:
        """What the encoder, which reads captions, says that it was taught; None where it does not say."""
        request = encoder_pb2.GetModelInfoRequest(vocabulary=True)

        async def attempt(seconds: float) -> model_info_pb2.Vocabulary | None:
            model = (
                await self._clients.encoder.GetModelInfo(request, timeout=seconds, metadata=self._call.metadata)
            ).model
            self._record_version("encoder", model.version)
            return model.vocabulary if model.HasField("vocabulary") else None

        return await self._with_retries(attempt, "encoder")

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        """f_i of picture files, in as many requests as their number and size ask for."""
        embeddings: list[Embedding] = []
        for batch in batches(images, MAX_BYTES, MAX_ENCODED):
            request = encoder_pb2.EncodeImageRequest(images=[image_pb2.Image(data=data) for data in batch])

            async def attempt(
                seconds: float, request: encoder_pb2.EncodeImageRequest = request, count: int = len(batch)
            ) -> list[Embedding]:
                answer = await self._call_encoder(
                    lambda: self._clients.encoder.EncodeImage(request, timeout=seconds, metadata=self._call.metadata)
                )
                return require_count(
                    [Embedding.from_proto(e, "embeddings") for e in answer.embeddings], count, "encoder"
                )

            embeddings += await self._with_retries(attempt, "encoder")
        return embeddings

    async def null_picture(self) -> Embedding:
        """f_i of the null picture, for which several pictures at once ask but once."""
        async with self._null_asked:
            if self._texts is None:
                return await self._encode_null_picture()
            version = self._clients.versions["encoder"]
            return await self._texts.null_picture(version, self._encode_null_picture)

    async def _encode_null_picture(self) -> Embedding:
        request = encoder_pb2.EncodeImageRequest(null_image=True)

        async def attempt(seconds: float) -> Embedding:
            answer = await self._call_encoder(
                lambda: self._clients.encoder.EncodeImage(request, timeout=seconds, metadata=self._call.metadata)
            )
            return Embedding.from_proto(answer.null_embedding, "null_embedding")

        return await self._with_retries(attempt, "encoder")

    async def _call_encoder(self, ask: Callable[[], grpc.aio.UnaryUnaryCall[Any, Encoded]]) -> Encoded:
        call, replica = await self._clients.strays["encoder"].pass_over(ask)
        with self._clients.strays["encoder"].record_stray(replica):
            answer = await call
            self._record_version("encoder", answer.model_version)
        return answer

    async def sample_prior(self, task: SampleTask, reporter: Reporter) -> Embedding:
        """See `gateway.capabilities.compose.Stages`, here and below."""

        def result(answer: prior_pb2.SampleResponse) -> Embedding | None:
            if not answer.HasField("sampled"):
                return None
            self._record_version("prior", answer.sampled.model_version)
            return Embedding.from_proto(answer.sampled.embedding, "sampled.embedding")

        return await self._call_stage(
            "prior", self._clients.prior.Sample, task.to_proto(), result, reporter, task.candidates
        )

    async def decode(self, task: DecodeTask, reporter: Reporter) -> Float32Array:
        def result(answer: decoder_pb2.DecodeResponse) -> Float32Array | None:
            if answer.HasField("preview"):
                reporter.preview(answer.preview)
            if not answer.HasField("sample"):
                return None
            self._record_version("decoder", answer.model_version)
            return sample_from(answer.sample, "sample")

        request = (await self._as_read(task)).to_proto()
        return await self._call_stage("decoder", self._clients.decoder.Decode, request, result, reporter)

    async def _as_read(self, task: DecodeTask) -> DecodeTask:
        """``task`` as the decoder reads it: where it reads no text, with embeddings alone to be guided by."""
        if not self._ignores_text:
            return task
        away = task.unconditional_embedding
        if away is None and task.guided:
            away = await self.null_picture()
        return replace(task, text=None, unconditional_text=None, unconditional_embedding=away)

    async def invert(self, task: InvertTask, reporter: Reporter) -> Inversion:
        def result(answer: decoder_pb2.InvertResponse) -> Inversion | None:
            if not answer.HasField("start_noise"):
                return None
            self._record_version("decoder", answer.model_version)
            noise = sample_from(answer.start_noise, "start_noise")
            return Inversion(noise, answer.psnr if answer.HasField("psnr") else None)

        samples = 2 if task.report_psnr else 1
        request = (replace(task, unconditional_text=None) if self._ignores_text else task).to_proto()
        return await self._call_stage("invert", self._clients.decoder.Invert, request, result, reporter, samples)

    async def upsample(self, task: UpsampleTask, reporter: Reporter) -> Float32Array:
        def result(answer: upsampler_pb2.UpsampleResponse) -> Float32Array | None:
            if not answer.HasField("sample"):
                return None
            self._record_version("upsampler", answer.model_version)
            return sample_from(answer.sample, "sample", PIXELS)

        return await self._call_stage("upsampler", self._clients.upsampler.Upsample, task.to_proto(), result, reporter)

    async def _call_stage(
        self,
        stage: StageName,
        method: Callable[..., grpc.aio.UnaryStreamCall[Any, Answer]],
        request: Request,
        result: Callable[[Answer], Final | None],
        reporter: Reporter,
        samples: int = 1,
    ) -> Final:
        """One call of ``stage``, as often as it takes: what ``result`` makes of its last answer, None of the others.

        samples: how many it asks for.
        """
        service, ticket, progress = SAMPLING_STAGES[stage], self._ticket, StageProgress(reporter, stage)
        assert ticket is not None
        strays = self._clients.strays[service]
        request.omit_progress = self._omit

        def take(answer: Answer) -> Final | None:
            if answer.HasField("progress"):
                progress.report(answer.progress)
            return result(answer)

        def ask(seconds: float) -> grpc.aio.UnaryStreamCall[Any, Answer]:
            return method(request, timeout=seconds, metadata=self._call.metadata)

        async def attempt(seconds: float) -> Final:
            stage_call = ticket.begin(stage)
            call, replica = await strays.pass_over(lambda: ask(seconds))
            with strays.record_stray(replica), of_this_version(service):
                found = await final(call, take)
            ticket.end(stage_call, Cost.from_trailers(await call.trailing_metadata()))
            return found

        breaker = self._clients.breakers[service]
        try:
            async with self._limits.hold(service, ticket.places(stage, samples)):
                replicas = ticket.replicas(stage)
                return await with_retries(attempt, service, self._call, breaker, lambda: ticket.after(stage), replicas)
        except Overloaded as error:
            if error.reason == "OWN_WORK":  # it is no other request's: to come back later would not help
                raise DeadlineExceeded(str(error)) from error
            if error.reason == "TOO_LATE":
                ticket.refused(stage)
            raise

    def _record_version(self, service: ServiceName, version: str) -> None:
        """Notes which version has answered. Raises StrayAnswer when it is not the one that this call is served by."""
        expected = self._clients.versions[service]
        if not version and service in self._clients.unversioned:
            version = expected
        if version != expected:
            versions = f"{version[:12] or 'no version'}, not {expected[:12]}"
            raise StrayAnswer(f"the {service} was answered for by another version: {versions}")
        self.made_by[service] = version

    async def _with_retries(self, attempt: Callable[[float], Awaitable[Final]], service: ServiceName) -> Final:
        return await with_retries(attempt, service, self._call, self._clients.breakers[service])


@contextmanager
def of_this_version(service: ServiceName) -> Iterator[None]:
    """Around a call that a replica of the release would take.

    Raises:
        StrayAnswer: it was refused as one that has no student, or another CLIP, refuses it.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc_error(error, service)
        if not isinstance(refusal, PreconditionFailed) or refusal.subject.rpartition(".")[2] not in VERSIONED:
            raise
        raise StrayAnswer(f"the {service} was answered for by another version: {refusal}") from error


def batches(files: Sequence[bytes], most: int, count: int) -> list[list[bytes]]:
    """``files`` in order, cut into lists of at most ``count`` files and ``most`` bytes together."""
    cut: list[list[bytes]] = []
    size = 0
    for data in files:
        if not cut or size + len(data) > most or len(cut[-1]) == count:
            cut.append([])
            size = 0
        cut[-1].append(data)
        size += len(data)
    return cut
