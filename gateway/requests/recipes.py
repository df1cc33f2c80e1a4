"""The recipe of a picture: the request that makes it again, alone, with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.requests.plan import Plan
from gateway.stack import version_of
from unclip.api.gateway.v1 import gateway_pb2
from unclip.options import SERVICES, ServiceName
from unclip.wire.recipe_rules import NOT_IN_RECIPES
from unclip.wire.recipe_text import RecipeText


@dataclass(frozen=True)
class Maker:
    """Who made a picture. version: of the whole stack. stages: the version of each stage that had a part in it."""

    version: str
    stages: Mapping[str, str]

    @classmethod
    def of(cls, release: Mapping[ServiceName, str], made_by: Mapping[ServiceName, str]) -> Maker:
        """By what the stages' answers said, ``made_by``; of stages that were not asked, by what is served."""
        versions = {**release, **made_by}
        return cls(version_of([versions[service] for service in SERVICES]), {str(s): v for s, v in made_by.items()})


def recipe_text_of(plan: Plan, index: int, maker: Maker) -> RecipeText:
    """What the file of picture ``index`` of ``plan`` says: nothing that differs when it is made again."""
    digests = tuple(source.digest for source in plan.sources)
    return RecipeText(recipe(plan, index), maker.version, digests, maker.stages)


def recipe(plan: Plan, index: int) -> gateway_pb2.StreamRequest:
    """The request for picture ``index`` of ``plan``. Source pictures are left out: put them back before sending it."""
    request = gateway_pb2.StreamRequest()
    request.CopyFrom(plan.request)
    asked = getattr(request, request.WhichOneof("request") or "generate")
    fields = asked.DESCRIPTOR.fields_by_name
    for field in NOT_IN_RECIPES:
        if field in fields:
            asked.ClearField(field)
    asked.seed = plan.seeds[index]
    if "image_count" in fields:
        asked.image_count = 1
    for field in ("thetas", "ts"):  # one for each picture
        if field in fields:
            frames = getattr(asked, field)
            frames[:] = [frames[index]]
    return request
