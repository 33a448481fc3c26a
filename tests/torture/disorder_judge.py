"""What must be true of studies that came in disorder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage, KeyObjectSelectionDocumentStorage

from tests.builders.archive import Archive
from tests.torture.delivering_node import DeliveringNode
from tests.torture.disorder_study import SentStudy, data_set_sha256
from tests.torture.outcome import Figure, at_least, at_most, seen

__all__ = ["judge_disorder"]

_SR = "1.2.840.10008.5.1.4.1.1.88."


def judge_disorder(
    node: DeliveringNode, studies: Sequence[SentStudy], archive: Archive
) -> tuple[Figure, ...]:
    """Judge instances, versions, chains and deliveries of all studies."""
    found: Counter[str] = Counter()
    for study in studies:
        found.update(_instances(node, study))
        found.update(_versions(node, study))
    made = {one.uid: one for one in node.results("pacs")}
    arrived = Counter(archive.uids)
    found["out of order"] = _out_of_order(node, archive)
    return (
        at_most("instances lost or changed", found["lost"], 0),
        at_most("instances kept twice", found["twice"], 0),
        at_most(
            "conflicting instances not kept beside the first", found["conflict"], 0
        ),
        seen("versions", found["versions"]),
        at_least("versions with results", found["with results"], 2 * len(studies)),
        at_most("content versions with more than one result", found["results"], 0),
        at_most("documents that name other predecessors", found["chain"], 0),
        at_least("documents that name theirs", found["chained"], len(studies)),
        at_most("final results that lack an instance", found["incomplete"], 0),
        at_most("final results of other reports", found["reports"], 0),
        at_most("results not delivered", len(set(made) - set(arrived)), 0),
        at_most("results delivered twice", arrived.total() - len(arrived), 0),
        at_most("results after what supersedes them", found["out of order"], 0),
    )


def _instances(node: DeliveringNode, study: SentStudy) -> Counter[str]:
    rows = node.rows(
        "SELECT i.sop_instance_uid, i.path, i.is_conflict FROM instances i"
        " JOIN studies s ON s.id = i.study_id WHERE s.study_instance_uid = ?",
        study.uid,
    )
    kept = Counter(
        (uid, data_set_sha256(node.folder / "data" / path)) for uid, path, _ in rows
    )
    contested = sorted(flag for uid, _, flag in rows if uid == study.contested)
    return Counter(
        {
            "lost": len(study.contents - set(kept)),
            "twice": kept.total() - len(kept),
            "conflict": int(contested != [0, 1]),
        }
    )


def _versions(node: DeliveringNode, study: SentStudy) -> Counter[str]:
    rows = node.rows(
        "SELECT v.id, v.content_version, v.instance_count, v.result_dir"
        " FROM versions v JOIN studies s ON s.id = v.study_id"
        " WHERE s.study_instance_uid = ? ORDER BY v.id",
        study.uid,
    )
    found: Counter[str] = Counter(versions=len(rows))
    found["results"] += len(rows) - len({row[1] for row in rows})
    before: list[tuple[str, str]] = []
    for identifier, _, _, result_dir in rows:
        results = node.rows(
            "SELECT sop_instance_uid, sop_class_uid, path FROM results"
            " WHERE version_id = ?",
            identifier,
        )
        if not results:
            continue
        found["with results"] += 1
        document = _document(node, result_dir)
        listed = {one["sop_instance_uid"] for one in document["objects"]}
        found["results"] += int({row[0] for row in results} != listed)
        for _, sop_class, path in results:
            if _is_document(sop_class):
                expected = {
                    one for one, kind in before if _kind(kind) == _kind(sop_class)
                }
                named = _predecessors(node, path)
                found["chain"] += int(named != expected)
                found["chained"] += int(bool(named))
        before = [(row[0], row[1]) for row in results if _is_document(row[1])]
    count, result_dir = rows[-1][2:]
    found["incomplete"] = int(
        count != len({uid for uid, _ in study.contents}) or not result_dir
    )
    if result_dir:
        found["reports"] = int(not _is_of_right_reports(_document(node, result_dir)))
    return found


def _document(node: DeliveringNode, result_dir: str) -> Any:
    path = node.folder / "data" / result_dir / "result.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _is_of_right_reports(document: Any) -> bool:
    text = json.dumps(document["phrases"]).lower()
    return "liver" in text and "nodule" in text and "effusion" not in text


def _is_document(sop_class: str) -> bool:
    is_report = sop_class.startswith(_SR)
    return sop_class == EncapsulatedPDFStorage or (
        is_report and sop_class != KeyObjectSelectionDocumentStorage
    )


def _kind(sop_class: str) -> str:
    return "SR" if sop_class.startswith(_SR) else sop_class


def _predecessors(node: DeliveringNode, path: str) -> set[str]:
    ds = dcmread(node.folder / "data" / path)
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in ds.get("PredecessorDocumentsSequence") or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def _out_of_order(node: DeliveringNode, archive: Archive) -> int:
    version_of = dict(node.rows("SELECT sop_instance_uid, version_id FROM results"))
    newest: dict[str, int] = {}
    count = 0
    for study, uid, _ in archive.arrivals:
        version = version_of[uid]
        count += version < newest.get(study, 0)
        newest[study] = max(version, newest.get(study, 0))
    return count
