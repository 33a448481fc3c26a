"""Sequences that are decoded once say what they said one by one."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from conformance.rules_common import check_common
from conformance.sharing import share_sequences

_SAME_BYTES = {"ISO_IR 100": "\u00f8", "ISO_IR 101": "\u0159"}
"""By its character set, the letter that the byte F8 is."""


@st.composite
def _item(draw: st.DrawFn, outer: str = "ISO_IR 100", depth: int = 2) -> Dataset:
    item, code = Dataset(), Dataset()
    own = draw(st.sampled_from([None, *_SAME_BYTES]))
    if own is not None:
        item.SpecificCharacterSet = own
    item.ReferencedSOPInstanceUID = draw(st.sampled_from(["1.2", "1.3"]))
    code.CodeMeaning = draw(st.sampled_from(["", "kidney", _SAME_BYTES[own or outer]]))
    code.CodingSchemeDesignator = draw(st.sampled_from(["DCM", "99OTHER"]))
    item.PurposeOfReferenceCodeSequence = [code]
    if depth:
        item.SourceImageSequence = draw(
            st.lists(_item(own or outer, depth - 1), max_size=3)
        )
    return item


def _written(ds: Dataset, *, implicit_vr: bool) -> bytes:
    file = BytesIO()
    ds.save_as(file, implicit_vr=implicit_vr, little_endian=True)
    return file.getvalue()


@settings(max_examples=25, deadline=None)
@given(items=st.lists(_item(), min_size=1, max_size=4), implicit_vr=st.booleans())
def test_sharing_changes_nothing_that_a_data_set_says(
    items: list[Dataset], implicit_vr: bool
) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SourceImageSequence = items
    written = _written(ds, implicit_vr=implicit_vr)
    plain, shared = (dcmread(BytesIO(written), force=True) for _ in range(2))

    share_sequences(shared)

    assert shared == plain
    assert _written(shared, implicit_vr=implicit_vr) == written
    assert list(check_common(shared, own=True)) == list(check_common(plain, own=True))


@pytest.mark.parametrize("implicit_vr", [False, True])
def test_what_is_shared_is_one_object_and_broken_wherever_it_is(
    implicit_vr: bool,
) -> None:
    ds, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "DCM", ""
    ds.SourceImageSequence = [Dataset(), Dataset()]
    for item in ds.SourceImageSequence:
        item.PurposeOfReferenceCodeSequence = [code]
    read = dcmread(BytesIO(_written(ds, implicit_vr=implicit_vr)), force=True)

    share_sequences(read)

    first, second = (
        item.PurposeOfReferenceCodeSequence for item in read.SourceImageSequence
    )
    assert (first is second) is not implicit_vr
    assert [
        one.where for one in check_common(read, own=False) if one.rule == "code"
    ] == [
        f"SourceImageSequence[{number}] PurposeOfReferenceCodeSequence[1]"
        for number in (1, 2)
    ]
