"""Text as people and other machines left it."""

from __future__ import annotations


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte order mark, else Windows-1252, which Latin-1 is part of."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def even(text: str) -> str:
    """The text with one blank between its words."""
    return " ".join(text.split())
