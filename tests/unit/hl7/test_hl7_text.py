"""Bytes, delimiters and escapes of HL7 v2."""

from __future__ import annotations

import hl7
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.errors import ReportRefusedError
from dicom_node.hl7.message import Message, Segment
from dicom_node.hl7.text import Delimiters, decode_message, plain_text
from tests.builders.hl7_messages import escaped, make_oru, obx


def _named(message: Message, name: str) -> list[Segment]:
    return [one for one in message.segments if one.name == name]


_TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
    | st.sampled_from("|^&~\\\n"),
    max_size=60,
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two", "one\ntwo"),
        (r"one\.sp\two", "one\ntwo"),
        (r"one\.sp2\two\.sp +1\x", "one\n\ntwo\nx"),
        (r"\.in+2\list\.ti-2\x\.sk3\y", "  listx   y"),
        (r"\.ce\TITLE\.br\\.nf\a\.fi\b", "\nTITLE\nab"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"caf\XC3A9\ \X4142\\X43\ ", "café ABC "),
        (r"caf\XE9\ ", "café "),
        (r"\X0D0A\next", "\nnext"),
        (r"\Zlocal\\C2842\\M2D4D00\x", "x"),
        (r"C:\temp\x and a lone \ too", r"C:\temp\x and a lone \ too"),
        (r"\E\F\E\ ", r"\F\ "),
        ("a\x0bb\rc\x00", "a\nb\nc"),
    ],
)
def test_every_escape_says_what_chapter_2_7_says(raw: str, text: str) -> None:
    assert plain_text(raw, Delimiters()) == text


@settings(deadline=None)
@given(_TEXT)
def test_an_escaped_text_comes_back(text: str) -> None:
    assert plain_text(escaped(text), Delimiters()) == text


@settings(deadline=None)
@given(_TEXT)
def test_what_another_library_escapes_comes_back(text: str) -> None:
    other = hl7.parse("MSH|^~\\&|A\r")
    one_byte = "".join(c for c in text if c < "\x80")

    written = other.escape(one_byte.replace("\n", "\r"))

    assert plain_text(written, Delimiters()) == one_byte


@settings(deadline=None)
@given(_TEXT)
def test_a_text_passes_through_a_whole_message(text: str) -> None:
    data = make_oru(obx(escaped(text)), msh={18: "UNICODE UTF-8"}).encode()

    (row,) = _named(Message.parse(data), "OBX")

    assert plain_text(row.raw(5), row.delimiters) == text


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("8859/15", "iso8859-15"),
        ("ISO IR100", "latin-1"),
        ("UNICODE UTF-8~ISO IR87", "utf-8"),
        ("", "utf-8"),
        ("", "latin-1"),
        ("ASCII", "latin-1"),
    ],
)
def test_the_character_set_of_the_header_counts(name: str, codec: str) -> None:
    message = make_oru(obx("Größe"), msh={18: name})

    assert "Größe" in decode_message(message.encode(codec))


def test_cyrillic_is_read_by_its_name() -> None:
    message = make_oru(obx("Выпот"), msh={18: "8859/5"})

    assert "Выпот" in decode_message(message.encode("iso8859-5"))


@pytest.mark.parametrize("name", ["UNICODE UTF-16", "EBCDIC"])
def test_an_unknown_character_set_is_refused(name: str) -> None:
    data = make_oru(obx("x"), msh={18: name}).encode()

    with pytest.raises(ReportRefusedError, match="MSH-18"):
        decode_message(data)


def test_bytes_of_another_character_set_than_named_are_refused() -> None:
    data = make_oru(obx("Größe"), msh={18: "UNICODE UTF-8"}).encode("latin-1")

    with pytest.raises(ReportRefusedError, match="not in the character set"):
        decode_message(data)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_end_in_any_of_three_ways(end: str) -> None:
    message = Message.parse(make_oru(obx("a"), obx("b"), end=end).encode())

    assert [one.name for one in message.segments] == ["MSH", "PID", "OBR", "OBX", "OBX"]


def test_a_line_break_that_was_not_escaped_stays_in_its_field() -> None:
    data = make_oru("OBX|1|TX|||first\nsecond line\n\nthird||||||F").encode()

    (row,) = _named(Message.parse(data), "OBX")

    text = plain_text(row.raw(5), row.delimiters)
    assert text == "first\nsecond line\n\nthird"
    assert row.component(11) == "F"


def test_fields_are_split_as_another_library_splits_them() -> None:
    text = make_oru(obx(r"a\S\b~c&d", code="71020&IMP^X^L"), obr={18: "A^B~C", 20: "D"})
    other = hl7.parse(text)

    ours = Message.parse(text.encode())

    for mine, theirs in zip(ours.segments, other, strict=True):
        assert mine.name == str(theirs[0])
        for number in range(1, len(theirs)):
            assert mine.raw(number) == str(theirs[number])


def test_other_delimiters_are_read_from_the_header() -> None:
    data = b"MSH#*~!@#RIS#H###20260101##ORU*R01#1#P#2.5\rPID#1##7*x\r"

    message = Message.parse(data)

    assert message.kind == ("ORU", "R01")
    assert [one.component(3) for one in _named(message, "PID")] == ["7"]


@pytest.mark.parametrize(
    "data",
    [b"", b"MSH", b"MSH|", b"MSHA", b"PID|1", b"MSH|||||", b"\x00\xff", b"MSH  "],
)
def test_what_has_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(ReportRefusedError, match="header"):
        Message.parse(data)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(b"MSH|^~\\&|".__add__))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        message = Message.parse(data)
    except ReportRefusedError:
        return

    assert message.header.name == "MSH"
