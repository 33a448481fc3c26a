"""The corrected result as DICOM: a report with what people said, and their masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_node.corrections.kept import KeptResult, mask_of_frames, read_kept_result
from dicom_node.errors import AccessError, CorrectionError
from dicom_node.objects import make_review_objects
from dicom_node.objects.review import Judgement, Review, Verdict, Verifier
from dicom_node.records import Region, ResultObject, StudyResult
from dicom_node.store import Store
from dicom_node.store.corrections import Correction, CorrectionAction
from dicom_node.store.details import ShownVersion
from dicom_node.verify import verify_objects

__all__ = [
    "Corrected",
    "check_verifier",
    "digest_of",
    "make_corrected_objects",
    "newest_by_region",
    "nothing_said",
    "read_corrected",
]

_VERDICTS = {
    CorrectionAction.ACCEPT: Verdict.ACCEPTED,
    CorrectionAction.REJECT: Verdict.REJECTED,
    CorrectionAction.REDRAW: Verdict.REDRAWN,
}


@dataclass(frozen=True, eq=False)
class Corrected:
    """A version's result and what was said of it last."""

    kept: KeptResult
    newest: Mapping[str, Correction]
    """By tracking UID."""


def newest_by_region(
    said: Iterable[Correction], content_version: str
) -> dict[str, Correction]:
    """Return the newest correction of each region of one version, by tracking UID."""
    ordered = sorted(said, key=lambda one: one.id)
    return {
        one.tracking_uid: one
        for one in ordered
        if one.content_version == content_version
    }


def nothing_said(said: Iterable[Correction]) -> str:
    """Return why a version has no corrected result, and which versions have one."""
    others = sorted({one.content_version for one in said})
    text = "nobody has corrected a region of this version of the results"
    if others:
        text += "; corrections stay with their version: " + ", ".join(others)
    return text


def read_corrected(
    store: Store,
    version: ShownVersion,
    newest: Mapping[str, Correction],
    *,
    data_dir: Path,
) -> Corrected:
    """Read a version's result back, for what was said of it.

    Raises
    ------
    CorrectionError
        The files that it was made of are not all there, or every correction is of
        regions that another run on the same content found.
    ObjectError
        A file of the result cannot be read.

    """
    try:
        text = (data_dir / version.result_dir / "result.json").read_bytes()
        document: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise CorrectionError("the results cannot be read again") from error
    known = {
        outline["tracking_uid"]
        for phrase in document.get("phrases", ())
        for outline in phrase.get("outlines", ())
    }
    # Another model, asked again, finds other regions in the same content.
    newest = {uid: one for uid, one in newest.items() if uid in known}
    if not newest:
        msg = "the corrections are of regions that an earlier run found"
        raise CorrectionError(msg)
    try:
        kept = read_kept_result(
            document,
            store.details.results(version.id),
            store.work.version_instances(version.id, data_dir=data_dir),
            content_version=version.content_version,
            data_dir=data_dir,
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        msg = "the results are not written as this version writes them"
        raise CorrectionError(msg) from error
    return Corrected(kept, newest)


def check_verifier(
    newest: Mapping[str, Correction], name: str | None, *, organisation: str
) -> Verifier:
    """Return who verifies, if they may: whoever made all of the newest corrections.

    The moment is that of the newest correction, so that the same report has the same
    bytes (and UID) whenever it is asked for.

    Raises
    ------
    AccessError
        Somebody else made one of them (``status`` 403).
    CorrectionError
        No organisation is set.

    """
    people = {one.person for one in newest.values()}
    if name is None or people != {name}:
        msg = (
            "only the person who made all of the newest corrections can verify the"
            " report, for nobody else"
        )
        raise AccessError(msg, status=403)
    if not organisation.strip():
        msg = "a verified report names an organisation: set web.organisation"
        raise CorrectionError(msg)
    return Verifier(name, organisation.strip(), _last(newest))


def make_corrected_objects(
    corrected: Corrected, *, out_dir: Path, verifier: Verifier | None = None
) -> tuple[ResultObject, ...]:
    """Write the corrected result: ``segmentation-<n>.dcm``, then ``report.dcm``.

    The same corrections give the same files, byte for byte: UIDs come from the
    machine's report and the newest corrections, dates from the last of them.

    Raises
    ------
    CorrectionError
        A drawing does not fit its series.
    ObjectError
        An object cannot be made, or breaks a rule of the standard.

    """
    kept, newest = corrected.kept, corrected.newest
    result = _redraw(kept.result, newest)
    redrawn = {
        uid: one for uid, one in newest.items() if one.action is CorrectionAction.REDRAW
    }
    judgements = {
        uid: Judgement(_VERDICTS[one.action], one.person, one.comment)
        for uid, one in newest.items()
    }
    of_report = [] if verifier is None else [verifier.name, verifier.organisation]
    at = _last(newest)
    made = make_review_objects(
        replace(
            result,
            configuration_sha256=_digest(kept, newest, of_report),
            content_datetime=at,
        ),
        Review(judgements, verifier),
        redrawn=replace(
            _only(result, redrawn),
            configuration_sha256=_digest(kept, redrawn, []),
            content_datetime=max((one.at for one in redrawn.values()), default=at),
        ),
        redrawn_review=Review({uid: judgements[uid] for uid in redrawn}),
        machine=[
            replace(
                one,
                segments={u: n for u, n in one.segments.items() if u not in redrawn},
            )
            for one in kept.segmentations
        ],
        profile=kept.profile,
        out_dir=out_dir,
    )
    verify_objects(made, result.series, referred=kept.segmentations)
    return made


def _redraw(result: StudyResult, newest: Mapping[str, Correction]) -> StudyResult:
    """Put the masks that people drew in the place of the machine's."""
    grids = {(one.series_instance_uid, one.stack_number): one for one in result.series}

    def drawn(region: Region) -> Region:
        said = newest.get(region.tracking_uid)
        if said is None or said.action is not CorrectionAction.REDRAW:
            return region
        series = grids[region.series_instance_uid, region.stack_number]
        frames = {one.frame: one.runs for one in said.frames if one.runs}
        mask, origin = mask_of_frames(series, frames)
        return replace(region, mask=mask, mask_origin=origin, boxes=())

    return replace(
        result,
        phrases=tuple(
            replace(one, regions=tuple(drawn(region) for region in one.regions))
            for one in result.phrases
        ),
    )


def _only(result: StudyResult, uids: Iterable[str]) -> StudyResult:
    """Keep some regions; phrases stay, so that their colours do."""
    wanted = set(uids)
    return replace(
        result,
        phrases=tuple(
            replace(
                one,
                regions=tuple(r for r in one.regions if r.tracking_uid in wanted),
            )
            for one in result.phrases
        ),
        predecessors=(),
    )


def _digest(
    kept: KeptResult, said: Mapping[str, Correction], more: Sequence[str]
) -> str:
    made_of = [kept.report.sop_instance_uid, digest_of(said), *more]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def digest_of(said: Mapping[str, Correction]) -> str:
    """Hash corrections: the same ones, the same hash."""
    rows = [
        [
            uid,
            one.action.value,
            [[frame.frame, list(frame.runs)] for frame in one.frames],
            one.comment,
            one.person,
            one.at.isoformat(),
        ]
        for uid, one in sorted(said.items())
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _last(newest: Mapping[str, Correction]) -> datetime:
    return max(one.at for one in newest.values())
