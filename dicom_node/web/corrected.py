"""Corrected results for the page: made when asked for, the last ones kept."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import HTTPException

from dicom_node.audit import EventKind
from dicom_node.scratch import scratch_folder
from dicom_node.web.shown import find_version

if TYPE_CHECKING:
    from dicom_node.corrections.corrected import Corrected
    from dicom_node.objects.review import Verifier
    from dicom_node.web.access import Person
    from dicom_node.web.parts import WebParts

__all__ = ["REPORT_FILE", "CorrectedFiles", "CorrectedResults"]

REPORT_FILE = "report.dcm"

_KEPT = 4
"""Results in memory; one takes as much as the SEGs of its redrawn regions."""


@dataclass(frozen=True, slots=True)
class CorrectedFiles:
    """A corrected result: its files by name."""

    files: Mapping[str, bytes]
    report_uid: str


class CorrectedResults:
    """Makes corrected results; safe to share between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, Verifier | None], CorrectedFiles] = (
            OrderedDict()
        )
        self._lock = threading.Lock()

    def find(
        self,
        parts: WebParts,
        study_instance_uid: str,
        *,
        content_version: str | None = None,
        verified_by: Person | None = None,
    ) -> CorrectedFiles:
        """Return the corrected result of a version, the newest when none is named.

        Raises
        ------
        HTTPException
            404: there is no such version, or nobody corrected a region of it.
        AccessError, CorrectionError, ObjectError
            As `corrections.corrected`.

        """
        # Imported here: the node listens before all this is loaded.
        from dicom_node.corrections import corrected

        version = find_version(parts, study_instance_uid, content_version)
        said = parts.store.corrections.of_study(study_instance_uid)
        newest = corrected.newest_by_region(said, version.content_version)
        if not newest:
            raise HTTPException(404, corrected.nothing_said(said))
        verifier = None
        if verified_by is not None:
            verifier = corrected.check_verifier(
                newest,
                verified_by.name,
                organisation=parts.settings.web.organisation,
            )
        key = (version.result_dir, corrected.digest_of(newest), verifier)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                read = corrected.read_corrected(
                    parts.store, version, newest, data_dir=parts.data_dir
                )
                scratch = scratch_folder(parts.data_dir)
                found = self._kept[key] = _make(read, verifier, scratch=scratch)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
        if verifier is not None:
            parts.store.record_event(
                EventKind.REPORT_VERIFIED,
                study_id=version.study_id,
                subject=found.report_uid,
                detail={"person": verifier.name},
            )
        return found


def _make(
    read: Corrected, verifier: Verifier | None, *, scratch: Path
) -> CorrectedFiles:
    from dicom_node.corrections.corrected import make_corrected_objects

    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        made = make_corrected_objects(read, out_dir=Path(folder), verifier=verifier)
        files = {one.path.name: one.path.read_bytes() for one in made}
    return CorrectedFiles(files, made[-1].reference.sop_instance_uid)
