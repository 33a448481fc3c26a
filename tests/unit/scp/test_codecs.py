"""Our encodings read by pynetdicom and pydicom, theirs by us, and anything by us."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom import pdu as theirs
from pynetdicom.pdu_primitives import A_ASSOCIATE

from conformance.profile import (
    IMPLEMENTATION_CLASS_UID,
    REJECTIONS,
    ContextResult,
    Status,
)
from dicom_node.errors import ProtocolViolationError
from dicom_node.scp.dimse import Command, CommandField, decode_command, encode_response
from dicom_node.scp.pdu import (
    RELEASE_RESPONSE,
    AbortReason,
    AnsweredContext,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
)
from tests.builders.raw_peer import associate_request, command_set

REQUEST = associate_request(
    [(1, "1.2.840.10008.1.1", ["1.2.840.10008.1.2"]), (3, "1.2.3", ["1.2", "1.3"])],
    max_pdu=1234,
)


def test_a_request_that_pynetdicom_encodes_is_decoded() -> None:
    primitive = theirs.A_ASSOCIATE_RQ()
    primitive.decode(REQUEST)

    request = decode_associate_request(primitive.encode()[6:])

    assert request.called_ae_title == "GROUNDING"
    assert request.calling_ae_title == "PACS"
    assert request.max_pdu_length == 1234
    assert request.protocol_version == 1
    assert [(one.context_id, one.abstract_syntax) for one in request.contexts] == [
        (1, "1.2.840.10008.1.1"),
        (3, "1.2.3"),
    ]
    assert request.contexts[1].transfer_syntaxes == ("1.2", "1.3")


COMMITMENT = "1.2.840.10008.1.20.1"


def test_pynetdicom_decodes_our_acceptance() -> None:
    request = decode_associate_request(REQUEST[6:])
    accepted = AnsweredContext(
        1, "1.2.840.10008.1.1", ContextResult.ACCEPTANCE, "1.2.840.10008.1.2"
    )
    refused = AnsweredContext(
        3, "1.2.3", ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, None
    )

    pdu = theirs.A_ASSOCIATE_AC()
    pdu.decode(
        encode_associate_accept(
            request,
            [accepted, refused],
            max_pdu_bytes=4096,
            roles={COMMITMENT: (True, True)},
        )
    )
    primitive = pdu.to_primitive()

    assert isinstance(primitive, A_ASSOCIATE)
    assert primitive.result == 0
    assert primitive.maximum_length_received == 4096
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    results = primitive.presentation_context_definition_results_list
    assert [(one.context_id, one.result) for one in results] == [(1, 0), (3, 3)]
    assert results[0].transfer_syntax == ["1.2.840.10008.1.2"]
    assert (pdu.reserved_aet, pdu.reserved_aec) == ("GROUNDING", "PACS")


@pytest.mark.parametrize("name", sorted(REJECTIONS))
def test_pynetdicom_decodes_our_rejections(name: str) -> None:
    rejection = REJECTIONS[name]

    pdu = theirs.A_ASSOCIATE_RJ()
    pdu.decode(encode_associate_reject(rejection))

    assert (pdu.result, pdu.source, pdu.reason_diagnostic) == (
        rejection.result,
        rejection.source,
        rejection.reason,
    )
    assert pdu.reason_str


def test_pynetdicom_decodes_our_abort_and_release() -> None:
    abort = theirs.A_ABORT_RQ()
    abort.decode(encode_abort(AbortReason.INVALID_PARAMETER))
    by_user = theirs.A_ABORT_RQ()
    by_user.decode(encode_abort(None))
    release = theirs.A_RELEASE_RP()
    release.decode(RELEASE_RESPONSE)

    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    assert (by_user.source, by_user.reason_diagnostic) == (0, 0)
    assert release.pdu_length == 4


@given(
    status=st.sampled_from(Status),
    comment=st.text(max_size=100),
    message_id=st.integers(0, 0xFFFF),
)
def test_pydicom_decodes_our_responses(
    status: Status, comment: str, message_id: int
) -> None:
    command = Command(CommandField.C_STORE_RQ, message_id, True, "1.2.3", "1.2.3.4")
    encoded = encode_response(command, status, comment)

    ds = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)

    assert [elem.tag for elem in ds] == sorted(elem.tag for elem in ds)
    assert ds.CommandGroupLength == len(encoded) - 12
    assert ds.CommandField == 0x8001
    assert ds.MessageIDBeingRespondedTo == message_id
    assert ds.Status == status
    assert ds.AffectedSOPInstanceUID == "1.2.3.4"
    assert len(str(ds.get("ErrorComment", ""))) <= 64


def test_what_is_no_uid_is_not_sent_back() -> None:
    command = Command(CommandField.C_STORE_RQ, 1, True, "1.2.3", "../../etc")

    assert b"etc" not in encode_response(command, Status.CANNOT_UNDERSTAND)


def test_a_request_is_decoded() -> None:
    command = decode_command(
        command_set(1, sop_class="1.2.3", sop_instance="1.2.3.4", message_id=77)
    )

    assert command == Command(1, 77, True, "1.2.3", "1.2.3.4")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_requests_are_decoded_or_violations(data: st.DataObject) -> None:
    body = bytearray(REQUEST[6:])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))

    try:
        request = decode_associate_request(bytes(body[:cut]))
    except ProtocolViolationError:
        return
    title = request.calling_ae_title + request.called_ae_title
    assert title.isprintable()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_command_bytes_are_decoded_or_violations(data: bytes) -> None:
    try:
        decode_command(data)
    except ProtocolViolationError:
        return
