"""Messages out of a byte stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.errors import ProtocolViolationError
from dicom_node.hl7.framing import FrameReader, frame

_MESSAGE = st.binary(max_size=40).filter(
    lambda data: b"\x1c\x0d" not in data and not data.endswith(b"\x1c")
)
_GARBAGE = st.binary(max_size=10).filter(lambda data: b"\x0b" not in data)


@settings(deadline=None)
@given(
    st.lists(st.tuples(_GARBAGE, _MESSAGE), max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
def test_messages_survive_any_cut_and_any_garbage_between(
    blocks: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    stream = b"".join(garbage + frame(message) for garbage, message in blocks)
    reader = FrameReader(100)
    found: list[bytes] = []

    turn = 0
    while stream:
        size = sizes[turn % len(sizes)]
        found += reader.feed(stream[:size])
        stream, turn = stream[size:], turn + 1

    assert found == [message for _, message in blocks]
    assert not reader.is_inside


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=10))
def test_random_bytes_give_messages_or_a_violation(pieces: list[bytes]) -> None:
    reader = FrameReader(60)

    try:
        found = [one for data in pieces for one in reader.feed(data)]
    except ProtocolViolationError:
        return

    assert all(len(one) <= 60 for one in found)


def test_a_line_break_of_a_word_processor_is_part_of_the_message() -> None:
    assert FrameReader(99).feed(frame(b"a\x0bb")) == [b"a\x0bb"]


def test_the_longest_message_is_taken_and_a_longer_one_is_not() -> None:
    assert FrameReader(5).feed(frame(b"12345")) == [b"12345"]

    with pytest.raises(ProtocolViolationError):
        FrameReader(5).feed(frame(b"123456"))


def test_messages_before_one_that_is_too_long_are_not_lost() -> None:
    with pytest.raises(ProtocolViolationError) as violation:
        FrameReader(5).feed(frame(b"first") + frame(b"too long"))

    assert violation.value.facts["messages"] == [b"first"]


def test_a_stream_without_a_message_ends() -> None:
    reader = FrameReader(5)
    assert reader.feed(b"abc") == []

    with pytest.raises(ProtocolViolationError, match="no message"):
        reader.feed(b"abcd")
