"""What a running request tells, as the messages that its caller gets."""

from __future__ import annotations

from gateway.events import Finished, Preview, Progress
from gateway.requests.pictures import picture_file
from gateway.requests.plan import Plan
from gateway.requests.recipes import Maker, recipe_text_of
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.wire.by_name import PLAIN
from unclip.wire.recipe_text import write_text


def response(event: Progress | Preview) -> gateway_pb2.StreamResponse:
    """``event`` as a message."""
    match event:
        case Progress():
            return gateway_pb2.StreamResponse(progress=PLAIN.write(event, sampling_pb2.Progress()))
        case Preview():
            preview = gateway_pb2.Preview(image=event.image, image_index=event.image_index)
            return gateway_pb2.StreamResponse(preview=preview)


def generated_image(event: Finished, plan: Plan, maker: Maker, source_type: str) -> gateway_pb2.GeneratedImage:
    """The picture of ``event`` as a file with its recipe inside, and beside it, and what it is in IPTC's terms."""
    row = event.image_index if event.row is None else event.row
    written = recipe_text_of(plan, row, maker)
    return gateway_pb2.GeneratedImage(
        image=picture_file(event.pixels, plan.output.format, write_text(written), plan.output.size, source_type),
        image_index=event.image_index,
        seed=plan.seeds[row],
        model_version=written.model_version,
        stage_versions=written.stage_versions,
        recipe=written.request,
        source_digests=written.source_digests,
        score=event.score,
        inversion_psnr=event.inversion_psnr,
    )
