"""result.json of finished studies, read once and kept for the pages."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from dicom_node.store.pages import StudyRow
from dicom_node.web.answers import (
    DeliveryCounts,
    PhraseCounts,
    StudySummary,
)

__all__ = ["Results", "is_report_source", "study_summary"]

_DOCUMENTS = 8
"""Whole answers in memory: a large one has megabytes."""

_SUMMARIES = 4096


class Results:
    """Reads ``result.json``; safe to share between threads.

    Parameters
    ----------
    data_dir : pathlib.Path
        What result folders are relative to.

    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._documents: OrderedDict[str, tuple[dict[str, Any], str]] = OrderedDict()
        self._digests: OrderedDict[str, str] = OrderedDict()
        self._summaries: OrderedDict[str, tuple[PhraseCounts, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def document(self, result_dir: str) -> dict[str, Any] | None:
        """Return the answer in a result folder; None: it cannot be read."""
        read = self._read(result_dir)
        return None if read is None else read[0]

    def digest(self, result_dir: str) -> str:
        """Return the hash of the answer in a result folder; empty: there is none."""
        # Every frame asks for it: it outlives the answer itself.
        with self._lock:
            known = self._digests.get(result_dir)
        if known is not None:
            return known
        read = self._read(result_dir)
        return "" if read is None else read[1]

    def counts(self, result_dir: str) -> tuple[PhraseCounts, bool] | None:
        """Count the phrases of an answer, and say whether a report states any."""
        with self._lock:
            known = self._summaries.get(result_dir)
        if known is not None:
            return known
        found = self.document(result_dir)
        if found is None:
            return None
        phrases = found["phrases"]
        by_status = [one["status"] for one in phrases]
        counts = PhraseCounts(
            present=by_status.count("present"),
            uncertain=by_status.count("uncertain"),
            absent=by_status.count("absent"),
            located=sum(bool(one["regions"]) for one in phrases),
        )
        has_report = any(is_report_source(str(one["source"])) for one in phrases)
        with self._lock:
            self._summaries[result_dir] = counts, has_report
            while len(self._summaries) > _SUMMARIES:
                self._summaries.popitem(last=False)
        return counts, has_report

    def _read(self, result_dir: str) -> tuple[dict[str, Any], str] | None:
        with self._lock:
            known = self._documents.get(result_dir)
            if known is not None:
                self._documents.move_to_end(result_dir)
                return known
        try:
            text = (self._data_dir / result_dir / "result.json").read_bytes()
            found = json.loads(text)
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or "phrases" not in found:
            return None
        read = found, hashlib.sha256(text).hexdigest()
        with self._lock:
            self._documents[result_dir] = read
            self._digests[result_dir] = read[1]
            while len(self._documents) > _DOCUMENTS:
                self._documents.popitem(last=False)
            while len(self._digests) > _SUMMARIES:
                self._digests.popitem(last=False)
        return read


def is_report_source(source: str) -> bool:
    """Return whether a phrase's source is a report, and no list or header."""
    return source not in {"argument", "vocabulary"} and not source.startswith("tag:")


def study_summary(row: StudyRow, results: Results) -> StudySummary:
    """Return a study as the list shows it."""
    found = None if row.result_dir is None else results.counts(row.result_dir)
    said = row.attributes
    return StudySummary(
        study_instance_uid=row.study_instance_uid,
        patient_name=said.get("PatientName", ""),
        patient_id=said.get("PatientID", ""),
        study_date=said.get("StudyDate", ""),
        study_description=said.get("StudyDescription", ""),
        accession_number=said.get("AccessionNumber", ""),
        modalities=list(row.modalities),
        state=row.state,
        reason=row.reason,
        is_prior=row.is_prior,
        rule=row.rule,
        priority=row.priority,
        instances=row.instances,
        versions=row.versions,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        images_removed_at=row.images_removed_at,
        phrases=None if found is None else found[0],
        has_report=row.has_report or (found is not None and found[1]),
        deliveries=[
            DeliveryCounts(
                destination=one.destination,
                delivered=one.delivered,
                stored=one.stored,
                pending=one.pending,
                dead=one.dead,
                last_comment=one.last_comment,
                next_attempt_at=one.next_attempt_at,
            )
            for one in row.deliveries
        ],
    )
