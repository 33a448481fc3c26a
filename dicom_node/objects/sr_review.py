"""What a corrected report says of the people: who they are, what they judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import PersonName

from dicom_node.objects.common import clean_text, long_string
from dicom_node.objects.review import Verdict
from dicom_node.reports.codes import PRIVATE_SCHEME

if TYPE_CHECKING:
    from dicom_node.objects.common import Making
    from dicom_node.objects.review import Review, Verifier
    from dicom_node.records import Region

__all__ = ["add_verification", "people_items", "person_name", "review_items"]

_REVIEW = sr.CodedConcept("review", PRIVATE_SCHEME, "Review of the region")
_VERDICTS = {
    Verdict.ACCEPTED: sr.CodedConcept("accepted", PRIVATE_SCHEME, "Accepted"),
    Verdict.REJECTED: sr.CodedConcept("rejected", PRIVATE_SCHEME, "Rejected"),
    Verdict.REDRAWN: sr.CodedConcept("redrawn", PRIVATE_SCHEME, "Redrawn"),
}
_NOT_REVIEWED = sr.CodedConcept("not-reviewed", PRIVATE_SCHEME, "Not reviewed")


def people_items(review: Review) -> list[sr.ContentItem]:
    """Return the people who judged regions, each an observer (TID 1002, 1003)."""
    verifier = review.verifier
    return [
        item
        for one in review.people
        for item in _observer(
            one, verifier.organisation if verifier and verifier.name == one else ""
        )
    ]


def review_items(making: Making, region: Region) -> Iterator[sr.ContentItem]:
    """Yield what was said of a region; nothing in the machine's own report.

    Where several people judged regions, each group names its own: the observers of
    the root are all of them (PS3.16 TID 1001: a context holds until it is replaced).
    """
    review = making.review
    if review is None:
        return
    said = review.judgements.get(region.tracking_uid)
    if said is None:
        yield sr.CodeContentItem(_REVIEW, _NOT_REVIEWED, Relationship.CONTAINS)
        return
    if len(review.people) > 1:
        yield from _observer(said.person)
    yield sr.CodeContentItem(_REVIEW, _VERDICTS[said.verdict], Relationship.CONTAINS)
    if comment := clean_text(said.comment):
        yield sr.TextContentItem(codes.DCM.Comment, comment, Relationship.CONTAINS)


def add_verification(ds: Dataset, verifier: Verifier) -> None:
    """Say who verified a report, and that it is final (PS3.3 C.17.2).

    No identification code: the node knows names and no numbers of people.
    """
    item = Dataset()
    item.VerifyingObserverName = person_name(verifier.name)
    item.VerifyingObserverIdentificationCodeSequence = []
    item.VerifyingOrganization = long_string(verifier.organisation)
    item.VerificationDateTime = verifier.at.strftime("%Y%m%d%H%M%S%z")
    ds.VerifyingObserverSequence = [item]
    ds.VerificationFlag = "VERIFIED"
    ds.PreliminaryFlag = "FINAL"


def person_name(name: str) -> str:
    """Return the name that somebody signs in with as PN: one component, no groups."""
    return long_string(name.replace("^", " ").replace("=", " ")) or "unknown"


def _observer(name: str, organisation: str = "") -> Iterator[sr.ContentItem]:
    context = Relationship.HAS_OBS_CONTEXT
    yield sr.CodeContentItem(codes.DCM.ObserverType, codes.DCM.Person, context)
    # The builder warns of a name without a caret, which is valid PN.
    item = sr.PnameContentItem(codes.DCM.PersonObserverName, "^", context)
    item.PersonName = PersonName(person_name(name))
    yield item
    if organisation:
        yield sr.TextContentItem(
            codes.DCM.PersonObserverOrganizationName, organisation, context
        )
