"""The answers of the REST API as models: what its document says and what is sent."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from dicom_node.config.peers import Role

__all__ = [
    "Answer",
    "DeliveryCounts",
    "May",
    "Me",
    "PhraseCounts",
    "Problem",
    "SignIn",
    "StudyList",
    "StudySummary",
]


class Answer(BaseModel):
    """Says what it holds, and nothing else."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class Problem(Answer):
    """What is wrong."""

    detail: str
    """In plain words, free of patient data."""


class May(Answer):
    """What who asks may do."""

    see: bool
    correct: bool
    operate: bool
    administer: bool


class SignIn(Answer):
    """How people sign in."""

    needed: bool
    password: bool
    oidc: bool


class Me(Answer):
    """Who asks."""

    name: str | None
    role: Role | None
    may: May
    sign_in: SignIn
    version: str


class PhraseCounts(Answer):
    """How many phrases a study has."""

    present: int
    uncertain: int
    absent: int
    located: int
    """Those with a region."""


class DeliveryCounts(Answer):
    """A study's results at one destination, by state."""

    destination: str
    delivered: int
    stored: int
    """Taken; the destination has not committed to them yet."""
    pending: int
    dead: int
    last_comment: str | None
    next_attempt_at: datetime | None


class StudySummary(Answer):
    """A study in the list."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    study_date: str
    """YYYYMMDD, or empty."""
    study_description: str
    accession_number: str
    modalities: list[str]
    state: str
    reason: str | None
    is_prior: bool
    rule: str | None
    priority: str | None
    instances: int
    versions: int
    first_received_at: datetime
    last_received_at: datetime
    images_removed_at: datetime | None
    """When retention deleted its images; null: they are here."""
    phrases: PhraseCounts | None
    """Of the newest results; null: there are none yet."""
    has_report: bool
    deliveries: list[DeliveryCounts]


class StudyList(Answer):
    """Some studies, newest first."""

    studies: list[StudySummary]
    next: str | None
    """``before`` of the next page; null: this is the last."""
    counts: dict[str, int]
    """All studies, by state."""
