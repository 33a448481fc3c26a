"""What must be true of studies in any character set and transfer syntax."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread

from conformance.validators import judge_file
from tests.builders.archive import Archive
from tests.torture.charset_study import SyntaxStudy
from tests.torture.delivering_node import DeliveringNode
from tests.torture.disorder_study import data_set_sha256
from tests.torture.outcome import Figure, at_least, at_most, seen

__all__ = ["judge_charsets"]

_BEYOND_DCMTK = frozenset({"ISO 2022 IR 87"})
"""The conversion that Debian builds DCMTK with does not know it."""


def judge_charsets(
    node: DeliveringNode,
    studies: Sequence[SyntaxStudy],
    archive: Archive,
    *,
    has_dcmtk: bool,
) -> tuple[Figure, ...]:
    """Judge stored instances, results, pages and DICOMweb of all studies.

    Parameters
    ----------
    node : DeliveringNode
        It runs, and has done all work.
    studies : sequence of SyntaxStudy
        What it was sent.
    archive : Archive
        Who got its results.
    has_dcmtk : bool
        Whether names are read by DCMTK as well.

    """
    found: Counter[str] = Counter()
    listed = _ask(node, "/studies?limit=200", found)
    for study in studies:
        found["changed"] += _changed(node, study)
        _judge_results(node, study, found, has_dcmtk=has_dcmtk)
        _judge_answers(node, study, listed, found)
    made = {one.uid for one in node.results("pacs")}
    figures: tuple[Figure, ...] = (
        at_most("instances lost or changed", found["changed"], 0),
        at_most("series without an overlay", found["no overlay"], 0),
        at_least("result objects", found["objects"], 2 * len(studies)),
        at_most("of these judged invalid", found["invalid"], 0),
        at_most("of these with another name", found["name"], 0),
        at_least("files judged by dciodvfy", found["dciodvfy"], found["objects"]),
        at_most("results not delivered", len(made - set(archive.uids)), 0),
        at_most("answers of pages and DICOMweb that are 5xx", found["5xx"], 0),
        at_most("other answers that are no answer", found["4xx"], 0),
        at_most("answers without the name", found["unnamed"], 0),
        seen("answers", found["answers"]),
    )
    if has_dcmtk:
        figures += (
            at_least("names read by DCMTK", found["dcmtk"], 1),
            at_most("of these other names", found["dcmtk other"], 0),
        )
    return figures


def _changed(node: DeliveringNode, study: SyntaxStudy) -> int:
    kept = Counter(
        data_set_sha256(node.folder / "data" / path)
        for (path,) in node.rows(
            "SELECT i.path FROM instances i JOIN studies s ON s.id = i.study_id"
            " WHERE s.study_instance_uid = ?",
            study.uid,
        )
    )
    sent = Counter(data_set_sha256(path) for path in study.paths)
    return ((sent - kept) + (kept - sent)).total()


def _judge_results(
    node: DeliveringNode, study: SyntaxStudy, found: Counter[str], *, has_dcmtk: bool
) -> None:
    rows = node.rows(
        "SELECT r.path FROM results r JOIN versions v ON v.id = r.version_id"
        " JOIN studies s ON s.id = v.study_id WHERE s.study_instance_uid = ?",
        study.uid,
    )
    for (path,) in rows:
        file = node.folder / "data" / path
        found["objects"] += 1
        judgement = judge_file(file)
        found["invalid"] += bool(judgement.violations)
        found["dciodvfy"] += "dciodvfy" in judgement.judges
        if study.case.text is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = str(dcmread(file, stop_before_pixels=True).PatientName)
        found["name"] += name != study.case.text
        if has_dcmtk and study.case.name not in _BEYOND_DCMTK:
            found["dcmtk"] += 1
            found["dcmtk other"] += f"[{study.case.text}]" not in _dump(file)


def _dump(path: Path) -> str:
    done = subprocess.run(
        ["/usr/bin/dcmdump", "+U8", "+P", "0010,0010", path],
        capture_output=True,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")


def _judge_answers(
    node: DeliveringNode, study: SyntaxStudy, listed: str, found: Counter[str]
) -> None:
    root = f"/dicom-web/studies/{study.uid}"
    answers = [
        listed,
        _ask(node, f"/studies/{study.uid}", found),
        _ask(node, f"/dicom-web/studies?StudyInstanceUID={study.uid}", found),
        _ask(node, f"{root}/metadata", found),
    ]
    _ask(node, f"{root}/series", found)
    _ask(node, f"{root}/instances", found)
    family = study.case.family
    if family is not None:
        found["unnamed"] += sum(family not in one for one in answers)
        found["unnamed"] += sum("\\u001b" in json.dumps(one) for one in answers)
    text = _ask(node, f"/studies/{study.uid}/result.json", found)
    document: Any = json.loads(text or '{"series": [], "outlines": [], "phrases": []}')
    shown = set()
    for outline in _outlines(document):
        index = outline["series"]
        drawn = _ask(
            node, f"/studies/{study.uid}/regions/{outline['tracking_uid']}", found
        )
        frame = _ask(node, f"/studies/{study.uid}/series/{index}/frames/1", found)
        if drawn and frame:
            shown.add(index)
    found["no overlay"] += len(study.syntaxes) - len(shown)


def _outlines(document: Any) -> list[Any]:
    return [one for phrase in document["phrases"] for one in phrase["outlines"]]


def _ask(node: DeliveringNode, path: str, found: Counter[str]) -> str:
    """Return an answer as text; empty: there was none."""
    found["answers"] += 1
    request = urllib.request.Request(f"http://127.0.0.1:{node.web_port}{path}")
    if path.startswith("/dicom-web"):
        request.add_header("Accept", "application/dicom+json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: bytes = answer.read()
    except urllib.error.HTTPError as error:
        found["5xx" if error.code >= 500 else "4xx"] += 1
        return ""
    return data.decode("utf-8", "replace")
