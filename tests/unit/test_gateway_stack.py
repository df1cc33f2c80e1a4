"""The stages' models make one stack, or say why they do not."""

from __future__ import annotations

import pytest

from gateway.stack import merge
from tests.unit.gateway_models import STAGES, everyone, reported_by
from unclip.api.type.v1 import model_info_pb2
from unclip.errors import PreconditionFailed
from unclip.options import SamplingSettings, ServiceName


def test_equal_stages_are_one_model_with_every_capability() -> None:
    info = merge(everyone())
    assert info.model.embedding_dim == 64
    assert (info.model.name, info.model.version, info.model.license, info.model.clip_space) == (
        "emoji", "v1", "MIT", "clip",
    )  # fmt: skip
    assert set(info.model.capabilities) == {"generate", "vary", "text_diff", "interpolate", "edit", "embed"}
    assert info.model.caption_template == "an emoji of {}"
    assert [stage.stage for stage in info.model.stages] == sorted(STAGES.values())
    assert {stage.version for stage in info.model.stages} == {"v1"}
    assert info.decoder == SamplingSettings("ddim", 14, 2.0, 0.0)


def test_stages_of_different_versions_make_a_version_of_their_own() -> None:
    infos = everyone()
    infos["decoder"] = reported_by("decoder", version="v2")
    mixed = merge(infos).model.version
    assert mixed not in {"v1", "v2"}
    assert merge(infos).model.version == mixed


def test_the_same_versions_in_other_places_are_another_stack() -> None:
    one, other = everyone(), everyone()
    one["decoder"] = reported_by("decoder", version="v2")
    other["prior"] = reported_by("prior", version="v2")
    assert merge(one).model.version != merge(other).model.version


def test_stages_of_different_clips_do_not_belong_together() -> None:
    infos = everyone()
    infos["prior"] = reported_by("prior", clip_space="other")
    with pytest.raises(PreconditionFailed, match="prior other"):
        merge(infos)


def test_stages_whose_embeddings_have_other_dimensions_do_not_belong_together() -> None:
    infos = everyone()
    infos["decoder"].embedding_dim = 48
    with pytest.raises(PreconditionFailed, match=r"encoder 64.* decoder 48; serve checkpoints of one CLIP"):
        merge(infos)


def test_latents_of_one_family_do_not_go_to_the_upsampler_of_another() -> None:
    infos, sizes = everyone(), model_info_pb2.Sizes(multiple=64, smallest=256, largest=1024, max_pixels=2**20)
    infos["decoder"].stages[0].sizes.CopyFrom(sizes)
    with pytest.raises(PreconditionFailed, match=r"different sizes: .*; serve both of one checkpoint"):
        merge(infos)
    infos["upsampler"].stages[0].sizes.CopyFrom(sizes)
    for service, side in (("decoder", 512), ("upsampler", 768)):
        infos[service].stages[0].image_size = side  # type: ignore[index]
    with pytest.raises(PreconditionFailed, match=r"decoder 512 px, or multiples of 64 .*; upsampler 768 px"):
        merge(infos)
    infos["upsampler"].stages[0].image_size = 512
    merge(infos).require("generate")


def test_captions_are_embedded_where_a_clip_reads_them() -> None:
    infos = everyone()
    merge(infos).require_captions()
    infos["encoder"].capabilities[:] = ["read_text", "encode_image"]
    with pytest.raises(PreconditionFailed, match="no CLIP text encoder"):
        merge(infos).require_captions()


def test_a_capability_needs_all_its_stages_can_do() -> None:
    infos = everyone()
    infos["decoder"].capabilities.remove("invert")
    info = merge(infos)
    info.require("generate")
    with pytest.raises(PreconditionFailed, match="cannot do vary"):
        info.require("vary")


@pytest.mark.parametrize("service", ["decoder", "upsampler"])
def test_an_edit_needs_both_stages_that_paint_to_keep_pixels(service: ServiceName) -> None:
    infos = everyone()
    infos[service].capabilities.remove("edit")
    assert "edit" not in merge(infos).model.capabilities
    merge(infos).require("generate")
