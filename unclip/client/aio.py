"""The asyncio client of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar

import grpc

from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.client.blocking import DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Metadata, bearer, call_metadata
from unclip.client.failover import Failover
from unclip.client.receiving import embeddings_of, generated_images, model_info_of
from unclip.client.recipes import complete, require_maker, require_model
from unclip.client.sending import embed_message, stream_message
from unclip.client.values import (
    DEFAULTS,
    Edit,
    Embeddings,
    Event,
    FileFormat,
    Fit,
    Generate,
    GeneratedImage,
    Interpolate,
    ModelInfo,
    Picture,
    Recipe,
    Request,
    Sampling,
    TextDiff,
    Vary,
)
from unclip.errors import Cancelled
from unclip.serving.channels import open_channel
from unclip.serving.error_table import from_rpc_error
from unclip.serving.tls import Tls
from unclip.wire.embeddings import Embedding

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class AsyncClient:
    """Calls a gateway from asyncio. Make it inside the running loop.

    Every method raises an error of ``unclip.errors``; see ``Client``. Cancelling the task that awaits a method
    cancels the work.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        metadata: Metadata = (),
        tls: Tls | None = None,
        api_key: str = "",
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """``target``: ``host:port``. ``timeout``: seconds for each call. ``metadata``: sent with each call.
        ``tls``: how to speak TLS, None for plaintext. ``api_key``: for a gateway that wants one; over plaintext
        everybody on the way can read it.
        ``channel``: used, and left open, instead of one of the client's own to ``target``."""
        self._channel: grpc.aio.Channel = open_channel(target, tls=tls) if channel is None else channel
        self._owns_channel = channel is None
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._timeout = timeout
        self._metadata = (*metadata, *bearer(api_key))

    async def generate(
        self,
        caption: str = "",
        *,
        seed: int | None = None,
        image_count: int | None = None,
        prior_candidates: int | None = None,
        prior: Sampling = DEFAULTS,
        decoder: Sampling = DEFAULTS,
        upsampler: Sampling = DEFAULTS,
        format: FileFormat = "png",
        negative_caption: str = "",
        candidates: int | None = None,
        embedding: Embedding | None = None,
    ) -> list[GeneratedImage]:
        """Pictures of ``caption``, of ``embedding``, or of both; the options are those of ``Generate``."""
        request = Generate(
            caption,
            seed,
            image_count,
            prior_candidates,
            prior,
            decoder,
            upsampler,
            format,
            negative_caption,
            candidates,
            embedding,
        )
        return generated_images((await self._call(self._stub.Generate, stream_message(request).generate)).images)

    async def vary(
        self,
        image: Picture,
        *,
        seed: int | None = None,
        image_count: int | None = None,
        eta: float | None = None,
        start: Literal["inverted", "random"] = "inverted",
        decoder: Sampling = DEFAULTS,
        upsampler: Sampling = DEFAULTS,
        format: FileFormat = "png",
        fit: Fit = "crop",
        report_psnr: bool = False,
    ) -> list[GeneratedImage]:
        """Variations of ``image``; the options are those of ``Vary``."""
        request = Vary(image, seed, image_count, eta, start, decoder, upsampler, format, fit, report_psnr)
        message = (await asyncio.to_thread(stream_message, request)).vary
        return generated_images((await self._call(self._stub.Vary, message)).images)

    async def text_diff(
        self,
        image: Picture,
        before: str,
        after: str,
        *,
        thetas: Sequence[float] = (),
        seed: int | None = None,
        decoder: Sampling = DEFAULTS,
        upsampler: Sampling = DEFAULTS,
        format: FileFormat = "png",
        fit: Fit = "crop",
        report_psnr: bool = False,
    ) -> list[GeneratedImage]:
        """``image`` changed from ``before`` to ``after``, one picture per theta; the options are ``TextDiff``'s."""
        request = TextDiff(image, before, after, thetas, seed, decoder, upsampler, format, fit, report_psnr)
        message = (await asyncio.to_thread(stream_message, request)).text_diff
        return generated_images((await self._call(self._stub.TextDiff, message)).images)

    async def interpolate(
        self,
        image: Picture,
        to: Picture | None = None,
        *,
        to_caption: str = "",
        ts: Sequence[float] = (),
        seed: int | None = None,
        start: Literal["inverted", "random"] = "inverted",
        prior: Sampling = DEFAULTS,
        decoder: Sampling = DEFAULTS,
        upsampler: Sampling = DEFAULTS,
        format: FileFormat = "png",
        fit: Fit = "crop",
        report_psnr: bool = False,
    ) -> list[GeneratedImage]:
        """Frames from ``image`` to another picture or a caption, one per t; the options are ``Interpolate``'s."""
        request = Interpolate(
            image, to, to_caption, ts, seed, start, prior, decoder, upsampler, format, fit, report_psnr
        )
        message = (await asyncio.to_thread(stream_message, request)).interpolate
        return generated_images((await self._call(self._stub.Interpolate, message)).images)

    async def edit(
        self,
        image: Picture,
        caption: str,
        mask: Picture | None = None,
        *,
        negative_caption: str = "",
        seed: int | None = None,
        image_count: int | None = None,
        prior_candidates: int | None = None,
        prior: Sampling = DEFAULTS,
        decoder: Sampling = DEFAULTS,
        upsampler: Sampling = DEFAULTS,
        format: FileFormat = "png",
        resampling: int | None = None,
        fit: Fit = "crop",
        candidates: int | None = None,
    ) -> list[GeneratedImage]:
        """``image`` repainted where ``mask``, or else its alpha, says; the options are those of ``Edit``."""
        request = Edit(
            image,
            caption,
            mask,
            negative_caption,
            seed,
            image_count,
            prior_candidates,
            prior,
            decoder,
            upsampler,
            format,
            resampling,
            fit,
            candidates,
        )
        message = (await asyncio.to_thread(stream_message, request)).edit
        return generated_images((await self._call(self._stub.Edit, message)).images)

    async def replay(
        self, recipe: Recipe, sources: Sequence[Picture] = (), *, any_model: bool = False
    ) -> GeneratedImage:
        """The picture of ``recipe`` made again; see ``Client.replay``."""
        request = await asyncio.to_thread(complete, recipe, sources)
        if not any_model:
            require_model(recipe, await self.model_info())
        [picture] = [event async for event in self.stream(request) if isinstance(event, GeneratedImage)]
        return picture if any_model else require_maker(recipe, picture)

    async def embed(
        self, captions: Sequence[str] = (), images: Sequence[Picture] = (), *, fit: Fit = "crop"
    ) -> Embeddings:
        """CLIP embeddings of at most 64 captions and 16 pictures; ``fit`` as in ``Vary``."""
        message = await asyncio.to_thread(embed_message, captions, images, fit)
        return embeddings_of(await self._call(self._stub.Embed, message))

    async def model_info(self) -> ModelInfo:
        """What the stack has loaded and can do."""
        return model_info_of(await self._call(self._stub.GetModelInfo, gateway_pb2.GetModelInfoRequest()))

    async def stream(self, request: Request, *, preview_interval: int = 0) -> AsyncGenerator[Event, None]:
        """Runs ``request``, yielding progress, previews and each picture as it is finished.

        Where the gateway is lost meanwhile, another one goes on; see ``unclip.client.failover``.
        Closing the generator early cancels the work: leave the loop through ``contextlib.aclosing``.
        ``preview_interval``: decoder steps between previews, 0 for none.
        """
        asked = Failover(await asyncio.to_thread(stream_message, request, preview_interval), self._timeout)
        metadata = call_metadata(self._metadata)
        while True:
            call = self._stub.Stream(asked.message, timeout=asked.seconds_left, metadata=metadata)
            try:
                async for answer in call:
                    if (event := asked.news(answer)) is not None:
                        yield event
                return
            except grpc.aio.AioRpcError as error:
                if not asked.again(failure := from_rpc_error(error, "gateway")):
                    raise failure from error
            except asyncio.CancelledError:
                if being_cancelled():
                    raise
                if not asked.again(dropped := Cancelled("the gateway dropped the call")):
                    raise dropped from None
            finally:
                call.cancel()

    async def close(self) -> None:
        """Closes the channel, if it is the client's own."""
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: grpc.aio.UnaryUnaryMultiCallable[Question, Answer], question: Question) -> Answer:
        """The answer to ``question``. Raises UnclipError."""
        try:
            return await method(question, timeout=self._timeout, metadata=call_metadata(self._metadata))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "gateway") from error
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            raise Cancelled("the gateway dropped the call") from None


def being_cancelled() -> bool:
    """Whether somebody cancels this task. If not, a CancelledError is grpc.aio's word for a call the server dropped."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
