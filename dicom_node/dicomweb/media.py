"""Which media type an answer gets: what the client accepts against what there is.

PS3.18 8.7: a media type may come alone or as the ``type`` of multipart/related, and
names its transfer syntax in a parameter; ``*`` is any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_node.errors import DicomwebError

__all__ = [
    "DICOM",
    "DICOM_JSON",
    "OCTETS",
    "Form",
    "MediaRange",
    "choose_dicom",
    "choose_frames",
    "choose_json",
    "choose_octets",
    "choose_picture",
    "parse_accept",
    "parse_media_type",
]

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_MULTIPART = "multipart/related"
_MAX_HEADER = 8192

_FRAME_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "1.2.840.10008.1.2.4.50": "image/jpeg",
        "1.2.840.10008.1.2.4.51": "image/jpeg",
        "1.2.840.10008.1.2.4.57": "image/jpeg",
        "1.2.840.10008.1.2.4.70": "image/jpeg",
        "1.2.840.10008.1.2.4.80": "image/jls",
        "1.2.840.10008.1.2.4.81": "image/jls",
        "1.2.840.10008.1.2.4.90": "image/jp2",
        "1.2.840.10008.1.2.4.91": "image/jp2",
        "1.2.840.10008.1.2.4.92": "image/jpx",
        "1.2.840.10008.1.2.4.93": "image/jpx",
        "1.2.840.10008.1.2.4.110": "image/jxl",
        "1.2.840.10008.1.2.4.111": "image/jxl",
        "1.2.840.10008.1.2.4.112": "image/jxl",
        "1.2.840.10008.1.2.4.201": "image/jphc",
        "1.2.840.10008.1.2.4.202": "image/jphc",
        "1.2.840.10008.1.2.4.203": "image/jphc",
        "1.2.840.10008.1.2.5": "image/dicom-rle",
    }
)
"""What a frame of a transfer syntax is, PS3.18 Table 8.7.3-5."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """A part of an Accept header, or a Content-Type."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def is_multipart(self) -> bool:
        """Whether it is multipart/related."""
        return self.name == _MULTIPART

    @property
    def inner(self) -> str:
        """The media type of what is inside: of the parts, or itself."""
        if self.is_multipart:
            return self.parameters.get("type", "*/*").lower()
        return self.name

    def covers(self, media_type: str) -> bool:
        """Return whether a media type is within the range."""
        group = media_type.partition("/")[0]
        return self.inner in {media_type, f"{group}/*", "*/*", "*"}

    def allows_syntax(self, *uids: str) -> bool:
        """Return whether one of these transfer syntaxes, or any, is asked for."""
        return self.parameters.get("transfer-syntax") in {*uids, "*"}


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is given."""

    media_type: str
    is_multipart: bool
    transfer_syntax_uid: str | None = None
    is_stored: bool = True
    """False: the frames are decoded first."""

    @property
    def content_type(self) -> str:
        """The type of the answer, or of each of its parts."""
        if self.transfer_syntax_uid is None:
            return self.media_type
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"


def parse_media_type(text: str) -> MediaRange:
    """Read a Content-Type or one part of an Accept header.

    Raises
    ------
    DicomwebError
        It is none.

    """
    pieces = list(_split(text, ";"))
    name = pieces[0].strip().lower() if pieces else ""
    if "/" not in name and name != "*":
        raise DicomwebError("a media type cannot be read", status=400)
    parameters = {}
    quality = 1.0
    for piece in pieces[1:]:
        key, _, value = piece.partition("=")
        key, value = key.strip().lower(), value.strip().strip('"')
        if key == "q":
            quality = _quality(value)
        elif key:
            parameters[key] = value
    return MediaRange(name, parameters, quality)


def parse_accept(header: str) -> tuple[MediaRange, ...]:
    """Read an Accept header, the most wanted first; an empty one takes anything.

    Raises
    ------
    DicomwebError
        It cannot be read.

    """
    if len(header) > _MAX_HEADER:
        raise DicomwebError("the Accept header is too long", status=400)
    ranges = [parse_media_type(one) for one in _split(header, ",") if one.strip()]
    ranges = [one for one in ranges if one.quality > 0] if ranges else []
    if not ranges and not header.strip():
        ranges = [MediaRange("*/*")]
    return tuple(sorted(ranges, key=lambda one: -one.quality))


def choose_json(accept: str) -> str:
    """Return the type of a JSON answer.

    Raises
    ------
    DicomwebError
        The client takes no JSON.

    """
    for one in parse_accept(accept):
        if one.is_multipart:
            continue
        for media_type in (DICOM_JSON, "application/json"):
            if one.covers(media_type):
                return media_type
    raise _not_acceptable("application/dicom+json")


def choose_dicom(accept: str, *, allows_single: bool) -> tuple[Form, frozenset[str]]:
    """Return how instances are given, and which transfer syntaxes they may have.

    They are given as they are stored: a client that names no transfer syntax gets
    that too, since one that reads DICOM files reads which syntax they have. An empty
    set is any.

    Parameters
    ----------
    accept : str
        The header.
    allows_single : bool
        Whether one instance alone is asked for, which needs no parts.

    Raises
    ------
    DicomwebError
        The client takes no application/dicom.

    """
    ranges = [
        one
        for one in parse_accept(accept)
        if one.covers(DICOM) and (one.is_multipart or allows_single or "*" in one.name)
    ]
    if not ranges:
        raise _not_acceptable('multipart/related; type="application/dicom"')
    is_single = ranges[0].name == DICOM
    wanted = {one.parameters.get("transfer-syntax", "*") for one in ranges}
    syntaxes = frozenset() if "*" in wanted else frozenset(wanted)
    return Form(DICOM, is_multipart=not is_single), syntaxes


def choose_octets(accept: str, *, is_one: bool = True) -> Form:
    """Return how bulk data is given.

    Parameters
    ----------
    accept : str
        The header.
    is_one : bool
        Whether it is one value, which may come without parts.

    Raises
    ------
    DicomwebError
        The client does not take application/octet-stream.

    """
    for one in parse_accept(accept):
        if not one.covers(OCTETS):
            continue
        if is_one or one.is_multipart or one.name in {"*/*", "*"}:
            return Form(OCTETS, is_multipart=one.is_multipart or not is_one)
    raise _not_acceptable(OCTETS if is_one else f'{_MULTIPART}; type="{OCTETS}"')


def choose_frames(
    accept: str, stored_syntax_uid: str, *, is_native: bool, is_one: bool
) -> Form:
    """Return how frames are given: as stored, or decoded.

    Parameters
    ----------
    accept : str
        The header; without it, frames come decoded in parts.
    stored_syntax_uid : str
        How they are stored.
    is_native : bool
        Whether they are stored as plain pixels.
    is_one : bool
        Whether a single frame is asked for, which may come without parts.

    Raises
    ------
    DicomwebError
        The client takes nothing that can be given.

    """
    stored_type = _FRAME_TYPES.get(stored_syntax_uid, OCTETS)
    for one in parse_accept(accept):
        is_any = one.name in {"*/*", "*"}
        if not (one.is_multipart or is_any or is_one):
            continue
        is_multipart = one.is_multipart or is_any
        syntax = one.parameters.get("transfer-syntax")
        if not is_native:
            # "image/jls" alone says already that it may be compressed.
            is_named = one.inner == stored_type and syntax is None
            if one.covers(stored_type) and (
                is_named or one.allows_syntax(stored_syntax_uid)
            ):
                return Form(stored_type, is_multipart, stored_syntax_uid)
            # Cornerstone asks for octets in any syntax and reads the parameter.
            if one.covers(OCTETS) and one.allows_syntax(stored_syntax_uid):
                return Form(OCTETS, is_multipart, stored_syntax_uid)
        if one.covers(OCTETS) and syntax in {None, "*", _EXPLICIT_LITTLE}:
            return Form(OCTETS, is_multipart, _EXPLICIT_LITTLE, is_stored=is_native)
    raise _not_acceptable('multipart/related; type="application/octet-stream"')


def choose_picture(accept: str) -> str:
    """Return ``image/png`` or ``image/jpeg``.

    Raises
    ------
    DicomwebError
        The client takes neither.

    """
    for one in parse_accept(accept):
        for media_type in ("image/jpeg", "image/png"):
            if not one.is_multipart and one.covers(media_type):
                return media_type
    raise _not_acceptable("image/jpeg, image/png")


def _not_acceptable(offered: str) -> DicomwebError:
    return DicomwebError(f"what can be given is {offered}", status=406)


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _split(text: str, mark: str) -> Iterator[str]:
    """Split at a mark that is not within quotes."""
    start, is_quoted = 0, False
    for position, letter in enumerate(text):
        if letter == '"':
            is_quoted = not is_quoted
        elif letter == mark and not is_quoted:
            yield text[start:position]
            start = position + 1
    yield text[start:]
