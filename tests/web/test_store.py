"""Pictures with addresses: kept for a while, found by nobody who does not know their name, shared by replicas."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.web.stacks import WebStack, opened, picture, web_before
from unclip.errors import ConfigurationError, Overloaded, Unavailable
from unclip.web.errors import HttpError
from unclip.web.store import PictureStore

LARGE = 1 << 30


@pytest.fixture(params=["own", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"own": "", "file": f"{(tmp_path / 'pictures').as_uri()}", "memory": "memory:///"}[request.param]


async def test_a_picture_is_found_by_its_name_until_its_time_is_over(url: str) -> None:
    store = PictureStore(url, 0.8, LARGE)
    name = await store.put(b"png", "png")
    assert await store.get(name) == (b"png", "image/png")
    assert (await store.get(await store.put(b"jpeg", "jpeg")))[1] == "image/jpeg"
    await asyncio.sleep(1.0)
    with pytest.raises(HttpError):  # whether or not it is still there
        await store.get(name)
    await store.clean_once()
    assert store._held == 0
    store.close()


async def test_names_cannot_be_guessed_and_hold_no_path(tmp_path: Path) -> None:
    store = PictureStore(tmp_path.as_uri(), 60, LARGE)
    names = {await store.put(b"x", "webp") for _ in range(50)}
    assert len(names) == 50
    assert {len(name) for name in names} == {48 + len(".webp")}
    (tmp_path / "other.png").write_bytes(b"secret")
    for name in ("other.png", "../other.png", "..%2fother.png", "a" * 48 + ".png/../../x", "\0", "A" * 48 + ".png"):
        with pytest.raises(HttpError):
            await store.get(name)
    await store.clean_once()  # takes away nothing that is not its own
    assert (tmp_path / "other.png").exists()


async def test_a_store_that_is_full_says_so() -> None:
    store = PictureStore("memory:///", 60, 10)
    await store.put(b"12345678", "png")
    with pytest.raises(Overloaded):
        await store.put(b"123", "png")


def test_a_folder_of_its_own_goes_with_the_process() -> None:
    store = PictureStore("", 60, LARGE)
    folder = Path(store._own.name)  # type: ignore[union-attr]
    asyncio.run(store.put(b"x", "png"))
    store.close()
    assert not folder.exists()


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/y", "gopher:", "s3://"])
def test_a_store_that_cannot_be_opened_is_a_mistake_in_the_settings(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^store must be [^\n]*$"):
        PictureStore(url, 60, LARGE)


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """An S3 of moto's, with a bucket; the variables that AWS's tools find it by."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    httpx.put(
        f"http://{host}:{port}/pictures", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/x/us-east-1/s3/"}
    )
    yield variables
    server.stop()


@pytest.fixture(scope="module")
def replicas(
    stack: WebStack, bucket: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, WebStack]]:
    """Two web processes with one bucket, by what the addresses of their pictures begin with."""
    folder, options = tmp_path_factory.mktemp("replicas"), ("--store", "s3://pictures/shared")
    public = "https://img.example/dalle"
    with (
        web_before(stack.gateway, folder, *options, name="one", variables=bucket) as one,
        web_before(stack.gateway, folder, *options, "--public-url", public, name="two", variables=bucket) as two,
    ):
        yield {"": one, public: two}


async def test_a_bucket_keeps_pictures_and_gives_up_old_ones(
    bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    store = PictureStore("s3://pictures/some/prefix", 2.0, 1)
    name = await store.put(picture(), "png")
    assert opened((await store.get(name))[0]).size == (256, 256)
    with pytest.raises(HttpError):
        await store.get("0" * 48 + ".png")
    await asyncio.sleep(3.1)  # S3 tells times in whole seconds
    await store.clean_once()
    with pytest.raises(HttpError):
        await store.get(name)


@pytest.mark.parametrize("public", ["", "https://img.example/dalle"])
def test_what_one_replica_made_others_serve_at_addresses_as_the_settings_say(
    stack: WebStack, replicas: Mapping[str, WebStack], public: str
) -> None:
    web, [other] = replicas[public], [each for name, each in replicas.items() if name != public]
    made = httpx.post(f"{web.base_url}/images/generations", json={"prompt": "x"}).json()["data"][0]["url"]
    beginning = public or web.root
    assert made.startswith(f"{beginning}/v1/images/files/")
    found = httpx.get(made.replace(beginning, other.root))
    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    assert opened(found.content).size == (256, 256)


async def test_a_bucket_that_cannot_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name, value in {
            "AWS_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }.items():
            monkeypatch.setenv(name, value)
        store = PictureStore("s3://pictures", 60, LARGE)
        with pytest.raises(Unavailable):
            await store.put(b"x", "png")
