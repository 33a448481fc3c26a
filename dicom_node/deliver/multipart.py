"""multipart/related bodies that are streamed: files, unchanged, between boundaries.

The body is never in memory as a whole. Its boundary is random, 128 bits, and is
looked for in the files all the same, since one that occurs would cut an instance.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["MultipartBody", "choose_boundary"]

_BLOCK_BYTES = 1 << 20
_PART_HEAD = b"Content-Type: application/dicom\r\n\r\n"


class MultipartBody:
    """A request body of PS3.18 8.6.1.2; it can be iterated more than once.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        DICOM files, one part each; at least one.
    boundary : str
        Does not occur in any of them.

    Raises
    ------
    OSError
        A file cannot be read; from iterating too.

    """

    def __init__(self, paths: Sequence[Path], *, boundary: str) -> None:
        self._paths = tuple(paths)
        self._boundary = boundary.encode("ascii")
        self._sizes = tuple(path.stat().st_size for path in self._paths)

    @property
    def content_type(self) -> str:
        """The request's Content-Type."""
        boundary = self._boundary.decode("ascii")
        return f'multipart/related; type="application/dicom"; boundary="{boundary}"'

    @property
    def content_length(self) -> int:
        """How many bytes iterating yields."""
        return (
            sum(self._sizes)
            + len(self._paths) * len(self._head(is_first=False))
            - len(b"\r\n")  # the first part has none before it
            + len(self._tail())
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most a megabyte."""
        for number, (path, size) in enumerate(
            zip(self._paths, self._sizes, strict=True)
        ):
            yield self._head(is_first=number == 0)
            with path.open("rb") as file:
                left = size
                while block := file.read(min(_BLOCK_BYTES, left)):
                    left -= len(block)
                    yield block
            if left:
                msg = "the file became shorter while it was sent"
                raise OSError(msg)
        yield self._tail()

    def _head(self, *, is_first: bool) -> bytes:
        # RFC 2046 5.1.1: the line break before a boundary belongs to it.
        before = b"" if is_first else b"\r\n"
        return before + b"--" + self._boundary + b"\r\n" + _PART_HEAD

    def _tail(self) -> bytes:
        return b"\r\n--" + self._boundary + b"--\r\n"


def choose_boundary(
    paths: Sequence[Path], draw: Callable[[], str] = lambda: secrets.token_hex(16)
) -> str:
    """Return a boundary that occurs in none of the files.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        What is going to be sent.
    draw : callable
        Returns a candidate; random by default.

    Raises
    ------
    OSError
        A file cannot be read.

    """
    while True:
        boundary = draw()
        if not any(_contains(path, boundary.encode("ascii")) for path in paths):
            return boundary


def _contains(path: Path, needle: bytes) -> bool:
    overlap = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if needle in overlap + block:
                return True
            overlap = (overlap + block)[-len(needle) + 1 :]
    return False
