"""The blocking client of the gateway. Generated from aio.py by `make protos`; never edited by hand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

import grpc

from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.client.answers import Embeddings, Event, GeneratedImage, ModelInfo, Recipe
from unclip.client.calling import (
    DEFAULT_TIMEOUT_S,
    FAILURES,
    Calls,
    LazyChannel,
    Metadata,
    described,
)
from unclip.client.failover import Failover
from unclip.client.messages import (
    embed_message,
    embeddings_of,
    generated_images,
    model_info_of,
    stream_message,
)
from unclip.client.recipes import complete, require_maker, require_model
from unclip.client.values import Edit, Embed, Fit, Generate, Interpolate, Picture, Request, TextDiff, Vary
from unclip.serving.channels import open_sync_channel
from unclip.serving.tls import Tls

Asked = ParamSpec("Asked")


def request_method(
    kind: Callable[Asked, Request],
) -> Callable[Concatenate[Client, Asked], list[GeneratedImage]]:
    """The method that asks for the pictures of a ``kind``: it takes what ``kind`` takes."""

    def make(self: Client, /, *args: Asked.args, **options: Asked.kwargs) -> list[GeneratedImage]:
        return self.make(kind(*args, **options))

    return described(make, kind)


class Client:
    """Calls a gateway and waits; threads may share one.

    Every method raises an error of ``unclip.errors``, which has the call's ``request_id``: InvalidRequest lists each
    broken rule, Overloaded says when to come back, Unavailable names the stage that is missing.

    The channel is opened by the first call.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        metadata: Metadata = (),
        tls: Tls | None = None,
        api_key: str | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        """``target``: ``host:port``, None for that of the variable UNCLIP_SERVER, or else 127.0.0.1:50050.
        ``timeout``: seconds for each call. ``metadata``: sent with each call. ``tls``: how to speak TLS, None for
        plaintext. ``api_key``: for a gateway that wants one, None for that of UNCLIP_API_KEY; over plaintext everybody
        on the way can read it.
        ``channel``: used, and left open, instead of one of the client's own to ``target``.

        Raises:
            ConfigurationError: the target is malformed.
            InvalidRequest: another argument is."""
        self._calls = Calls(target, tls, timeout, metadata, api_key)
        self._given = channel
        self._opened = LazyChannel(lambda: open_sync_channel(self._calls.target, tls=tls))

    generate = request_method(Generate)
    vary = request_method(Vary)
    text_diff = request_method(TextDiff)
    interpolate = request_method(Interpolate)
    edit = request_method(Edit)

    def make(self, request: Request) -> list[GeneratedImage]:
        """The pictures of ``request``, in order of image_index."""
        message = stream_message(request)
        kind = message.WhichOneof("request") or ""
        method = getattr(self._stub, "".join(word.title() for word in kind.split("_")))
        with self._calls.call() as how:
            return generated_images(method(getattr(message, kind), **how))

    def replay(self, recipe: Recipe, sources: Sequence[Picture] = (), *, any_model: bool = False) -> GeneratedImage:
        """The picture of ``recipe`` made again; see ``read_recipe``.

        sources: the pictures it began with, in any order, found by their sha256. any_model: also where the server has
        another model than the one that made it, which then makes another picture.

        Raises:
            InvalidRequest: a source is missing.
            PreconditionFailed: the server has another model.
        """
        request = complete(recipe, sources)
        if not any_model:
            require_model(recipe, self.model_info())
        [picture] = [event for event in self.stream(request) if isinstance(event, GeneratedImage)]
        return picture if any_model else require_maker(recipe, picture)

    def embed(self, captions: Sequence[str] = (), images: Sequence[Picture] = (), *, fit: Fit = "crop") -> Embeddings:
        """CLIP embeddings of at most 64 captions and 16 pictures; ``fit`` as in ``Vary``."""
        message = embed_message(Embed(captions, images, fit=fit))
        with self._calls.call() as how:
            return embeddings_of(self._stub.Embed(message, **how))

    def model_info(self, *, vocabulary: bool = False) -> ModelInfo:
        """What the stack has loaded and can do, and with ``vocabulary`` what it was taught to draw."""
        request = gateway_pb2.GetModelInfoRequest(vocabulary=vocabulary)
        with self._calls.call() as how:
            return model_info_of(self._stub.GetModelInfo(request, **how))

    def stream(self, request: Request, *, preview_interval: int = 0) -> Generator[Event, None]:
        """Runs ``request``, yielding progress, previews and each picture as it is finished.

        Where the gateway is lost meanwhile, another one goes on; see ``unclip.client.failover``.
        Closing the generator early cancels the work.
        ``preview_interval``: decoder steps between previews, 0 for none.
        """
        message = stream_message(request, preview_interval)
        with closing(self._answers(message)) as answers:
            for _, event in answers:
                yield event

    def _answers(self, message: gateway_pb2.StreamRequest) -> Generator[tuple[gateway_pb2.StreamResponse, Event], None]:
        """What the gateway answers, each time with the event that it is."""
        asked = Failover(message, self._calls.timeout)
        with self._calls.call() as how:
            while True:
                call = self._stub.Stream(asked.message, **{**how, "timeout": asked.seconds_left})
                try:
                    for answer in call:
                        if (event := asked.new_event(answer)) is not None:
                            yield answer, event
                    return
                except FAILURES as error:
                    if not asked.may_restart(self._calls.failure_of(error)):
                        raise
                finally:
                    call.cancel()

    def close(self) -> None:
        """Closes the channel, if it is the client's own."""
        if (channel := self._opened.take()) is not None:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _stub(self) -> Any:
        return gateway_pb2_grpc.GatewayServiceStub(self._opened.get() if self._given is None else self._given)
