"""The profile against pydicom's and pynetdicom's own tables."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts

from conformance.profile import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    RESULT_SOP_CLASSES,
    SCP_CONTEXTS,
    SCU_CONTEXTS,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
    ContextResult,
    Role,
    Status,
    StatusCategory,
    TransferSyntax,
    choose_transfer_syntax,
)
from conformance.sop_classes import RETIRED_STORAGE_CLASSES, STORAGE_CLASSES
from dicom_node.header import is_uid

STORAGE = next(one for one in SCP_CONTEXTS if one.service == "Storage")
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
VIDEO = "1.2.840.10008.1.2.4.102"
DEFLATED = "1.2.840.10008.1.2.1.99"


def test_every_storage_class_that_pynetdicom_knows_is_received() -> None:
    known = {str(one.abstract_syntax) for one in AllStoragePresentationContexts}

    assert known <= set(STORAGE_CLASSES)
    assert known <= set(STORAGE.sop_classes)


def test_names_are_those_of_the_dictionary() -> None:
    for uid, name in (STORAGE_CLASSES | RETIRED_STORAGE_CLASSES).items():
        known = UID(uid).name
        assert known in (name, f"{name} (Retired)", uid)
    assert not set(STORAGE_CLASSES) & set(RETIRED_STORAGE_CLASSES)


def test_transfer_syntaxes_left_out_are_left_out_on_purpose() -> None:
    received = {one.uid for one in TRANSFER_SYNTAXES}
    left_out = {
        uid.name
        for uid in AllTransferSyntaxes
        if str(uid) not in received and not uid.is_private
    }

    assert all(re.search(r"Deflate|JPIP|SMPTE", name) for name in left_out), left_out
    assert DEFLATED not in received
    for one in TRANSFER_SYNTAXES:
        assert UID(one.uid).is_transfer_syntax


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda one: one.name)
def test_pixels_are_said_to_be_read_where_there_is_a_decoder(
    syntax: TransferSyntax,
) -> None:
    try:
        has_decoder = get_decoder(syntax.uid).is_available
    except NotImplementedError:
        has_decoder = False

    assert syntax.is_decoded is has_decoder


def test_the_identity_of_the_implementation_is_well_formed() -> None:
    assert is_uid(IMPLEMENTATION_CLASS_UID)
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert re.fullmatch(r"[\x21-\x7e]{1,16}", IMPLEMENTATION_VERSION_NAME)


def test_verification_is_accepted_and_results_are_a_part_of_storage() -> None:
    # PS3.2 7.1: who accepts associations accepts Verification.
    assert any("1.2.840.10008.1.1" in one.sop_classes for one in SCP_CONTEXTS)
    assert set(RESULT_SOP_CLASSES) <= set(STORAGE.sop_classes)
    # Reports on storage commitment are the one thing that is proposed as SCP.
    assert {one.service for one in SCU_CONTEXTS if one.role is Role.SCP} == {
        "Storage Commitment"
    }


def test_every_status_is_described_once() -> None:
    assert sorted(one.status for one in STORE_STATUSES) == sorted(Status)
    successes = [one for one in STORE_STATUSES if one.status == Status.SUCCESS]
    assert [one.category for one in successes] == [StatusCategory.SUCCESS]


@pytest.mark.parametrize(
    ("abstract", "proposed", "expected"),
    [
        (CT, [EXPLICIT], (ContextResult.ACCEPTANCE, EXPLICIT)),
        (CT, [VIDEO], (ContextResult.ACCEPTANCE, VIDEO)),
        (CT, [DEFLATED], (ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, None)),
        (CT, [], (ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, None)),
        ("1.2.3", [EXPLICIT], (ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, None)),
        (
            "1.2.840.10008.1.1",
            ["1.2.840.10008.1.2.4.50"],
            (ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, None),
        ),
    ],
)
def test_a_context_is_answered_by_its_table(
    abstract: str, proposed: list[str], expected: tuple[ContextResult, str | None]
) -> None:
    assert choose_transfer_syntax(abstract, proposed) == expected


def test_what_can_be_decoded_is_preferred_to_what_is_only_kept() -> None:
    for proposed in permutations([DEFLATED, VIDEO, EXPLICIT]):
        assert choose_transfer_syntax(CT, proposed)[1] == EXPLICIT

    jpeg = "1.2.840.10008.1.2.4.50"
    assert choose_transfer_syntax(CT, [jpeg, EXPLICIT])[1] == jpeg
    assert choose_transfer_syntax(CT, [EXPLICIT, jpeg])[1] == EXPLICIT
