"""Names of files as text for terminals, JSON and CSV."""

from __future__ import annotations

import re
import unicodedata

SURROGATES = re.compile("[\ud800-\udfff]")
#: Control characters except the line feed.
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def valid(text: str) -> str:
    r"""Valid Unicode: bytes of a name that are not UTF-8 become ``\xe9``."""
    return SURROGATES.sub(_escaped, text)


def readable(name: str) -> str:
    """A name in valid Unicode and composed form.

    macOS stores ``é`` as two characters, other systems as one: both give the same name.
    """
    return unicodedata.normalize("NFC", valid(name))


def printable(text: str) -> str:
    r"""Text that cannot control a terminal: an escape character becomes ``\x1b``."""
    return CONTROLS.sub(_escaped, valid(text))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    # surrogates, which stand for bytes that are not UTF-8
    code = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
