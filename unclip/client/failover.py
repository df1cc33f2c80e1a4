"""A stream that its gateway did not bring to its end is begun anew with another one, and goes on where it was.

The same seed makes the same pictures wherever it is asked for, so that what the caller has had is not delivered twice.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import replace

from unclip.api.gateway.v1 import gateway_pb2
from unclip.client.answers import Event, GeneratedImage, Preview, Progress
from unclip.client.messages import event_of
from unclip.errors import Cancelled, Unavailable, UnclipError
from unclip.wire.notices import Notice

CHOSEN_SEEDS = 1 << 32  # as short as those that a gateway chooses
MAX_RESTARTS = 1  # times that a stream is begun anew: one that takes two gateways with it may be what ends them


class Failover:
    """What is to be asked for, and what of it has been delivered. message: with a seed, chosen here where it has none.

    timeout: seconds for all of it.
    """

    def __init__(self, message: gateway_pb2.StreamRequest, timeout: float) -> None:
        self.message = message
        request = getattr(message, message.WhichOneof("request") or "generate")
        if not request.HasField("seed"):
            request.seed = secrets.randbelow(CHOSEN_SEEDS)
        self._end = time.monotonic() + timeout
        self._restarts, self._begun = 0, False
        self._furthest = Counter[tuple[str, int]]()  # steps delivered, by stage and image_index
        self._previews, self._passed_over = Counter[int](), Counter[int]()
        self._pictures = dict[int, GeneratedImage]()
        self._notices = list[Notice]()

    @property
    def seconds_left(self) -> float:
        """Until its time is over."""
        return max(0.0, self._end - time.monotonic())

    def may_restart(self, failure: UnclipError) -> bool:
        """Whether to ask anew after ``failure``: the connection, not the request, failed, after it had begun. gRPC has
        asked again by itself where it had not."""
        lost = isinstance(failure, Cancelled) or (isinstance(failure, Unavailable) and failure.stage == "gateway")
        if not lost or not self._begun or self._restarts == MAX_RESTARTS or not self.seconds_left:
            return False
        self._restarts += 1
        return True

    def new_event(self, answer: gateway_pb2.StreamResponse) -> Event | None:
        """The event in ``answer``, None where it has been delivered before.

        Raises:
            Unavailable: it is by another version than a picture that was delivered.
        """
        self._begun = True
        match event := event_of(answer):
            case Progress():
                place = event.stage, event.image_index
                if self._restarts and event.step <= self._furthest[place] > 0:
                    return None
                self._furthest[place] = max(self._furthest[place], event.step)
            case Preview():
                if self._restarts and self._passed_over[event.image_index] < self._previews[event.image_index]:
                    self._passed_over[event.image_index] += 1
                    return None
                self._previews[event.image_index] += not self._restarts
            case GeneratedImage():
                had = next(iter(self._pictures.values()), event)
                if (had.model_version, had.stage_versions) != (event.model_version, event.stage_versions):
                    raise Unavailable(
                        "gateway",
                        "the gateway was lost, and pictures are made by another version now: ask for all anew",
                    )
                if event.image_index in self._pictures:
                    return None
                event = self._pictures[event.image_index] = replace(event, notices=tuple(self._notices))
            case Notice():
                # A field of the request, which is no longer inside a StreamRequest here.
                event = replace(event, field=event.field.removeprefix(f"{self.message.WhichOneof('request')}."))
                if event in self._notices:
                    return None
                self._notices.append(event)
        return event
