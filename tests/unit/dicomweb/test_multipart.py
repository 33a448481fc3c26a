from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dicomweb.multipart import (
    MAX_PARTS,
    MultipartReader,
    Part,
    PartBegin,
    PartData,
    PartEnd,
    new_boundary,
    write_multipart,
)
from dicom_node.errors import DicomwebError

BOUNDARY = "a-boundary"

# Bytes that look like what stands between parts are what a reader stumbles over.
CONTENTS = st.lists(
    st.lists(
        st.sampled_from(
            [b"\r\n", b"--", b"a-bound", b"ary", b"\r", b"\n", b"\0", b"DICM", b"-"]
        )
        | st.binary(max_size=40)
    )
    .map(b"".join)
    .filter(lambda content: f"--{BOUNDARY}".encode() not in content),
    min_size=1,
    max_size=6,
)


def read(body: bytes, cuts: list[int], boundary: str = BOUNDARY) -> list[bytes]:
    """Feed a body in pieces and return the contents of its parts."""
    reader = MultipartReader(boundary)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    found: list[bytes] = []
    for start, end in pairwise(places):
        for event in reader.feed(body[start:end]):
            if isinstance(event, PartBegin):
                found.append(b"")
            elif isinstance(event, PartData):
                found[-1] += event.data
    reader.finish()
    return found


@given(CONTENTS, st.lists(st.integers(0, 5000), max_size=30))
def test_what_is_written_is_read_back_however_it_is_split(
    contents: list[bytes], cuts: list[int]
) -> None:
    parts = [Part("application/dicom", [content]) for content in contents]
    body = b"".join(write_multipart(parts, boundary=BOUNDARY))

    assert read(body, cuts) == contents


@given(CONTENTS)
def test_a_body_is_read_back_byte_by_byte(contents: list[bytes]) -> None:
    parts = [Part("application/dicom", [content]) for content in contents]
    body = b"".join(write_multipart(parts, boundary=BOUNDARY))

    assert read(body, list(range(len(body)))) == contents


@given(CONTENTS, st.integers(1, 60))
def test_a_body_that_is_cut_short_is_not_taken_for_whole(
    contents: list[bytes], missing: int
) -> None:
    parts = [Part("application/dicom", [content]) for content in contents]
    body = b"".join(write_multipart(parts, boundary=BOUNDARY)).removesuffix(b"--\r\n")

    with pytest.raises(DicomwebError, match="cut short"):
        read(body[: -min(missing, len(body) - 1)], [])


@given(st.binary(max_size=300))
def test_bytes_that_are_no_multipart_end_in_one_error(body: bytes) -> None:
    with pytest.raises(DicomwebError):
        read(body, [7, 20])


def test_headers_of_a_part_are_named_in_lower_case() -> None:
    reader = MultipartReader(BOUNDARY)
    head = f"--{BOUNDARY}\r\nContent-TYPE:  application/dicom \r\nX-Y: z\r\n\r\n"

    (event,) = reader.feed(head.encode())

    assert event == PartBegin({"content-type": "application/dicom", "x-y": "z"})


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"X: {'y' * 100_000}", id="a header without end"),
        pytest.param("\r\n".join(["X: y"] * 1000), id="headers without end"),
        pytest.param("X" * 100_000, id="a name without end"),
    ],
)
def test_huge_headers_are_refused_before_they_are_whole(head: str) -> None:
    reader = MultipartReader(BOUNDARY)

    with pytest.raises(DicomwebError):
        reader.feed(f"--{BOUNDARY}\r\n{head}".encode())


def test_parts_beyond_the_limit_are_refused() -> None:
    reader = MultipartReader(BOUNDARY)
    body = f"--{BOUNDARY}\r\n\r\n\r\n".encode() * (MAX_PARTS + 1)

    # What came whole before is handed on first.
    assert len(reader.feed(body)) >= MAX_PARTS
    with pytest.raises(DicomwebError, match="parts") as raised:
        reader.feed(b"")

    assert raised.value.status == 413


def test_parts_before_what_breaks_a_block_are_handed_on() -> None:
    reader = MultipartReader(BOUNDARY)
    whole = f"--{BOUNDARY}\r\n\r\nabc\r\n--{BOUNDARY}\r\n".encode()

    events = reader.feed(whole + b" garbage\r\n\r\n\0")

    assert events[:3] == (PartBegin(), PartData(b"abc"), PartEnd())
    for again in (lambda: reader.feed(b"--"), reader.finish):
        with pytest.raises(DicomwebError, match="not multipart"):
            again()


def test_an_endless_part_is_handed_on_and_never_collected() -> None:
    reader = MultipartReader(BOUNDARY)
    reader.feed(f"--{BOUNDARY}\r\n\r\n".encode())
    block = bytes(1 << 20)

    handed_on = sum(
        len(event.data)
        for _ in range(64)
        for event in reader.feed(block)
        if isinstance(event, PartData)
    )

    assert handed_on >= 63 << 20


@pytest.mark.parametrize("boundary", ["", "x" * 71, "grenze-\u00e4"])
def test_a_body_needs_a_boundary_that_the_standard_allows(boundary: str) -> None:
    with pytest.raises(DicomwebError, match="boundary"):
        MultipartReader(boundary)


def test_a_boundary_is_new_each_time() -> None:
    assert new_boundary() != new_boundary()
