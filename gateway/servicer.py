"""The GatewayService: every method validates, plans, runs one composition, and encodes its events.

Unary methods are `Stream` drained: the same events, of which only the pictures are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import grpc

from gateway.admission.concurrency import RequestLimits, SharedLimiters
from gateway.admission.control import Admission, Ticket
from gateway.admission.unread import UnaryOutbox, Unread, largest_answer
from gateway.admission.workload import workload_of
from gateway.answers import generated_image, response
from gateway.capabilities.dispatch import asks_prior, capabilities_of, compose
from gateway.events import Delivery, EventQueue, Finished, Outbox, events_of
from gateway.requests.marking import Marking, Origin
from gateway.requests.plan import Plan
from gateway.requests.planning import pictures_in, plan_of, read_embed
from gateway.requests.reading import Reader
from gateway.requests.recipes import Maker
from gateway.stages.calls import Call
from gateway.stages.clients import CallStages
from gateway.stages.releases import Release, Releases
from gateway.stages.text_cache import TextCache
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.type.v1 import notice_pb2, sampling_pb2
from unclip.errors import PoisonSuspected, Unavailable, UnclipError
from unclip.options import SERVICES
from unclip.serving.budget import Budget
from unclip.serving.clients import client_of
from unclip.serving.deadlines import Deadlines, Ending
from unclip.serving.decoding import Decoding
from unclip.serving.metrics import REQUEST_RESTARTS
from unclip.serving.request_id import call_metadata
from unclip.wire.enums import STAGES
from unclip.wire.images import decode_cost
from unclip.wire.notices import Notice, profile_unusable

REQUEST_BYTES = 96 * 2**20  # of requests under way at a time, as sent; half of it for each client
SMALL_BYTES = 64 * 2**10  # of one that is not counted

Context = grpc.aio.ServicerContext[Any, Any]
Response = TypeVar(
    "Response",
    gateway_pb2.GenerateResponse,
    gateway_pb2.VaryResponse,
    gateway_pb2.TextDiffResponse,
    gateway_pb2.InterpolateResponse,
    gateway_pb2.EditResponse,
)


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """Serves the public API through ``releases``. Errors leave it as UnclipErrors."""

    def __init__(
        self,
        releases: Releases,
        texts: TextCache,
        deadlines: Deadlines,
        admission: Admission,
        decoding: Decoding,
        unread: Unread,
        marking: Marking,
    ) -> None:
        self._releases = releases
        self._texts = texts
        self._deadlines = deadlines
        self._admission = admission
        self._decoding, self._unread, self._limiters = decoding, unread, SharedLimiters()
        self._marking = marking
        self._requests = Budget("gateway", "request_bytes", REQUEST_BYTES)

    async def Generate(self, request: gateway_pb2.GenerateRequest, context: Context) -> gateway_pb2.GenerateResponse:
        """Makes pictures from a caption."""
        return await self._drain(gateway_pb2.StreamRequest(generate=request), context, gateway_pb2.GenerateResponse())

    async def Vary(self, request: gateway_pb2.VaryRequest, context: Context) -> gateway_pb2.VaryResponse:
        """Makes variations of a picture."""
        return await self._drain(gateway_pb2.StreamRequest(vary=request), context, gateway_pb2.VaryResponse())

    async def TextDiff(self, request: gateway_pb2.TextDiffRequest, context: Context) -> gateway_pb2.TextDiffResponse:
        """Changes a picture in the direction from one caption to another."""
        return await self._drain(gateway_pb2.StreamRequest(text_diff=request), context, gateway_pb2.TextDiffResponse())

    async def Interpolate(
        self, request: gateway_pb2.InterpolateRequest, context: Context
    ) -> gateway_pb2.InterpolateResponse:
        """Makes pictures between a picture and another one, or a caption."""
        return await self._drain(
            gateway_pb2.StreamRequest(interpolate=request), context, gateway_pb2.InterpolateResponse()
        )

    async def Edit(self, request: gateway_pb2.EditRequest, context: Context) -> gateway_pb2.EditResponse:
        """Repaints a part of a picture from a caption."""
        return await self._drain(gateway_pb2.StreamRequest(edit=request), context, gateway_pb2.EditResponse())

    async def Stream(
        self, request: gateway_pb2.StreamRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.StreamResponse]:
        """Runs any of the above, and sends progress, previews and each picture as it is finished."""
        ending, begun = self._deadlines.ending(context), False
        async with ending, aclosing(self._run(request, self._call(context, ending), nested=True)) as answers:
            async for answer in answers:
                if not begun:  # so that a status can follow an answer that is not taken
                    with ending.beginning():
                        await context.send_initial_metadata(())
                    begun = True
                with ending.writing():
                    yield answer

    def _call(self, context: Context, ending: Ending) -> Call:
        """The bounds of the call behind ``context``."""
        return Call(ending.deadline, call_metadata(context), client_of(context))

    async def _drain(self, request: gateway_pb2.StreamRequest, context: Context, response: Response) -> Response:
        """``response`` with the pictures of ``request``, in order of image_index, and what is to be known of them."""
        pictures, notices = dict[int, gateway_pb2.GeneratedImage](), list[notice_pb2.Notice]()
        ending = self._deadlines.ending(context)
        async with ending, aclosing(self._run(request, self._call(context, ending), nested=False)) as answers:
            async for answer in answers:  # where the request begins anew, what it had made and told before is left
                if answer.HasField("image"):
                    pictures[answer.image.image_index] = answer.image
                elif answer.HasField("notice") and answer.notice not in notices:
                    notices.append(answer.notice)
        response.images.extend(picture for _, picture in sorted(pictures.items()))
        response.notices.extend(notices)
        return response

    async def _plan(self, request: gateway_pb2.StreamRequest, call: Call, read: Callable[[], Plan]) -> Plan:
        """What ``read`` makes of a request: beside other calls, and where pictures come with it in their turn."""
        # 0: no picture, or none that its header allows to be decoded.
        if not (pixels := decode_cost(pictures_in(request))):
            return await asyncio.to_thread(read)
        with self._decoding.admitted(pixels, call.client) as admitted:
            return await admitted.run(read)

    async def _run(
        self, request: gateway_pb2.StreamRequest, call: Call, nested: bool
    ) -> AsyncGenerator[gateway_pb2.StreamResponse, None]:
        """As `_run_released`, while there is room for the request itself, which is kept until its call has ended."""
        with self._requests.held(large_bytes(request), call.client):
            async with aclosing(self._run_released(request, call, nested)) as answers:
                async for answer in answers:
                    yield answer

    async def _run_released(
        self, request: gateway_pb2.StreamRequest, call: Call, nested: bool
    ) -> AsyncGenerator[gateway_pb2.StreamResponse, None]:
        """Serves ``request`` by one release; by another from the beginning where that one's replicas are gone and
        no picture is with the caller yet. nested: whether the caller has each answer at once."""
        await self._marking.require_current()
        delivered = reserved = False
        while True:
            async with self._releases.serving(call) as release:
                breakers = release.clients.breakers
                for service in SERVICES:
                    if service != "prior":
                        breakers[service].check()
                plan = await self._plan(request, call, partial(plan_of, request, release.info, nested))
                origin = await self._marking.origin(plan, pictures_in(request))
                if not nested and not reserved:
                    files = plan.output.filed(release.info.side(sampling_pb2.STAGE_UPSAMPLER))
                    largest = largest_answer(plan, files, self._marking.largest(origin))
                    self._unread.reserve(largest, call.client)
                    reserved = True
                for capability in capabilities_of(plan):
                    release.info.require(capability)
                if asks_prior(plan):
                    breakers["prior"].check()
                workload = workload_of(plan, lambda service: release.info.max_batch(STAGES.numbers[service]))
                ticket = self._admission.enter(workload, call.deadline, call.client)
                try:
                    with ticket:
                        async with aclosing(self._serve(plan, origin, call, release, ticket, nested)) as answers:
                            async for answer in answers:
                                delivered = delivered or (nested and answer.HasField("image"))
                                yield answer
                    return
                except PoisonSuspected:  # not to be tried on other replicas
                    raise
                except Unavailable:
                    if not await self._releases.moved_from(release, call) or delivered:
                        raise
            REQUEST_RESTARTS.inc()

    async def _serve(
        self, plan: Plan, origin: Origin, call: Call, release: Release, ticket: Ticket, watched: bool
    ) -> AsyncGenerator[gateway_pb2.StreamResponse, None]:
        """Runs the composition of ``plan`` on the stages of ``release``, and encodes its events."""
        places = {service: release.info.places(STAGES.numbers[service]) for service in SERVICES}
        limits = RequestLimits(places, release.versions, call.client, self._limiters, self._admission.devices)
        stages = CallStages(release.clients, call, watched, self._texts, ticket, limits, release.info.ignores_text)
        [unconditional] = await stages.encode_text([""])
        prefix = f"{plan.request.WhichOneof('request')}." if watched else ""  # of the fields of what was sent

        async def work(queue: EventQueue) -> None:
            for notice in plan.notices:
                queue.tell(notice)
            await compose(plan, release.info, stages, unconditional, queue)

        def write(event: Finished) -> gateway_pb2.StreamResponse:
            maker = Maker.of(release.versions, stages.made_by)
            made = generated_image(event, plan, maker, self._marking.in_file(origin))
            self._marking.sign(made.image, origin, maker.version)
            return gateway_pb2.StreamResponse(image=made)

        def outbox(end: Callable[[UnclipError], None]) -> Outbox:
            return self._unread.stream(call.client, write, end) if watched else UnaryOutbox(write)

        async with aclosing(events_of(work, outbox)) as events:
            async for event in events:
                if isinstance(event, Delivery):
                    yield event.answer
                elif isinstance(event, Notice):
                    yield gateway_pb2.StreamResponse(notice=replace(event, field=prefix + event.field).to_proto())
                elif not isinstance(event, Finished):
                    yield response(event)

    async def Embed(self, request: gateway_pb2.EmbedRequest, context: Context) -> gateway_pb2.EmbedResponse:
        """Gives the CLIP embeddings of captions and pictures."""
        reader = Reader()
        readers = read_embed(request, reader)
        async with self._deadlines.ending(context) as ending:
            call = self._call(context, ending)
            held, cost = self._requests.held(large_bytes(request), call.client), sum(cost for cost, _ in readers)
            with held, self._decoding.admitted(cost, call.client) as admitted:
                sources = await reader.collect(admitted.each(readers))
                reader.done()
                while True:
                    async with self._releases.serving(call) as release:
                        if request.captions:
                            release.info.require_captions()
                        stages = CallStages(release.clients, call)
                        try:
                            encodings = await stages.encode_text(request.captions) if request.captions else []
                            embeddings = await stages.encode_images([source.data for source in sources])
                            break
                        except PoisonSuspected:
                            raise
                        except Unavailable:
                            if not await self._releases.moved_from(release, call):
                                raise
                    REQUEST_RESTARTS.inc()
        told = [f"images[{index}]" for index, source in enumerate(sources) if source.unusable_profile]
        notices = [*(notice for encoding in encodings for notice in encoding.notices), *map(profile_unusable, told)]
        return gateway_pb2.EmbedResponse(
            captions=[encoding.embedding.to_proto() for encoding in encodings],
            images=[embedding.to_proto() for embedding in embeddings],
            notices=[notice.to_proto() for notice in notices],
        )

    async def GetModelInfo(
        self, request: gateway_pb2.GetModelInfoRequest, context: Context
    ) -> gateway_pb2.GetModelInfoResponse:
        """Says what the stack has loaded and can do."""
        async with self._deadlines.ending(context) as ending:
            call = self._call(context, ending)
            answer = gateway_pb2.GetModelInfoResponse(model=(await self._releases.info(call)).model)
            if request.vocabulary:
                async with self._releases.serving(call) as release:
                    if (taught := await CallStages(release.clients, call).vocabulary()) is not None:
                        answer.model.vocabulary.CopyFrom(taught)
        answer.replicas.extend(self._releases.replicas())
        return answer


def large_bytes(request: gateway_pb2.StreamRequest | gateway_pb2.EmbedRequest) -> int:
    """The bytes of ``request``, if they are worth counting."""
    size = request.ByteSize()
    return size if size > SMALL_BYTES else 0
