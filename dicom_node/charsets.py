"""Text in the character sets of a data set: what pydicom decodes, mended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.charset import decode_bytes, default_encoding

from dicom_node.quiet import quiet

__all__ = ["decode_text", "has_controls", "is_mislabelled_utf8", "without_escapes"]

_GB2312 = "\x1b$)A"

_REPLACED = "\N{REPLACEMENT CHARACTER}"
"""What pydicom puts where bytes are of no character."""

_CONTROLS = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0)])) - set("\t\n\f\r")
"""Neither letters nor what ends lines and pages."""


def decode_text(value: bytes, encodings: Sequence[str], delimiters: set[int]) -> str:
    """Decode a value with code extensions (PS3.5 6.1.2.5).

    What cannot be in these character sets and is UTF-8 is read as UTF-8.

    Parameters
    ----------
    value : bytes
        As it is encoded.
    encodings : sequence of str
        Python's names, of `pydicom.charset.convert_encodings`.
    delimiters : set of int
        Characters after which the first encoding is in force again.

    Raises
    ------
    LookupError, UnicodeError, ValueError
        It cannot be decoded.

    """
    if is_mislabelled_utf8([value], encodings):
        return value.decode()
    return without_escapes(decode_bytes(value, list(encodings), delimiters))


def has_controls(text: str) -> bool:
    """Return whether decoded text has characters that no text may (PS3.5 6.1.3)."""
    return not _CONTROLS.isdisjoint(without_escapes(text))


def is_mislabelled_utf8(values: Iterable[bytes], encodings: Sequence[str]) -> bool:
    """Return whether text is UTF-8 that its Specific Character Set cannot hold.

    So it is where one value at least has bytes that the declared character sets do
    not define, or keep for control characters, and all of them are UTF-8. Bytes that
    are letters in both say nothing.

    Parameters
    ----------
    values : iterable of bytes
        All text of a data set, as it is encoded.
    encodings : sequence of str
        Python's names, of `pydicom.charset.convert_encodings`.

    """
    beyond_ascii = [value for value in values if not value.isascii()]
    return all(map(_is_utf8, beyond_ascii)) and not all(
        _fits(value, encodings) for value in beyond_ascii
    )


def without_escapes(text: str) -> str:
    """Remove the escape sequences of ISO 2022 IR 58 (PS3.5 K.2) from decoded text.

    pydicom decodes what follows them and leaves them where they were.
    """
    return text.replace(_GB2312, "")


def _is_utf8(value: bytes) -> bool:
    try:
        return not has_controls(value.decode())
    except UnicodeDecodeError:
        return False


def _fits(value: bytes, encodings: Sequence[str]) -> bool:
    # pydicom reads the default repertoire, which is ASCII, as Latin-1.
    if list(encodings) == [default_encoding]:
        return False
    try:
        with quiet():
            text = decode_bytes(value, list(encodings), set())
    except (LookupError, UnicodeError, ValueError):
        return False
    return _REPLACED not in text and not has_controls(text)
