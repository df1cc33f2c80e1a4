"""Marks: what a picture file says, for programs to read, of whether AI made it.

XMP has it as IPTC's DigitalSourceType, one of the terms at https://cv.iptc.org/newscodes/digitalsourcetype/. A C2PA
manifest says it signed: here it is only found; `unclip.serving.signing` makes it, `unclip.client.provenance` reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from PIL.PngImagePlugin import PngInfo

from unclip.wire.bare_pictures import strip_metadata
from unclip.wire.picture_headers import read_header

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{TERMS}trainedAlgorithmicMedia"  # made by a model alone
COMPOSITE = f"{TERMS}compositeWithTrainedAlgorithmicMedia"  # it began with a picture that somebody had
GENERATED = frozenset([TRAINED, COMPOSITE])
PNG_KEYWORD = "XML:com.adobe.xmp"
# What a certificate may be for that signs manifests: C2PA's claims, mail, documents; it must say one of them.
PURPOSES = ("1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36")
# C2PA's library: what it asks nobody, wherever a file points to.
OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PROPERTY, RESOURCE = f"{IPTC_EXTENSION} DigitalSourceType", f"{RDF} resource"  # as expat has them
MAX_TERM = 200  # letters of a term that is read; the longest of IPTC's has 80
PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC_EXTENSION}">
   <Iptc4xmpExt:DigitalSourceType>%s</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


class BrokenXmp(ValueError):
    """The XMP of a file is not what XMP is."""


@dataclass(frozen=True)
class Marks:
    """What there is in a file. xmp: unread, empty where there is none. manifests: bytes of C2PA manifests."""

    xmp: bytes
    manifests: int

    @property
    def source_type(self) -> str:
        """IPTC's DigitalSourceType, empty where none is said. Raises BrokenXmp."""
        return source_type_in(self.xmp) if self.xmp else ""


def marks_in(data: bytes) -> Marks:
    """The marks in a PNG, JPEG or WebP file.

    Raises:
        ValueError, struct.error, IndexError: it is no such file, or a damaged one.
    """
    found = strip_metadata(data, read_header(data))
    return Marks(found.xmp, found.manifests)


def said_in(data: bytes) -> str:
    """The DigitalSourceType that a picture file says in XMP; empty where it says none, or cannot be read."""
    try:
        return marks_in(data).source_type
    except (ValueError, struct.error, IndexError):
        return ""


def xmp(source_type: str) -> str:
    """An XMP packet that says ``source_type``, one of IPTC's terms, and nothing else: the same for the same term."""
    return PACKET % escape(source_type)


def pillow_options(media_type: str, source_type: str, info: PngInfo | None = None) -> dict[str, Any]:
    """What Pillow needs to write into a file that it is ``source_type``, if that is not empty. info: what else a PNG
    gets."""
    if media_type != "image/png":
        return {"xmp": xmp(source_type).encode()} if source_type else {}
    info = info or PngInfo()
    if source_type:
        info.add_itxt(PNG_KEYWORD, xmp(source_type))
    return {"pnginfo": info}


def source_type_in(packet: bytes) -> str:
    """The DigitalSourceType that XMP says, as an element or an attribute; empty where it says none.

    Raises:
        BrokenXmp: it is no XML, or has a document type, which XMP never has, and which entities need that expand.
    """
    found, inside = list[str](), False  # other pictures that are told of may have terms too: the first is the file's

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        inside = name == PROPERTY
        if inside or PROPERTY in attributes:
            found.append(attributes.get(RESOURCE if inside else PROPERTY, ""))

    def end(name: str) -> None:
        nonlocal inside
        inside = False

    def text(part: str) -> None:
        if inside:
            found[-1] += part

    def refuse(*_: object) -> None:
        raise BrokenXmp("it has a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except expat.ExpatError as error:
        raise BrokenXmp(str(error)) from None
    return found[0].strip()[:MAX_TERM] if found else ""
