"""Which certificates may call: names allow-listed per service, read again when the list changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from unclip.errors import ConfigurationError, PermissionDenied, Unauthenticated
from unclip.serving import clients
from unclip.serving.files import Watched
from unclip.serving.handlers import Context
from unclip.serving.metadata import NAME


def identities_of(auth: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The names in a caller's certificate, from a call's auth context: URIs and DNS names among its alternative names;
    the common name only where it has no alternative names at all (RFC 6125, section 6.4.4)."""
    names = [*auth.get("peer_uri", ()), *auth.get("peer_dns", ())]
    if not auth.get("x509_subject_alternative_name"):
        names += auth.get("x509_common_name", ())
    return tuple(name.decode("utf-8", "replace") for name in names)


def parse_list(contents: Sequence[bytes]) -> frozenset[str]:
    """A list file: one name a line; empty lines and those that start with # are skipped.

    Raises:
        ConfigurationError: it is not UTF-8.
    """
    try:
        lines = [line.strip() for line in contents[0].decode().splitlines()]
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"a list of identities must be UTF-8: {error}") from error
    return frozenset(line for line in lines if line and not line.startswith("#"))


class IdentityGuard:
    """Lets in callers whose certificate bears one of the allowed names, as the list stands when they call."""

    def __init__(
        self,
        stage: str,
        names: frozenset[str],
        file: Watched[frozenset[str]] | None = None,
        sharing: bool = False,
        permissive: bool = False,
    ) -> None:
        """``stage``: whom they want to call. ``names`` are allowed, and those in ``file``. sharing: whether the name is
        the client that fair shares are kept by; behind the gateway, all calls come under the gateway's. permissive:
        who does not speak TLS at all is let in."""
        self._stage, self._names, self._file, self._sharing = stage, names, file, sharing
        self._permissive = permissive

    @contextmanager
    def admit(self, context: Context) -> Iterator[None]:
        """Raises Unauthenticated without a certificate, PermissionDenied when none of its names is on the list."""
        auth = context.auth_context()
        if self._permissive and list(auth.get("transport_security_type", ())) != [b"ssl"]:
            yield
            return
        found = identities_of(auth)
        if not found:
            raise Unauthenticated(f"the {self._stage} wants a certificate that bears a name")
        allowed = self._names | (self._file.value if self._file else frozenset())
        known = [name for name in found if name in allowed]
        if not known:
            raise PermissionDenied(f"{', '.join(found)} may not call the {self._stage}")
        if self._sharing and NAME.fullmatch(known[0]):
            clients.authenticated.set(known[0])
        yield
