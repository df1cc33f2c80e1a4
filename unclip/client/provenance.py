"""Which marks a picture file carries of having been made by AI, and whether they hold: see docs/provenance.md."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unclip.api.type.v1 import image_pb2
from unclip.client.answers import ImageFile
from unclip.client.pictures import file_bytes
from unclip.client.values import Picture
from unclip.errors import ConfigurationError, InvalidRequest
from unclip.extras import EXTRAS, command, require
from unclip.wire.images import FORMATS, checked_header
from unclip.wire.marks import GENERATED, OFFLINE, PURPOSES, BrokenXmp, Marks, marks_in

State = Literal["none", "present", "valid", "trusted", "broken"]


@dataclass(frozen=True)
class Mark:
    """One mark. source_type: IPTC's DigitalSourceType that it says, a URI. detail: what else there is to know of it.

    state: none; present, and not checked, as XMP never can be; broken, so that nothing it says counts. Of a signature:
    valid, the file is as somebody signed it; trusted, and a CA that was named knows who.
    """

    state: State
    source_type: str = ""
    detail: str = ""

    @property
    def generated(self) -> bool:
        """Whether it says that AI made the picture, or had a part in it."""
        return self.state != "broken" and self.source_type in GENERATED


@dataclass(frozen=True)
class Signature(Mark):
    """A C2PA manifest. signer: organisation and name in the certificate. sources: titles of what the picture began
    with, and the digest or id of each."""

    signer: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """The marks of one file."""

    xmp: Mark
    c2pa: Signature

    @property
    def generated(self) -> bool:
        """Whether one of them says that AI made the picture, or had a part in it."""
        return self.xmp.generated or self.c2pa.generated

    @property
    def broken(self) -> bool:
        """Whether one of them is not what was written."""
        return "broken" in (self.xmp.state, self.c2pa.state)


def read_provenance(picture: Picture | ImageFile, trust: bytes = b"") -> Provenance:
    """The marks of a picture file: a path, the file's bytes, or a picture as it came. No server is asked.

    trust: CAs in PEM, one of which must know a signer for its signature to be trusted. Signatures are checked where
    ``unclip[c2pa]`` is installed, and said to be present where it is not.

    Raises:
        InvalidRequest: it is no PNG, JPEG or WebP file.
        ConfigurationError: ``trust`` is given, and signatures cannot be checked; or it is no PEM.
    """
    data = file_bytes(picture.data if isinstance(picture, ImageFile) else picture, "picture")
    header = checked_header(image_pb2.Image(data=data), "picture")
    try:
        marks = marks_in(data)
    except Exception:
        raise InvalidRequest.of("picture", "must be a whole PNG, JPEG or WebP file") from None
    return Provenance(xmp_mark(marks), signature(data, FORMATS[header.kind], marks.manifests, trust))


def xmp_mark(marks: Marks) -> Mark:
    """What XMP says."""
    try:
        said = marks.source_type
    except BrokenXmp as error:
        return Mark("broken", detail=f"XMP that is not XML: {error}")
    if said:
        return Mark("present", said)
    return Mark("none", detail="XMP without a DigitalSourceType" if marks.xmp else "no XMP")


def signature(data: bytes, media_type: str, manifests: int, trust: bytes) -> Signature:
    """What is signed of a file with so many bytes of ``manifests``."""
    if trust:
        require("checking who signed a picture", "c2pa")
        require_pem(trust)
    if not manifests:
        return Signature("none", detail="not signed")
    try:
        import c2pa
    except ModuleNotFoundError:
        return Signature("present", detail=f"not checked, for which there is: {command(EXTRAS['c2pa'])}")
    with contextlib.ExitStack() as exits:
        context = exits.enter_context(settings(trust))
        try:
            reader = exits.enter_context(c2pa.Reader(media_type, io.BytesIO(data), context=context))
            state, manifest = reader.get_validation_state(), reader.get_active_manifest()
            results = reader.get_validation_results() or {}
        except c2pa.C2paError as error:
            return Signature("broken", detail=" ".join(str(error).split()))
    return told(str(state), manifest or {}, results.get("activeManifest") or {})


def require_pem(trust: bytes) -> None:
    """Raises ConfigurationError where there is no certificate in ``trust``."""
    if b"-----BEGIN CERTIFICATE-----" not in trust:
        raise ConfigurationError("what to trust must be certificates in PEM")


def settings(trust: bytes) -> Any:
    """How the library checks: without a network, against ``trust``. Raises ConfigurationError."""
    import c2pa

    anchors = {"trust_anchors": trust.decode("ascii", "ignore")} if trust else {}
    trusted = {"trust_config": "\n".join(PURPOSES), **anchors}
    try:
        return c2pa.Context.from_dict({"version": 1, "trust": trusted, "verify": OFFLINE})
    except c2pa.C2paError as error:
        raise ConfigurationError(f"what to trust must be certificates in PEM: {error}") from None


def told(state: str, manifest: Mapping[str, Any], results: Mapping[str, Any]) -> Signature:
    """The library's words in ours."""
    by = manifest.get("signature_info") or {}
    signer = ", ".join(str(by[key]) for key in ("issuer", "common_name") if by.get(key))
    actions = [
        action
        for assertion in manifest.get("assertions", ())
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion["data"].get("actions", ())
    ]
    said = [str(action["digitalSourceType"]) for action in actions if action.get("digitalSourceType")]
    sources = [
        f"{each.get('title', 'untitled')} ({each.get('instance_id', '')})" for each in manifest.get("ingredients", ())
    ]
    codes = [str(each.get("code")) for each in results.get("failure", ())]
    known: State = "trusted" if state == "Trusted" else "valid" if state == "Valid" else "broken"
    if known == "valid":
        detail = "whoever signed it is not known to the CAs to trust"
    else:
        detail = "" if known == "trusted" else f"does not hold: {', '.join(codes)}"
    return Signature(known, said[-1] if said else "", detail, signer, tuple(sources))
