"""Every context of the profile, proposed to a running server by pynetdicom."""

from __future__ import annotations

from collections.abc import Iterator

import pydicom
import pytest
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification

from conformance.profile import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    SCP_CONTEXTS,
    TRANSFER_SYNTAXES,
    ContextResult,
    choose_transfer_syntax,
)
from tests.builders.dicom_server import RunningServer, running_server
from tests.builders.raw_peer import CT_IMAGE_STORAGE, make_instance

CLASSES = {uid for row in SCP_CONTEXTS for uid in row.sop_classes}
FOREIGN_CLASSES = {
    "1.2.840.10008.5.1.4.31",  # Modality Worklist
    "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Query
    "1.2.840.10008.1.20.2",  # Storage Commitment Pull Model, retired
    "1.3.12.2.1107.5.9.1",  # a private class
}
SYNTAXES = {str(uid) for uid in ALL_TRANSFER_SYNTAXES} | {
    one.uid for one in TRANSFER_SYNTAXES
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("node")) as running:
        yield running


def _answers(
    node: RunningServer, contexts: list[PresentationContext]
) -> dict[tuple[str, str], int]:
    entity = AE("PACS")
    found: dict[tuple[str, str], int] = {}
    for at in range(0, len(contexts), 128):
        batch = contexts[at : at + 128]
        association = entity.associate(
            "127.0.0.1", node.port, contexts=batch, ae_title="GROUNDING"
        )
        if not association.is_established:
            # Nothing of this batch was accepted: pynetdicom aborts by itself then.
            results = association.rejected_contexts
        else:
            results = association.accepted_contexts + association.rejected_contexts
            association.release()
        for one in results:
            # A refused context comes back without the syntax that it had.
            asked = batch[(one.context_id - 1) // 2]
            key = str(asked.abstract_syntax), str(asked.transfer_syntax[0])
            found[key] = one.result
    return found


def test_every_context_is_answered_as_the_profile_says(node: RunningServer) -> None:
    pairs = [
        (abstract, transfer)
        for transfer in sorted(SYNTAXES)
        for abstract in sorted(CLASSES | FOREIGN_CLASSES)
    ]

    answers = _answers(node, [build_context(*pair) for pair in pairs])

    assert len(answers) == len(pairs)
    expected = {pair: choose_transfer_syntax(pair[0], [pair[1]])[0] for pair in pairs}
    assert answers == {pair: int(result) for pair, result in expected.items()}
    accepted = sum(one is ContextResult.ACCEPTANCE for one in expected.values())
    assert accepted == sum(
        len(row.sop_classes) * len(row.transfer_syntaxes) for row in SCP_CONTEXTS
    )


def test_the_server_names_itself_as_the_profile_says(node: RunningServer) -> None:
    association = AE("PACS").associate(
        "127.0.0.1",
        node.port,
        contexts=[build_context(Verification)],
        ae_title="GROUNDING",
    )

    acceptor = association.acceptor
    assert association.send_c_echo().Status == 0
    assert acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert acceptor.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert acceptor.maximum_length == 131_072
    association.release()


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
)
def test_pynetdicom_stores_in_every_uncompressed_encoding(
    node: RunningServer, syntax: str
) -> None:
    ds = make_instance(f"1.2.3.{UID(syntax).split('.')[-1]}.7")
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    association = AE("PACS").associate(
        "127.0.0.1",
        node.port,
        contexts=[build_context(CT_IMAGE_STORAGE, syntax)],
        ae_title="GROUNDING",
    )

    status = association.send_c_store(ds)
    association.release()

    assert status.Status == 0
    instance, _ = node.seen[-1]
    kept = pydicom.dcmread(node.data_dir / instance.path)
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.PatientID == ds.PatientID
    assert kept.SOPInstanceUID == ds.SOPInstanceUID
