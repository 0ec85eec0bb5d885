"""The text of an XML article, read so that no entity is ever expanded."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

from cache.errors import UserError
from stages.ingest.words import decoded, even

_BODY = re.compile(r"<text\b[^>]*>(.*?)</text\s*>", re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")


def article_text(data: bytes, where: str) -> tuple[str, bool]:
    """The words between <text> and </text>, blanks evened out, and whether the file was well-formed XML.

    Several <text> elements are joined; a document without any gives all its words. Published copies hold files
    that are not well-formed XML, Latin-1 that does not say so among them: those are read between the tags, as their
    users do. Raises UserError, naming
    `where`, if the file declares an entity, so that none can be expanded.
    """
    if b"<!ENTITY" in data.replace(b"\0", b""):  # without NULs a declaration in UTF-16 shows as well
        raise UserError(f"{where}: declares an XML entity, which is refused; take the declaration out of the file")
    if not data.strip():
        return "", True  # what lacks a text is told of later, once
    try:
        return even(_parsed(data)), True
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter two: an encoding that the parser lacks
        return even(_between_tags(decoded(data))), False


def _parsed(data: bytes) -> str:
    root = ElementTree.fromstring(data)
    return " ".join(piece for body in root.findall(".//{*}text") or [root] for piece in body.itertext())


def _between_tags(document: str) -> str:
    return html.unescape(_TAG.sub(" ", " ".join(_BODY.findall(document))))
