"""A message that is served, for every method of every service of a cluster."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import Message

from tests.contract.requests import image, noise, picture
from tests.drill.cluster import Cluster
from tests.tiny import BASE
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2

CAPTION = "a red cat"


async def sound_requests(running: Cluster) -> Mapping[str, Message]:
    """By the full name of the message. The encoder is asked for what the others take."""
    [encoder] = running.of("encoder")
    async with grpc.aio.insecure_channel(f"{encoder.address}:{running.ports['encoder']}") as channel:
        asked = encoder_pb2.EncodeTextRequest(captions=[CAPTION, ""])
        answer = await encoder_pb2_grpc.EncoderServiceStub(channel).EncodeText(asked, timeout=30)
    text, empty = answer.encodings
    source = image(picture())
    generate = gateway_pb2.GenerateRequest(caption=CAPTION, seed=1)
    vary = gateway_pb2.VaryRequest(image=source, seed=1)
    diff = gateway_pb2.TextDiffRequest(image=source, before=CAPTION, after="a dog", seed=1)
    requests: list[Message] = [
        asked,
        encoder_pb2.EncodeImageRequest(images=[source]),
        encoder_pb2.GetModelInfoRequest(),
        prior_pb2.SampleRequest(text=text, unconditional_text=empty, seed=1),
        prior_pb2.GetModelInfoRequest(),
        decoder_pb2.DecodeRequest(embedding=text.embedding, text=text, unconditional_text=empty, seed=1),
        decoder_pb2.InvertRequest(image=source, embedding=text.embedding, unconditional_text=empty, steps=2),
        decoder_pb2.GetModelInfoRequest(),
        upsampler_pb2.UpsampleRequest(sample=noise(BASE), seed=1),
        upsampler_pb2.UpsamplerServiceGetModelInfoRequest(),
        generate,
        vary,
        diff,
        gateway_pb2.EditRequest(image=source, mask=image(picture("black")), caption=CAPTION, seed=1),
        gateway_pb2.InterpolateRequest(image=source, to_caption="a dog", seed=1),
        gateway_pb2.EmbedRequest(captions=[CAPTION], images=[source]),
        gateway_pb2.GetModelInfoRequest(),
        gateway_pb2.StreamRequest(vary=vary),
    ]
    return {request.DESCRIPTOR.full_name: request for request in requests}
