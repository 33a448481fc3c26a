"""RLE label maps on their way to a destination that takes them, or does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    LabelMapSegmentationStorage,
)

from dicom_node.config import DicomPeer
from dicom_node.deliver import send_objects
from dicom_node.objects import make_objects
from tests.builders.process import free_port
from tests.builders.result_cases import result_of


@pytest.mark.parametrize(
    ("syntax", "is_accepted"), [(RLELossless, True), (ExplicitVRLittleEndian, False)]
)
def test_a_label_map_is_sent_as_it_was_made_or_named_as_refused(
    syntax: str, is_accepted: bool, tmp_path: Path
) -> None:
    result = result_of("radiograph", tmp_path / "source", ("left kidney",))
    objects = make_objects(result, profile="labelmap", out_dir=tmp_path)
    stored: dict[str, tuple[str, bytes]] = {}

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        data = event.request.DataSet.getvalue()
        stored[uid] = (str(event.context.transfer_syntax), data)
        return 0x0000

    entity = AE("PEER")
    entity.add_supported_context(LabelMapSegmentationStorage, [syntax])
    entity.add_supported_context(Comprehensive3DSRStorage, [ExplicitVRLittleEndian])
    port = free_port()
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    try:
        peer = DicomPeer(name="peer", ae_title="PEER", host="127.0.0.1", port=port)
        outcomes = send_objects(objects, peer, ae_title="NODE")
    finally:
        server.shutdown()

    assert [one.is_delivered for one in outcomes] == [is_accepted, True]
    if not is_accepted:
        assert outcomes[0].reason.startswith("it does not accept")
        assert outcomes[0].reason.endswith("as RLE Lossless")
    assert len(stored) == 1 + is_accepted
    for one in objects:
        if (uid := one.reference.sop_instance_uid) in stored:
            found, data = stored[uid]
            assert found == one.transfer_syntax_uid
            assert one.path.read_bytes().endswith(data)
