"""REST: what people say of regions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.corrections import check_frames
from dicom_node.store.corrections import CorrectionAction, RedrawnFrame
from dicom_node.web.access import Editor, require
from dicom_node.web.answers_study import CorrectionAnswer, CorrectionFrame
from dicom_node.web.api_images import Uid
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS
from dicom_node.web.shown import find_outline, find_results, series_document

__all__ = ["make_corrections_router"]


class NewCorrection(BaseModel):
    """What a person says of a region."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    action: CorrectionAction
    frames: Annotated[list[CorrectionFrame], Field(max_length=100_000)] = []
    """The new outline, where the region is redrawn."""
    comment: Annotated[str, Field(max_length=1024)] = ""
    results: Annotated[str | None, Field(max_length=64)] = None
    """`shown_results` of the study as the person saw it: what is said of others than
    those that are shown by now is refused (409)."""


class MadeCorrection(BaseModel):
    """Where it is kept."""

    id: int


def make_corrections_router() -> APIRouter:
    """Make the routes by which regions are corrected."""
    router = APIRouter(tags=["corrections"], responses=PROBLEMS)

    @router.post("/studies/{uid}/regions/{tracking_uid}/corrections", status_code=201)
    def correct(
        parts: Parts,
        person: Editor,
        uid: Uid,
        tracking_uid: Uid,
        said: NewCorrection,
    ) -> MadeCorrection:
        """Accept, reject or redraw a region; the machine's results stay as they are."""
        version = find_results(parts, uid, said.results)
        outline = find_outline(parts, version, tracking_uid)
        frames = [RedrawnFrame(one.frame, tuple(one.runs)) for one in said.frames]
        check_frames(
            said.action,
            frames,
            series=series_document(parts, version, outline["series"]),
        )
        key = parts.store.corrections.add(
            version.id,
            tracking_uid,
            action=said.action,
            person=person.name or "",
            frames=frames,
            comment=said.comment,
            now=parts.now(),
        )
        return MadeCorrection(id=key)

    @router.get("/studies/{uid}/corrections", dependencies=[Depends(require("viewer"))])
    def list_corrections(parts: Parts, uid: Uid) -> list[CorrectionAnswer]:
        """List what was said of a study's regions, the oldest first."""
        return [
            CorrectionAnswer(
                id=one.id,
                content_version=one.content_version,
                tracking_uid=one.tracking_uid,
                action=one.action,
                frames=[
                    CorrectionFrame(frame=frame.frame, runs=list(frame.runs))
                    for frame in one.frames
                ],
                comment=one.comment,
                person=one.person,
                at=one.at,
            )
            for one in parts.store.corrections.of_study(uid)
        ]

    return router
