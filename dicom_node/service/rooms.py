"""Rooms that a node has only where its settings ask for them.

Each is imported where it is made: a node does not load what it does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dicom_node.assembly import Assembler, system_clock
from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.inbox import ReportInbox
from dicom_node.receive import InstanceReceiver
from dicom_node.scp import DicomServer
from dicom_node.scratch import scratch_folder
from dicom_node.service.guard import Guard
from dicom_node.spool import Spool
from dicom_node.store import Store, VersionKey

if TYPE_CHECKING:
    from dicom_node.atna import AuditService
    from dicom_node.hl7 import Hl7Listener
    from dicom_node.jobs import JobProcessor
    from dicom_node.remote import RemoteGateway
    from dicom_node.retrieve import ArchiveRetriever, RetrieveLine
    from dicom_node.service.web_door import WebDoor
    from dicom_node.workflows import PipelineProcessor, StudyProcessor
    from dicom_node.worklist import WorklistPerformer


__all__ = [
    "make_audit",
    "make_guard",
    "make_hl7",
    "make_job_processor",
    "make_processor",
    "make_remotes",
    "make_retrieve_line",
    "make_retriever",
    "make_worklist",
]


def make_audit(settings: NodeSettings, store: Store) -> AuditService | None:
    """Make what sends audit messages; None where they are to go nowhere.

    Raises
    ------
    SettingsError
        A certificate cannot be used.

    """
    if settings.audit.file is None and settings.audit.host is None:
        return None
    from dicom_node.atna import AuditService

    return AuditService(settings, store, clock=system_clock)


def make_guard(
    settings: NodeSettings,
    store: Store,
    *,
    server: DicomServer,
    others: Sequence[Hl7Listener | WebDoor | None],
) -> Guard:
    """Make what looks after access and certificates.

    Parameters
    ----------
    settings : NodeSettings
        Whose certificates there are.
    store : Store
        Keeps the audit trail.
    server : DicomServer
        Who refuses.
    others : sequence of Hl7Listener, WebDoor or None
        Who else may speak TLS.

    """
    return Guard(
        settings,
        store,
        refusals=server.refusals,
        tls=[server.tls, *(one.tls for one in others if one is not None)],
        clock=system_clock,
    )


def make_processor(settings: NodeSettings, counters: Counters) -> PipelineProcessor:
    """Make what processes studies; with workers, what knows their model.

    Parameters
    ----------
    settings : NodeSettings
        Models, and whether there are workers.
    counters : Counters
        Counts what the models fell back to.

    """
    from dicom_node.workflows import PipelineProcessor

    if not settings.workers.enabled:
        return PipelineProcessor(settings, counters=counters)
    from dicom_node.jobs import KnownModel

    return PipelineProcessor(
        settings,
        make_grounder=lambda model: KnownModel(
            model, scratch_dir=scratch_folder(settings.node.data_dir)
        ),
        counters=counters,
    )


def make_job_processor(
    settings: NodeSettings, store: Store, *, local: StudyProcessor
) -> JobProcessor:
    """Make what has studies processed by workers.

    Parameters
    ----------
    settings : NodeSettings
        How they are reached.
    store : Store
        Keeps the jobs.
    local : StudyProcessor
        Knows which model they must have, and asks remote ones.

    Raises
    ------
    SettingsError
        The place for files cannot be used.

    """
    from dicom_node.jobs import JobProcessor, open_area

    return JobProcessor(
        settings,
        store,
        area=open_area(settings.workers, data_dir=settings.node.data_dir),
        local=local,
        is_remote={one.name for one in settings.remotes}.__contains__,
    )


def make_retriever(
    settings: NodeSettings, store: Store, assembler: Assembler, *, spool: Spool
) -> ArchiveRetriever | None:
    """Make what asks archives for images; None without archives."""
    if not settings.archives:
        return None
    from dicom_node.retrieve import ArchiveRetriever

    return ArchiveRetriever(
        settings,
        store,
        receiver=InstanceReceiver(spool, assembler, clock=system_clock),
        hold=assembler.hold,
        release=assembler.association_released,
        clock=system_clock,
    )


def make_retrieve_line(
    retriever: ArchiveRetriever | None, store: Store
) -> RetrieveLine | None:
    """Make the line in which studies wait for an archive; None without archives."""
    if retriever is None:
        return None
    from dicom_node.retrieve import RetrieveLine

    return RetrieveLine(retriever, store, clock=system_clock)


def make_remotes(
    settings: NodeSettings,
    store: Store,
    processor: StudyProcessor,
    *,
    on_due: Callable[[VersionKey], None],
) -> RemoteGateway | None:
    """Make who asks remote models; None without any, or for another processor.

    Parameters
    ----------
    settings : NodeSettings
        The remotes.
    store : Store
        Keeps what was sent and what came back.
    processor : StudyProcessor
        Told whom to ask.
    on_due : callable
        Told which version can go on.

    """
    if not settings.remotes:
        return None
    from dicom_node.workflows import PipelineProcessor

    if not isinstance(processor, PipelineProcessor):
        return None
    from dicom_node.remote import RemoteGateway

    gateway = RemoteGateway(settings, store, clock=system_clock, on_due=on_due)
    processor.remotes = gateway
    return gateway


def make_worklist(
    settings: NodeSettings, store: Store, *, bringer: ArchiveRetriever | None
) -> WorklistPerformer | None:
    """Make the performer of a UPS worklist; None without one.

    Parameters
    ----------
    settings : NodeSettings
        Where the worklist is.
    store : Store
        Keeps what was taken on.
    bringer : ArchiveRetriever, optional
        Brings the studies that work items name.

    """
    ups = settings.ups
    if ups.url is None:
        return None
    from dicom_node.http_peer import http_client
    from dicom_node.worklist import WorklistClient, WorklistPerformer

    return WorklistPerformer(
        settings,
        store,
        client=WorklistClient(http_client(ups.url, token_file=ups.token_file)),
        bringer=bringer,
        clock=system_clock,
    )


def make_hl7(
    settings: NodeSettings,
    inbox: ReportInbox,
    *,
    counters: Counters,
    read_pdf: Callable[[bytes], str],
) -> Hl7Listener | None:
    """Make the listener for HL7 reports; None where the settings have none.

    Parameters
    ----------
    settings : NodeSettings
        Where it listens, and which fields it reads.
    inbox : ReportInbox
        Takes the reports.
    counters : Counters
        Counts the messages.
    read_pdf : callable
        Reads the text of an embedded PDF.

    """
    if not settings.hl7.enabled:
        return None
    from dicom_node.hl7 import Answering, Hl7Listener

    return Hl7Listener(
        settings.hl7,
        Answering(
            inbox,
            clock=system_clock,
            counters=counters,
            accession_fields=settings.hl7.accession_fields,
            processing_ids=settings.hl7.processing_ids,
            read_pdf=read_pdf,
        ),
        max_message_bytes=settings.limits.max_message_bytes,
    )
