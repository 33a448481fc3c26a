"""Orthanc, given one SOP Instance UID twice with other bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydicom import dcmread

from dicom_node.deliver import send_objects
from tests.builders.network import loopback_network
from tests.torture.anchors import OrthancAnchor
from tests.torture.load import KEPT, make_sample
from tests.torture.outcome import Figure, seen

__all__ = ["conflict_at_orthanc"]


def conflict_at_orthanc(work: Path) -> tuple[str, tuple[Figure, ...]]:
    """Return its name, and what it says and keeps of the second content."""
    work.mkdir(parents=True)
    first = make_sample(work, "1.2.826.0.1.16", number=1, size=256)
    other = work / "other.dcm"
    ds = dcmread(first.path)
    ds[KEPT].value = bytes(256)
    ds.save_as(other)
    with loopback_network():
        # Its own default: what it has is not overwritten.
        anchor = OrthancAnchor(work / "run", storage=work / "storage", overwrites=False)
        anchor.start()
        try:
            said = [
                send_objects([path], anchor.peer, ae_title="PACS")[0]
                for path in (first.path, other)
            ]
        finally:
            anchor.kill()
        kept, _ = anchor.contents()
    contents = {first.kept, hashlib.sha256(bytes(256)).hexdigest()}
    return anchor.name, (
        seen("contents of one UID sent", len(contents)),
        seen("of these answered with success", sum(one.is_delivered for one in said)),
        seen("of these kept", len(contents & set(kept.values()))),
    )
