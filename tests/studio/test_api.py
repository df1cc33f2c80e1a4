"""What the page calls: the public contract in JSON and server-sent events, the same rules, and no other site's page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image

from tests.web.stacks import WebStack, opened, picture
from unclip import Client, Generate, GeneratedImage, read_recipe
from unclip.api.gateway.v1 import gateway_pb2
from unclip.client.messages import model_info_of, stream_message
from unclip.errors import ConfigurationError
from unclip.web.api import Api
from unclip.web.settings import Settings
from unclip.web.studio.errors import contract_refusal
from unclip.web.studio.page import POLICY, read_page
from unclip.wire.marks import said_in


@pytest.fixture
def http(stack: WebStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{stack.root}/studio/api/v1/", timeout=60) as http:
        yield http


def coded(data: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode()}


def events(http: httpx.Client, request: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a stream tells: the name of each event, and its data."""
    with http.stream("POST", "stream", json=request) as answer:
        answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        found = [block.split("\n") for block in answer.text.split("\n\n") if block and not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in found]


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["requestId"] == answer.headers["x-request-id"]
    return error


def test_a_stream_tells_every_event_of_the_contract_and_makes_the_clients_pictures(
    http: httpx.Client, stack: WebStack
) -> None:
    request = {"generate": {"caption": "a red apple", "seed": "7", "imageCount": 2}, "previewInterval": 2}
    told = events(http, request)
    names = [name for name, _ in told]
    assert {"progress", "preview", "image"} < set(names)
    assert names[-1] == "done"
    answers = [json_format.ParseDict(data, gateway_pb2.StreamResponse()) for name, data in told if name != "done"]
    assert [answer.WhichOneof("event") for answer in answers] == names[:-1]
    made = [answer.image for answer in answers if answer.HasField("image")]
    with Client(stack.gateway) as client:
        wanted = client.generate("a red apple", seed=7, image_count=2)
    assert sorted(image.image.data for image in made) == sorted(image.data for image in wanted)


def test_the_json_form_of_any_request_of_the_contract_is_taken(http: httpx.Client) -> None:
    source = coded(picture(64))
    asked: dict[str, dict[str, Any]] = {
        "vary": {"image": source, "eta": 0.5, "seed": "1"},
        "textDiff": {"image": source, "before": "a red apple", "after": "a green apple", "thetas": [0, 0.5]},
        "interpolate": {"image": source, "toCaption": "a robot", "ts": [0.5], "prior": {"steps": 3}},
        "edit": {"image": source, "mask": coded(half_mask(64)), "caption": "a red apple", "resampling": 1},
    }
    for kind, request in asked.items():
        told = events(http, {kind: request})
        images = [data["image"] for name, data in told if name == "image"]
        assert len(images) == len(request.get("thetas", [0])), kind
        assert kind in images[0]["recipe"]


def half_mask(side: int) -> bytes:
    pixels = np.zeros((side, side), np.uint8)
    pixels[:, : side // 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_what_is_no_field_of_the_contract_is_refused_by_name(http: httpx.Client) -> None:
    for request, path in (
        ({"generate": {"captoin": "a red apple"}}, "generate.captoin"),
        ({"generate": {"caption": "a", "decoder": {"stepz": 3}}}, "generate.decoder.stepz"),
        ({"paint": {}}, "paint"),
        ({}, "request"),
        ({"generate": {"caption": "a", "imageCount": "many"}}, "imageCount"),
        ({"generate": {"caption": "a", "decoder": {"sampler": "SAMPLER_NEW"}}}, "decoder.sampler"),
    ):
        error = error_of(http.post("stream", json=request), 400)
        assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert [each["field"] for each in error["fields"]] == [path]
    answer = http.post("stream", content=rb'{"half \ud800": 1}', headers={"content-type": "application/json"})
    told = {"field": "request", "description": "has text that is not Unicode"}
    assert error_of(answer, 400)["fields"] == [told]


def test_the_gateway_checks_what_is_asked_for_and_names_every_broken_rule(http: httpx.Client) -> None:
    request = {"generate": {"caption": "", "imageCount": 17, "decoder": {"guidanceScale": "NaN"}}}
    error = error_of(http.post("stream", json=request), 400)
    found = {each["field"] for each in error["fields"]}
    assert found == {"generate.caption", "generate.image_count", "generate.decoder.guidance_scale"}
    error = error_of(http.post("embed", json={"images": [coded(b"no picture")]}), 400)
    assert error["fields"][0]["field"] == "images[0].data"


def test_embeddings_are_the_clients(http: httpx.Client, stack: WebStack) -> None:
    answer = http.post("embed", json={"captions": ["a", "b"], "images": [coded(picture(64))]})
    found = json_format.Parse(answer.text, gateway_pb2.EmbedResponse())
    with Client(stack.gateway) as client:
        wanted = client.embed(["a", "b"], [picture(64)])
    assert [each.values.data for each in found.captions] == [each.values.tobytes() for each in wanted.captions]
    assert found.images[0].clip_space == wanted.images[0].clip_space


def test_the_model_is_told_as_the_gateway_does(http: httpx.Client, stack: WebStack) -> None:
    for params in ({}, {"vocabulary": "true"}):
        answer = http.get("model", params=params)
        assert answer.headers["cache-control"] == "no-store"
        told = json_format.Parse(answer.text, gateway_pb2.GetModelInfoResponse())
        with Client(stack.gateway) as client:
            assert model_info_of(told) == client.model_info(vocabulary=bool(params))


def test_a_picture_tells_its_recipe_with_which_it_is_made_again(http: httpx.Client) -> None:
    [made] = [
        data["image"] for name, data in events(http, {"generate": {"caption": "a", "seed": "3"}}) if name == "image"
    ]
    told = http.post("recipe", json=made["image"]).json()
    kept = ("recipe", "modelVersion", "stageVersions")
    assert {name: told[name] for name in kept} == {name: made[name] for name in kept}
    [again] = [data["image"] for name, data in events(http, told["recipe"]) if name == "image"]
    assert again["image"]["data"] == made["image"]["data"]
    error = error_of(http.post("recipe", json=coded(picture(64))), 400)
    assert "holds no recipe" in error["message"]


def test_frames_become_an_animation_that_says_what_made_it(http: httpx.Client) -> None:
    request = {"textDiff": {"image": coded(picture(64)), "after": "b", "thetas": [0, 0.25, 0.5]}}
    frames = [data["image"]["image"] for name, data in events(http, request) if name == "image"]
    answer = http.post("animation", json={"frames": frames, "seconds": 1})
    assert answer.headers["content-type"] == "image/webp"
    film = Image.open(io.BytesIO(answer.content))
    assert (getattr(film, "n_frames", 1), film.size) == (4, (frames[0]["width"],) * 2)
    assert said_in(answer.content) == said_in(base64.b64decode(frames[0]["data"])) != ""


def test_an_animation_is_of_pictures_of_one_size_and_bounded(http: httpx.Client) -> None:
    small, large = coded(picture(64)), coded(picture(2048))
    for request, field in (
        ({"frames": []}, "frames"),
        ({"frames": [small, coded(picture(32))]}, "frames"),
        ({"frames": [large, large]}, "frames"),
        ({"frames": [small] * 65}, "frames"),
        ({"frames": [small, {"data": "bm8="}]}, "frames[1].data"),
        ({"frames": [small], "seconds": 0}, "seconds"),
        ({"frames": [small], "loops": 3}, "loops"),
        ({"frames": [small, 3]}, "frames[1]"),
    ):
        error = error_of(http.post("animation", json=request), 400)
        assert error["fields"][0]["field"] == field


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"sec-fetch-site": "same-origin", "origin": "https://behind-a-proxy.example"}, 200),
        ({}, 200),
    ],
)
def test_only_the_studios_own_page_may_ask(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    sent = {"content-type": "application/json", **headers}
    for path, body in (("embed", '{"captions": ["a"]}'), ("stream", '{"generate": {"caption": "a"}}')):
        answer = http.post(path, content=body, headers=sent)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [("rebound.example:8080", 403), ("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200), ("[", 403)],
)
def test_a_process_of_this_machine_alone_goes_by_no_other_name(http: httpx.Client, host: str, status: int) -> None:
    assert http.get("model", headers={"host": host}).status_code == status
    headers = {"host": host, "sec-fetch-site": "same-origin"}
    assert http.post("embed", json={"captions": ["a"]}, headers=headers).status_code == status


def test_bodies_are_bounded(http: httpx.Client) -> None:
    error = error_of(
        http.post("stream", content=b"0" * (15 * 2**20), headers={"content-type": "application/json"}), 413
    )
    assert error["code"] == "INVALID_ARGUMENT"
    deep = "[" * 10_000 + "]" * 10_000
    error_of(http.post("stream", content=deep, headers={"content-type": "application/json"}), 400)


def test_the_page_is_kept_to_itself_and_asked_for_again_by_its_tag(stack: WebStack) -> None:
    for path in ("/", *(f"/studio/{name}" for name in read_page())):
        answer = httpx.get(stack.root + path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        again = httpx.get(stack.root + path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert "unsafe" not in POLICY
    for path in ("/studio/..%2fapi.py", "/studio/js/none.js", "/studio/"):
        assert httpx.get(stack.root + path).status_code == 404


def test_errors_are_told_as_the_contract_names_them() -> None:
    from unclip.errors import DeadlineExceeded, Overloaded, PreconditionFailed, Unauthenticated, Unavailable

    told = [
        contract_refusal(error, "id")
        for error in (
            Overloaded("full", 2.5),
            Unavailable("decoder", "a name from inside"),
            Unauthenticated("the key is over", "CREDENTIALS_EXPIRED"),
            PreconditionFailed("clip_space", "another CLIP"),
            DeadlineExceeded("late"),
            RuntimeError("a secret"),
        )
    ]
    assert [each.status for each in told] == [429, 503, 401, 400, 504, 500]
    codes = [each.error["code"] for each in told]
    assert codes[:3] == ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNAUTHENTICATED"]
    assert codes[3:] == ["FAILED_PRECONDITION", "DEADLINE_EXCEEDED", "INTERNAL"]
    assert (told[0].error["retryAfter"], told[0].headers["retry-after"]) == (2.5, "3")
    assert told[2].error["reason"] == "CREDENTIALS_EXPIRED"
    assert "inside" not in str(told[1].error)
    assert "secret" not in str(told[5].error)


def test_the_recipe_of_a_picture_is_the_clients(http: httpx.Client, stack: WebStack) -> None:
    with Client(stack.gateway) as client:
        [image] = client.generate("a red apple", seed=5)
    told = http.post("recipe", json=coded(image.data)).json()
    recipe = json_format.ParseDict(told["recipe"], gateway_pb2.StreamRequest())
    assert recipe == stream_message(read_recipe(image.data).request)
    assert isinstance(image, GeneratedImage)
    assert isinstance(image.recipe, Generate)
    assert opened(image.data).width == stack.native


def test_the_studio_can_be_switched_off() -> None:
    nothing: Any = None
    paths = {}
    for studio in ("on", "off"):
        api = Api(Settings(studio=studio), nothing, nothing)
        paths[studio] = {route.path for route in api.routes}
        api.close()
    assert {path for path in paths["on"] - paths["off"] if path == "/" or path.startswith("/studio/")}
    assert not {path for path in paths["off"] if path == "/" or path.startswith("/studio")}
    with pytest.raises(ConfigurationError, match="on or off"):
        Settings(studio="yes")
