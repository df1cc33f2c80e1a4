"""Pictures are signed with C2PA manifests that its own library finds good, by keys that may change at any time."""

from __future__ import annotations

import datetime
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image

from tests.certificates import DAY, Authority, Files, Key
from unclip.errors import ConfigurationError, Unavailable
from unclip.serving.signing import Claim, Ingredient, Signer
from unclip.serving.worker import WorkerLost
from unclip.wire.images import encode_image
from unclip.wire.marks import COMPOSITE, PURPOSES, TRAINED

PICTURE = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
REMOTE = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="%s"/>'
    "</rdf:RDF></x:xmpmeta>"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "signing-ca")


@pytest.fixture(scope="module")
def signer(authority: Authority) -> Iterator[Signer]:
    files = authority.issue_signer("signer")
    made = Signer(str(files.cert), str(files.key))
    yield made
    made.close()


def read(file: bytes, media_type: str, ca: Path) -> tuple[str, dict[str, Any]]:
    """What the library says of a file, given a CA to trust: its state, and the manifest in force."""
    settings = {"trust": {"trust_anchors": ca.read_text(), "trust_config": "\n".join(PURPOSES)}}
    with c2pa.Reader(
        media_type, io.BytesIO(file), context=c2pa.Context.from_dict({"version": 1, **settings})
    ) as reader:
        return str(reader.get_validation_state()), dict(reader.get_active_manifest())


def actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    [found] = [each["data"]["actions"] for each in manifest["assertions"] if each["label"] == "c2pa.actions.v2"]
    return list(found)


def opened(files: Files) -> Signer:
    return Signer(str(files.cert), str(files.key))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_signed_picture_is_trusted_and_its_pixels_are_untouched(
    signer: Signer, authority: Authority, media_type: str
) -> None:
    bare = encode_image(PICTURE, media_type).data
    signed = signer.sign(bare, media_type, Claim(TRAINED, "model-1"))
    state, manifest = read(signed, media_type, authority.ca)
    assert state == "Trusted"
    assert manifest["claim_generator_info"][0]["name"] == "unclip"
    [action] = actions(manifest)
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", TRAINED)
    assert action["softwareAgent"] == {"name": "unclip", "version": "model-1"}
    assert "thumbnail" not in json.dumps(manifest)
    with Image.open(io.BytesIO(signed)) as one, Image.open(io.BytesIO(bare)) as other:
        assert one.tobytes() == other.tobytes()
    assert 1000 < len(signed) - len(bare) < 5000


def test_an_edit_is_opened_and_other_sources_are_inputs(signer: Signer, authority: Authority) -> None:
    source = Ingredient("the picture", "image/png", "ab", parent=True, source_type=TRAINED)
    mask = Ingredient("the mask", "image/png", "cd")
    bare = encode_image(PICTURE).data
    state, manifest = read(
        signer.sign(bare, "image/png", Claim(COMPOSITE, "", (source, mask))), "image/png", authority.ca
    )
    assert state == "Trusted"
    assert [action["action"] for action in actions(manifest)] == ["c2pa.opened", "c2pa.edited"]
    assert actions(manifest)[1]["digitalSourceType"] == COMPOSITE
    told = [(each["title"], each["relationship"], each["instance_id"]) for each in manifest["ingredients"]]
    assert told == [("the picture", "parentOf", "sha256:ab"), ("the mask", "inputTo", "sha256:cd")]
    assert TRAINED in manifest["ingredients"][0]["description"]
    state, manifest = read(signer.sign(bare, "image/png", Claim(COMPOSITE, "", (mask,))), "image/png", authority.ca)
    [action] = actions(manifest)
    assert (state, action["action"], action["digitalSourceType"]) == ("Trusted", "c2pa.created", COMPOSITE)
    assert len(action["parameters"]["ingredients"]) == 1


def test_manifests_of_sources_are_kept(signer: Signer, authority: Authority) -> None:
    source = signer.sign(encode_image(PICTURE, "image/jpeg").data, "image/jpeg", Claim(TRAINED))
    _, before = read(source, "image/jpeg", authority.ca)
    kept = Ingredient("the source", "image/jpeg", "ab", data=source)
    state, manifest = read(
        signer.sign(encode_image(PICTURE).data, "image/png", Claim(COMPOSITE, "", (kept,))), "image/png", authority.ca
    )
    assert state == "Trusted"
    assert manifest["ingredients"][0]["active_manifest"] == before["label"]


def test_manifests_that_are_broken_do_not_keep_a_picture_from_being_signed(
    signer: Signer, authority: Authority
) -> None:
    bare = encode_image(PICTURE).data
    source = signer.sign(bare, "image/png", Claim(TRAINED))
    begin = source.index(b"caBX")
    broken = [bytes([*source[:at], source[at] ^ 0xFF, *source[at + 1 :]]) for at in range(begin + 20, begin + 2600, 97)]
    for file in broken:
        sources = (
            Ingredient("the source", "image/png", "ab", data=file),
            Ingredient("other", "image/png", "cd", data=source),
        )
        state, manifest = read(signer.sign(bare, "image/png", Claim(COMPOSITE, "", sources)), "image/png", authority.ca)
        assert state == "Trusted"
        assert len(manifest["ingredients"]) == 2


def test_a_source_cannot_have_its_manifest_fetched_from_somewhere(signer: Signer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        remote = encode_image(PICTURE, "image/jpeg", xmp=(REMOTE % url).encode()).data
        source = Ingredient("the source", "image/jpeg", "ab", data=remote)
        signer.sign(encode_image(PICTURE).data, "image/png", Claim(COMPOSITE, "", (source,)))
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_keys_of_all_kinds_sign(authority: Authority, key: Key) -> None:
    made = opened(authority.issue_signer("other", key))
    file = made.sign(encode_image(PICTURE).data, "image/png", Claim(TRAINED))
    made.close()
    assert read(file, "image/png", authority.ca)[0] == "Trusted"


def test_what_cannot_sign_is_refused_at_once(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue_signer("one"), authority.issue_signer("two")
    with pytest.raises(ConfigurationError, match=r"two\.key is not the key of the certificate in .*one\.pem"):
        opened(Files(one.cert, other.key))
    with pytest.raises(
        ConfigurationError, match=r"P-256, P-384, P-521, Ed25519 or RSA of at least 2048 bits; got secp256k1"
    ):
        opened(authority.issue_signer("coin", ec.generate_private_key(ec.SECP256K1())))
    with pytest.raises(ConfigurationError, match="got RSA of 1024 bits"):
        opened(authority.issue_signer("weak", rsa.generate_private_key(65537, 1024)))
    with pytest.raises(ConfigurationError, match=r"server\.pem cannot sign for C2PA: .*certificate"):
        opened(authority.issue_signer("server", purpose="1.3.6.1.5.5.7.3.1"))
    with pytest.raises(ConfigurationError, match="ended at"):
        opened(authority.issue_signer("old", lasts=-DAY))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        opened(Files(one.cert, tmp_path / "none.key"))


def test_a_new_key_is_used_when_its_files_are_there_and_a_bad_one_is_not(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Authority(tmp_path, "own-ca")
    files = folder.issue_signer("signer")
    signer = opened(files)
    bare = encode_image(PICTURE).data

    def serial() -> int:
        _, manifest = read(signer.sign(bare, "image/png", Claim(TRAINED)), "image/png", folder.ca)
        return int(manifest["signature_info"]["cert_serial_number"])

    assert serial() == (first := files.serial)
    folder.issue_signer("signer")
    assert serial() == (second := files.serial) != first
    folder.issue_signer("signer", purpose="1.3.6.1.5.5.7.3.1")
    assert serial() == second
    signer.close()


def test_who_asks_for_pictures_is_told_at_once_where_the_certificate_has_ended(authority: Authority) -> None:
    signer = opened(authority.issue_signer("brief", lasts=datetime.timedelta(minutes=5)))
    signer.require_current()
    ends = signer._watched.value.ends
    signer.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unclip.serving.tls.time.time", lambda: ends + 1)
        with pytest.raises(Unavailable, match="cannot be signed: the certificate ended at"):
            signer.require_current()


def test_a_worker_that_was_killed_is_replaced(authority: Authority) -> None:
    signer = opened(authority.issue_signer("killed"))
    bare = encode_image(PICTURE).data
    for _ in range(2):
        assert read(signer.sign(bare, "image/png", Claim(TRAINED)), "image/png", authority.ca)[0] == "Trusted"
        assert signer._worker._process is not None
        signer._worker._process.kill()
    signer.close()


def test_a_picture_that_the_worker_dies_at_is_signed_without_its_sources_manifests(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = opened(authority.issue_signer("mortal"))
    bare = encode_image(PICTURE).data
    source = Ingredient("the source", "image/png", "ab", data=signer.sign(bare, "image/png", Claim(TRAINED)))
    calls: list[Claim] = []
    call = signer._worker.call

    def lost(function: Any, *arguments: Any) -> Any:
        calls.append(arguments[-1])
        if len(calls) == 1:
            raise WorkerLost
        return call(function, *arguments)

    monkeypatch.setattr(signer._worker, "call", lost)
    state, manifest = read(signer.sign(bare, "image/png", Claim(COMPOSITE, "", (source,))), "image/png", authority.ca)
    assert (state, len(calls)) == ("Trusted", 2)
    assert "active_manifest" not in manifest["ingredients"][0]
    signer.sign(bare, "image/png", Claim(COMPOSITE, "", (source,)))  # for which the worker is not risked again
    assert [each.files for each in calls] == [["ab"], [], []]
    monkeypatch.setattr(signer._worker, "call", lambda *_: (_ for _ in ()).throw(WorkerLost()))
    with pytest.raises(Unavailable, match="could not be signed"):
        signer.sign(bare, "image/png", Claim(TRAINED))
    signer.close()
