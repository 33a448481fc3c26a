"""The DICOM conformance statement: prose from a template, tables from the profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from string import Template

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag

from conformance.commitment import (
    COMMITMENT_REASONS,
    COMMITMENT_REQUEST_STATUSES,
    COMMITMENT_STATUSES,
)
from conformance.created import CREATED
from conformance.created_common import CreatedAttribute
from conformance.profile import (
    ASSOCIATION_LIMITS,
    DICOM_APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    QUERY_RETRIEVE_CONTEXTS,
    REJECTIONS,
    SCP_CONTEXTS,
    SCU_CONTEXTS,
    SEND_STATUSES,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
    PresentationContexts,
    Role,
)
from conformance.sop_classes import STANDARD_EDITION, STORAGE_CLASSES
from conformance.store_statuses import Status
from conformance.stow_statuses import STOW_REASONS, STOW_STATUSES

__all__ = ["render_statement"]

_TEMPLATE = "statement_template.md"

_MOST_NAMED = 8
"""Transfer syntaxes that are named one by one."""

_SETTINGS = (
    ("`node.ae_title`", "`GROUNDING`", "AE title, for calling and being called"),
    ("`node.host`, `node.port`", "`127.0.0.1`, 11112", "where it listens"),
    ("`[[callers]]`", "none: this machine", "AE title and address or network"),
    ("`[[archives]]`", "none", "AE title, host, port, service, what is fetched"),
    ("`[[destinations]]`", "none", "AE title, host, port, profile"),
    ("`limits.max_associations`", "128", "open associations"),
    ("`limits.max_pdu_bytes`", "131072", "largest P-DATA PDU received"),
    ("`limits.max_instance_bytes`", "4 GiB", "largest instance received"),
    ("`limits.pdu_timeout_s`", "30", "for a PDU that has begun; ARTIM"),
    ("`limits.idle_timeout_s`", "120", "silence on an association"),
    ("`limits.min_free_bytes`", "1 GiB", "disk kept free"),
    ("`limits.commitment_timeout_s`", "3600", "asked for commitment again after"),
)

_PARAMETERS = (
    ("Application Context Name", f"`{DICOM_APPLICATION_CONTEXT}`"),
    ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
    ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
    ("Maximum PDU Length", "131072, configurable 4096 to 16777216"),
    ("ARTIM timeout", "30 s, configurable; 2 s after the last PDU"),
    ("Association idle timeout", "120 s, configurable"),
    ("Open associations as acceptor", "128, configurable"),
    ("Open associations as initiator", "see 7.2.1.4"),
    ("Outstanding asynchronous operations", "1; not negotiated"),
    (
        "SCP/SCU role selection",
        "proposed: SCP of what C-GET fetches, SCP of storage commitment for reports; "
        "accepted: either role of storage commitment",
    ),
    ("SOP Class extended negotiation", "not negotiated"),
    ("User identity negotiation", "ignored; the association is not refused"),
)

_INITIATED = (
    ("Each destination", "2", "results, then the request for commitment to them"),
    ("Archives, all together", "2", "C-FIND, C-GET, C-MOVE: one for each study"),
    ("Worklist", "1", "C-FIND, C-GET, C-MOVE for the workitem that is performed"),
    ("Callers, all together", "1", "reports on storage commitment"),
)

_SEARCHED = (
    (
        "study",
        "StudyInstanceUID, StudyDate, StudyTime, AccessionNumber, StudyID, "
        "StudyDescription, InstitutionName, ReferringPhysicianName, PatientName, "
        "PatientID, IssuerOfPatientID, PatientBirthDate, PatientSex, "
        "ModalitiesInStudy",
    ),
    (
        "series",
        "SeriesInstanceUID, Modality, SeriesDate, SeriesTime, SeriesDescription, "
        "SeriesNumber, BodyPartExamined, ProtocolName, Manufacturer, StationName",
    ),
    (
        "instance",
        "SOPInstanceUID, SOPClassUID, InstanceNumber, Rows, Columns, NumberOfFrames",
    ),
)
"""What QIDO-RS matches: each level matches its own and those above it."""

_STOW_FAILURES = (
    (f"{Status.SOP_CLASS_NOT_SUPPORTED:04X}", "SOP class not accepted"),
    ("C122", "transfer syntax not accepted"),
    (
        f"{Status.OUT_OF_RESOURCES:04X}",
        "out of resources, or longer than `limits.max_instance_bytes`",
    ),
    (
        f"{Status.DATA_SET_MISMATCH:04X}",
        "of another study than the address names, or the meta information names "
        "another instance",
    ),
    (f"{Status.CANNOT_UNDERSTAND:04X}", "not a DICOM file, or not understood"),
    (f"{Status.PROCESSING_FAILURE:04X}", "anything else"),
)


def render_statement() -> str:
    """Return the statement as Markdown, in the order of PS3.2 Annex N."""
    template = resources.files("conformance").joinpath(_TEMPLATE)
    return Template(template.read_text(encoding="utf-8")).substitute(
        version=IMPLEMENTATION_VERSION_NAME,
        edition=STANDARD_EDITION,
        sop_classes=_sop_classes(),
        transfer_syntaxes=_transfer_syntaxes(),
        settings=_table(("Setting", "Default", "Meaning"), _SETTINGS),
        store_statuses=_table(
            ("Service status", "Code", "Meaning", "When"),
            (
                (one.category.value, f"{one.status:04X}", one.meaning, one.condition)
                for one in STORE_STATUSES
            ),
        ),
        send_statuses=_table(
            ("Code", "Meaning", "Behaviour"),
            ((one.codes, one.meaning, one.behaviour) for one in SEND_STATUSES),
        ),
        commitment_statuses=_table(
            ("Code", "Meaning", "When"),
            (
                (f"{one.status:04X}", one.meaning, one.condition)
                for one in COMMITMENT_STATUSES
            ),
        ),
        commitment_reasons=_table(
            ("Failure Reason", "Meaning", "When"),
            (
                (f"{one.reason:04X}", one.meaning, one.condition)
                for one in COMMITMENT_REASONS
            ),
        ),
        commitment_requests=_table(
            ("Code", "Behaviour"),
            ((one.codes, one.behaviour) for one in COMMITMENT_REQUEST_STATUSES),
        ),
        stow_statuses=_table(
            ("Status", "Meaning", "Behaviour"),
            ((one.codes, one.meaning, one.behaviour) for one in STOW_STATUSES),
        ),
        stow_reasons=_table(
            ("Reason", "Meaning", "Behaviour"),
            ((one.codes, one.meaning, one.behaviour) for one in STOW_REASONS),
        ),
        searched=_table(("Level", "Matching attributes"), _SEARCHED),
        stow_failures=_table(("Failure Reason", "When"), _STOW_FAILURES),
        initiated=_table(("Called", "Associations at a time", "For"), _INITIATED),
        parameters=_table(("Name", "Value"), _PARAMETERS),
        rejections=_table(
            ("Result", "Source", "Reason", "Meaning", "When"),
            (
                (
                    *map(str, (one.result, one.source, one.reason)),
                    one.meaning,
                    one.condition,
                )
                for one in REJECTIONS.values()
            ),
        ),
        associate_bytes=ASSOCIATION_LIMITS.associate_bytes,
        contexts=ASSOCIATION_LIMITS.contexts,
        transfer_syntaxes_each=ASSOCIATION_LIMITS.transfer_syntaxes,
        command_bytes=ASSOCIATION_LIMITS.command_bytes,
        accepted_contexts="\n\n".join(_contexts("Accepted", SCP_CONTEXTS)),
        proposed_contexts="\n\n".join(_contexts("Proposed", SCU_CONTEXTS)),
        archive_contexts="\n\n".join(
            _contexts("Proposed to archives", QUERY_RETRIEVE_CONTEXTS)
        ),
        created="\n".join(_created()),
        next_number=len(CREATED) + 1,
    )


def _sop_classes() -> str:
    roles: dict[tuple[str, str], set[Role]] = {}
    for row in (*SCP_CONTEXTS, *SCU_CONTEXTS, *QUERY_RETRIEVE_CONTEXTS):
        for uid, name in row.sop_classes.items():
            roles.setdefault((uid, name), set()).add(row.role)
    return _table(
        ("SOP Class", "UID", "User (SCU)", "Provider (SCP)"),
        (
            (name, f"`{uid}`", _yes(Role.SCU in found), _yes(Role.SCP in found))
            for (uid, name), found in roles.items()
        ),
    )


def _transfer_syntaxes() -> str:
    sent = {uid for row in SCU_CONTEXTS for uid in row.transfer_syntaxes}
    return _table(
        ("Transfer syntax", "UID", "Received", "Pixels read", "Sent"),
        (
            (
                one.name,
                f"`{one.uid}`",
                "Yes",
                _yes(one.is_decoded),
                _yes(one.uid in sent),
            )
            for one in TRANSFER_SYNTAXES
        ),
    )


def _contexts(what: str, rows: Iterable[PresentationContexts]) -> Iterator[str]:
    names = {one.uid: one.name for one in TRANSFER_SYNTAXES}
    for row in rows:
        count = len(row.sop_classes)
        classes = "; ".join(f"{name} `{uid}`" for uid, name in row.sop_classes.items())
        if count > len(names) // 2:
            classes = "each SOP class of 1.1 with this role"
        syntaxes = ", ".join(f"{names[uid]} `{uid}`" for uid in row.transfer_syntaxes)
        if len(row.transfer_syntaxes) == len(names):
            syntaxes = "each received syntax of 1.2"
        elif len(row.transfer_syntaxes) > _MOST_NAMED:
            syntaxes = "each syntax of 1.2 whose pixels are read"
        yield (
            f"**{what}, {row.service} as {row.role.value}**: {classes}; {syntaxes}. "
            f"{count} SOP classes, no extended negotiation."
        )


def _created() -> Iterator[str]:
    for number, (uid, attributes) in enumerate(CREATED.items(), 1):
        yield f"### A.{number} {STORAGE_CLASSES[uid]}\n"
        yield _attributes(attributes)
        yield ""


def _attributes(rows: Sequence[CreatedAttribute]) -> str:
    return _table(
        ("Attribute", "Tag", "Presence", "Source", "Value"),
        (
            (
                dictionary_description(one.keyword),
                _tag(one.keyword),
                one.presence,
                one.source,
                "; ".join(filter(None, (one.value, one.comment))),
            )
            for one in rows
        ),
    )


def _tag(keyword: str) -> str:
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"({tag.group:04X},{tag.element:04X})"


def _yes(is_so: bool) -> str:
    return "Yes" if is_so else "No"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
