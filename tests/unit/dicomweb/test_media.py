from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dicomweb.media import (
    choose_dicom,
    choose_frames,
    choose_json,
    choose_octets,
    choose_picture,
    parse_accept,
)
from dicom_node.errors import DicomwebError

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"
MPEG = "1.2.840.10008.1.2.4.102"
OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT}"
OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"


@pytest.mark.parametrize(
    ("accept", "stored", "content_type", "is_stored"),
    [
        (OHIF, JPEG_LS, f"application/octet-stream; transfer-syntax={JPEG_LS}", True),
        (OHIF, MPEG, f"application/octet-stream; transfer-syntax={MPEG}", True),
        (OHIF, EXPLICIT, OCTETS, True),
        (
            'multipart/related; type="application/octet-stream"',
            JPEG_LS,
            OCTETS,
            False,
        ),
        (
            'multipart/related; type="image/jls"',
            JPEG_LS,
            f"image/jls; transfer-syntax={JPEG_LS}",
            True,
        ),
        (
            f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS}',
            JPEG_LS,
            f"image/jls; transfer-syntax={JPEG_LS}",
            True,
        ),
        ("", JPEG_LS, OCTETS, False),
        (
            "*/*",
            EXPLICIT,
            OCTETS,
            True,
        ),
        (
            'multipart/related; type="image/jp2", '
            'multipart/related; type="application/octet-stream"; q=0.5',
            JPEG_LS,
            OCTETS,
            False,
        ),
    ],
)
def test_frames_come_as_stored_or_decoded_as_the_client_accepts(
    accept: str, stored: str, content_type: str, is_stored: bool
) -> None:
    form = choose_frames(accept, stored, is_native=stored == EXPLICIT, is_one=False)

    assert (form.content_type, form.is_stored) == (content_type, is_stored)
    assert form.is_multipart


def test_one_frame_may_come_without_parts() -> None:
    accept = "application/octet-stream; transfer-syntax=*"

    form = choose_frames(accept, JPEG_LS, is_native=False, is_one=True)

    assert not form.is_multipart
    with pytest.raises(DicomwebError):
        choose_frames(accept, JPEG_LS, is_native=False, is_one=False)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        'multipart/related; type="image/jp2"',
        "application/octet-stream;q=0",
    ],
)
def test_what_cannot_be_given_is_not_acceptable(accept: str) -> None:
    with pytest.raises(DicomwebError) as raised:
        choose_frames(accept, JPEG_LS, is_native=False, is_one=True)

    assert raised.value.status == 406


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, application/dicom+json", "application/dicom+json"),
    ],
)
def test_json_is_given_as_the_type_that_is_wanted(accept: str, expected: str) -> None:
    assert choose_json(accept) == expected


def test_xml_is_not_acceptable() -> None:
    with pytest.raises(DicomwebError, match="json"):
        choose_json('multipart/related; type="application/dicom+xml"')


@pytest.mark.parametrize(
    ("accept", "single", "multipart", "syntaxes"),
    [
        ("", True, True, set()),
        ('multipart/related; type="application/dicom"', True, True, set()),
        ("application/dicom", True, False, set()),
        ("application/dicom; transfer-syntax=*", True, False, set()),
        (
            f"multipart/related; type=application/dicom; transfer-syntax={JPEG_LS}",
            False,
            True,
            {JPEG_LS},
        ),
    ],
)
def test_instances_come_alone_or_in_parts(
    accept: str, single: bool, multipart: bool, syntaxes: set[str]
) -> None:
    form, wanted = choose_dicom(accept, allows_single=single)

    assert form.is_multipart is multipart
    assert wanted == syntaxes


def test_many_instances_do_not_come_alone() -> None:
    with pytest.raises(DicomwebError):
        choose_dicom("application/dicom", allows_single=False)


def test_bulk_data_and_pictures_have_their_types() -> None:
    assert not choose_octets("*/*").is_multipart
    assert choose_octets(OHIF).is_multipart
    assert choose_picture("image/png,image/*;q=0.5") == "image/png"
    assert choose_picture("*/*") == "image/jpeg"
    with pytest.raises(DicomwebError):
        choose_picture("image/gif")


@given(st.text('abc/*;=", q01.', max_size=80))
def test_any_header_is_read_or_refused(header: str) -> None:
    try:
        ranges = parse_accept(header)
    except DicomwebError:
        return

    assert all(0 < one.quality <= 1 for one in ranges)
