"""REST: the studies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query

from dicom_node.store import StudyState
from dicom_node.web.access import require
from dicom_node.web.answers import StudyList
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS
from dicom_node.web.results import study_summary

__all__ = ["make_studies_router"]


def make_studies_router() -> APIRouter:
    """Make the routes of the studies."""
    router = APIRouter(tags=["studies"], responses=PROBLEMS)

    @router.get("/studies", dependencies=[Depends(require("viewer"))])
    def list_studies(
        parts: Parts,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str | None, Query(max_length=64)] = None,
        state: StudyState | None = None,
        q: Annotated[str, Query(max_length=64)] = "",
    ) -> StudyList:
        """List studies, the newest first.

        `q` is a patient ID, accession number or Study Instance UID, or a part of the
        patient's name.
        """
        try:
            page = parts.store.pages.list_studies(
                limit=limit, before=before, state=state, search=q
            )
        except ValueError as error:
            raise HTTPException(400, "before: this is no page") from error
        return StudyList(
            studies=[study_summary(one, parts.results) for one in page.studies],
            next=page.next,
            counts=page.counts,
        )

    return router
