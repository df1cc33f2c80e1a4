"""Content Credentials: C2PA manifests that say what made a picture and what it began with, signed, inside its file.

The library is native code, and what it reads of source pictures is strangers': it runs in a worker process, one
signature at a time, and reads of sources those alone that bring manifests, which it keeps. It asks no network.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib import metadata
from typing import Any

from unclip.errors import ConfigurationError, Unavailable
from unclip.extras import explained, require
from unclip.serving import tls, tracing
from unclip.serving.files import Watched
from unclip.serving.metrics import SIGN_SECONDS, watch_certificate
from unclip.serving.worker import Worker, WorkerLost
from unclip.wire.images import encode_image
from unclip.wire.marks import OFFLINE, PURPOSES, TRAINED

LOG = logging.getLogger(__name__)
MAX_RETAINED = 1 << 20  # bytes of a source's manifests that are kept; with thumbnails inside usual ones have 100,000
MAX_SIGNATURE = 1 << 16  # bytes that a manifest has without its sources', certificates included
PATIENCE_S = 30.0  # a signature takes some milliseconds; before the first the process has to start, perhaps in a crowd
REMEMBERED = 256
RSA_BITS = 2048  # at least; so the standard demands
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Ingredient:
    """A picture that another one began with.

    title: what it was there, for people. media_type: of its file. digest: sha256 of that, in hex. parent: whether the
    other one is an edit of it, and not made by a model that was shown it. source_type: the DigitalSourceType that its
    XMP says. data: its file where that has manifests to keep, else empty; manifests: the bytes of these.
    """

    title: str
    media_type: str
    digest: str
    parent: bool = False
    source_type: str = ""
    data: bytes = field(default=b"", repr=False)
    manifests: int = 0


@dataclass(frozen=True)
class Claim:
    """What is signed of a picture. source_type: IPTC's term, a URI. version: of the model that made it."""

    source_type: str
    version: str = ""
    ingredients: tuple[Ingredient, ...] = ()

    @property
    def files(self) -> list[str]:
        """Digests of the ingredients whose files are there."""
        return [each.digest for each in self.ingredients if each.data]


@dataclass(frozen=True)
class Key:
    """What is signed with, as the library takes it. chain: the certificate and those between it and a CA, in PEM."""

    algorithm: str
    chain: bytes
    private: bytes = field(repr=False)


class Signer:
    """Signs with the key and certificate in two files, which are read again when they change.

    Any thread may use it. Close it, which ends its worker process.
    """

    def __init__(self, certificate: str, key: str) -> None:
        """``certificate``, ``key``: PEM files.

        Raises:
            ConfigurationError: they are not what C2PA takes, do not belong together, or the certificate has ended; or
                the library is not installed.
        """
        require("signing pictures", "c2pa")
        self._certificate, self._key_file = certificate, key
        self._worker, self._lock = Worker(PATIENCE_S, niceness=0), threading.Lock()
        self._costly = deque[str](maxlen=REMEMBERED)  # digests of sources at whose manifests the worker was lost
        try:
            self._watched: Watched[tls.Material] = tls.watch(certificate, key, "", self._try)
            tls.require_current(certificate, self._watched.value)
        except BaseException:
            self.close()
            raise
        watch_certificate("c2pa", lambda: self._watched.value.seconds_left())

    def require_current(self) -> None:
        """Raises Unavailable where the certificate is not good now: whoever checks would refuse what it signs."""
        if not (material := self._watched.value).current:
            raise Unavailable("gateway", f"pictures cannot be signed: the certificate {material.validity()}")

    def sign(self, data: bytes, media_type: str, claim: Claim) -> bytes:
        """The picture file ``data`` with a manifest of ``claim``, its pixels untouched.

        Raises:
            Unavailable: it could not be signed.
        """
        began, key = time.monotonic(), self._key(self._watched.value)
        with tracing.internal("sign picture"), self._lock:
            for attempt in (without_files(claim, self._costly), without_files(claim)):
                try:
                    made = self._worker.call(signed, key, data, media_type, attempt)
                    break
                except (WorkerLost, RuntimeError) as error:  # on its own, or by what a source has inside
                    LOG.warning("a picture could not be signed%s: %s", " at first" if attempt.files else "", error)
                    self._costly.extend(attempt.files)
            else:
                raise Unavailable("gateway", "the picture could not be signed")
        SIGN_SECONDS.observe(time.monotonic() - began)
        return made

    def close(self) -> None:
        """Ends the worker."""
        self._worker.close()

    def _key(self, material: tls.Material) -> Key:
        assert material.pair is not None
        return key_of(self._key_file, *material.pair)

    def _try(self, material: tls.Material) -> None:
        """Raises ConfigurationError where a picture cannot be signed with ``material``."""
        if not material.current:
            return  # what is made of that is decided by whoever asks for it
        key = self._key(material)
        try:
            with self._lock:
                self._worker.call(tried, key)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._certificate} cannot sign for C2PA: {error}") from None
        except (WorkerLost, RuntimeError) as error:
            raise ConfigurationError(f"the process that signs pictures does not work: {error}") from None


def without_files(claim: Claim, digests: Container[str] | None = None) -> Claim:
    """``claim`` without the files, and so the manifests, of ingredients with ``digests``; of all where that is None."""
    kept = (
        each if digests is not None and each.digest not in digests else replace(each, data=b"")
        for each in claim.ingredients
    )
    return replace(claim, ingredients=tuple(kept))


@lru_cache(4)
def key_of(path: str, private: bytes, chain: bytes) -> Key:
    """What is signed with, of the key in PEM that file ``path`` holds.

    Raises:
        ConfigurationError: it is of a kind that C2PA does not know.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(private, password=None)
    algorithm, found = "", type(key).__name__
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm, found = CURVES.get(key.curve.name, ""), key.curve.name
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm, found = "ps256" if key.key_size >= RSA_BITS else "", f"RSA of {key.key_size} bits"
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    if not algorithm:
        known = f"P-256, P-384, P-521, Ed25519 or RSA of at least {RSA_BITS} bits"
        raise ConfigurationError(f"{path} must hold a key that C2PA signs with, {known}; got {found}")
    return Key(algorithm, chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def tried(key: Key) -> None:
    """Signs a picture, and has the library check it. Raises ConfigurationError, with the library's words."""
    from PIL import Image

    with explained():
        import c2pa

    file = encode_image(Image.new("RGB", (8, 8)))
    try:
        _signed(context(key, check=True), file.data, file.media_type, Claim(TRAINED), [])
    except c2pa.C2paError as error:
        raise ConfigurationError(" ".join(str(error).split())) from None


def signed(key: Key, data: bytes, media_type: str, claim: Claim) -> bytes:
    """The picture file ``data`` with a manifest of ``claim``. Sources' manifests that cannot be kept are left out.

    Raises:
        C2paError: it could not be signed.
    """
    import c2pa

    kept = [place for place, each in enumerate(claim.ingredients) if each.data]
    while kept:
        try:
            return _signed(context(key, check=True), data, media_type, claim, kept)
        except NotKept as error:
            kept.remove(error.place)
        except c2pa.C2paError:
            kept = []
    return _signed(context(key, check=False), data, media_type, claim, kept)


class NotKept(Exception):
    """The library takes no manifests from the ingredient at ``place``."""

    def __init__(self, place: int) -> None:
        self.place = place
        super().__init__(place)


def _signed(settings: Any, data: bytes, media_type: str, claim: Claim, kept: Sequence[int]) -> bytes:
    """As `signed`, with the manifests of the ingredients at ``kept``. Raises NotKept, C2paError."""
    import c2pa

    with c2pa.Builder.from_json(definition(claim, kept), settings) as builder:
        for place in kept:
            ingredient = claim.ingredients[place]
            try:
                told = described(place, ingredient)
                builder.add_ingredient(told, ingredient.media_type, io.BytesIO(ingredient.data))
            except c2pa.C2paError:
                raise NotKept(place) from None
        file = io.BytesIO()
        builder.sign(media_type, io.BytesIO(data), file)
        return file.getvalue()


@lru_cache(4)
def context(key: Key, check: bool) -> Any:
    """The library's settings, with what it signs with. check: whether it reads again what it has signed."""
    import c2pa

    settings = {
        "version": 1,
        "builder": {"thumbnail": {"enabled": False}},
        "trust": {"trust_config": "\n".join(PURPOSES)},
        "verify": {"verify_after_sign": check, **OFFLINE},
    }
    info = c2pa.C2paSignerInfo(key.algorithm, key.chain, key.private, None)
    return c2pa.Context.from_dict(settings, c2pa.Signer.from_info(info))


def definition(claim: Claim, kept: Sequence[int]) -> dict[str, Any]:
    """The manifest of ``claim`` as the library takes it; ingredients at ``kept`` are added with their files."""
    agent = {"name": "unclip", **({"version": claim.version} if claim.version else {})}
    mine = {"digitalSourceType": claim.source_type, "softwareAgent": agent}
    parents = [label(place) for place, each in enumerate(claim.ingredients) if each.parent]
    inputs = [label(place) for place, each in enumerate(claim.ingredients) if not each.parent]
    used = {"parameters": {"ingredientIds": inputs}} if inputs else {}
    if parents:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": parents}}
        actions = [opened, {"action": "c2pa.edited", **mine, **used}]
    else:
        actions = [{"action": "c2pa.created", **mine, **used}]
    bare = [described(place, each) for place, each in enumerate(claim.ingredients) if place not in kept]
    return {
        "claim_generator_info": [{"name": "unclip", "version": software_version()}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        "ingredients": bare,
    }


def described(place: int, ingredient: Ingredient) -> dict[str, str]:
    """What a manifest says of the ingredient at ``place``."""
    said = {"description": f"IPTC DigitalSourceType: {ingredient.source_type}"} if ingredient.source_type else {}
    return {
        "label": label(place),
        "title": ingredient.title,
        "format": ingredient.media_type,
        "instance_id": f"sha256:{ingredient.digest}",
        "relationship": "parentOf" if ingredient.parent else "inputTo",
        **said,
    }


def label(place: int) -> str:
    """What actions call the ingredient at ``place``."""
    return f"source-{place}"


@cache
def software_version() -> str:
    """The version of what made the picture."""
    try:
        return metadata.version("unclip")
    except metadata.PackageNotFoundError:
        return "of a checkout"
