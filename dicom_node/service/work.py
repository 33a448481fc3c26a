"""What processes studies, and what asks others on their behalf."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from dicom_node.assembly import Assembler, system_clock
from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.retention import Retention
from dicom_node.service.closing import Closing, Part
from dicom_node.service.rooms import (
    make_job_processor,
    make_processor,
    make_remotes,
    make_retrieve_line,
    make_retriever,
    make_worklist,
)
from dicom_node.service.upkeep import Upkeep
from dicom_node.spool import Spool
from dicom_node.store import CollectingStudy, Store, VersionKey

if TYPE_CHECKING:
    from dicom_node.commitment_messages import CommitmentReport
    from dicom_node.workflows import StudyProcessor, Workflows

__all__ = ["StudyWork"]

_STOP_GRACE_S = 5
"""Work that takes longer is left to the next start: it is durable."""

_ASKER_GRACE_S = 10.0
_LAUNCH_S = 30.0


class StudyWork:
    """Workflows and models, and what asks archives, worklists and remote models.

    The listener is there before it, and tells it of studies: its workflows load
    meanwhile.

    Parameters
    ----------
    settings : NodeSettings
        Everything the operator decides.
    store : Store
        Keeps studies, results and what is still to do.
    closing : Closing
        Told of what has been started.
    registry : prometheus_client.CollectorRegistry
        What is measured.
    counters : Counters
        Counts what is done.
    processor : StudyProcessor, optional
        Makes the results; the pipeline with the configured model when absent.

    """

    workflows: Workflows
    processor: StudyProcessor
    retention: Retention
    upkeep: Upkeep

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        closing: Closing,
        registry: CollectorRegistry,
        counters: Counters,
        processor: StudyProcessor | None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._closing = closing
        self._registry = registry
        self._counters = counters
        self._given = processor
        self._is_launched = threading.Event()

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        """Put a version to work."""
        self.workflows.version_ready(key, is_requested=is_requested)

    def study_requested(self, study: CollectingStudy) -> None:
        """Put to work at once what a study still has to do."""
        self.workflows.study_requested(study)

    def expect(self) -> None:
        """Load what a study will need: its first instance is here."""
        from dicom_node.workflows.processing import Expecting

        if isinstance(self.processor, Expecting):
            self.processor.expect()

    def take_report(
        self, ae_title: str, peer_address: str, report: CommitmentReport
    ) -> bool:
        """Take what a peer says of results that it was to commit itself to.

        Raises
        ------
        StoreError
            The node is starting, or the database is away.

        """
        # A peer may report in the moment between the listener and the workflows.
        if not self._is_launched.wait(_LAUNCH_S):
            raise StoreError("the node is starting")
        return self.workflows.take_report(ae_title, peer_address, report)

    def launch(self, assembler: Assembler, spool: Spool) -> dict[str, int]:
        """Load the workflows and take up what an earlier run left.

        Parameters
        ----------
        assembler : Assembler
            Says which studies are complete.
        spool : Spool
            Where their instances lie.

        Returns
        -------
        dict of str to int
            How much was left, by what it is.

        """
        from dicom_node.workflows import Workflows, remove_unfinished

        settings, store = self._settings, self._store
        unfinished = remove_unfinished(settings.node.data_dir.resolve(), store)
        local = self._given or make_processor(settings, self._counters)
        self.processor = local
        if settings.workers.enabled:
            jobs = make_job_processor(settings, store, local=local)
            self._registry.register(jobs)
            self.processor = jobs
        workflows = self.workflows = Workflows(
            settings, store, self.processor, counters=self._counters
        )
        self._remotes = make_remotes(
            settings, store, local, on_due=workflows.version_due
        )
        workflows.launch()
        self._closing.add(Part.WORKFLOWS, lambda: workflows.stop(grace_s=_STOP_GRACE_S))
        self.retention = Retention(
            store, spool, settings=settings.retention, clock=system_clock
        )
        self._registry.register(self.retention)
        self.upkeep = Upkeep(
            store,
            spool,
            assembler=assembler,
            workflows=workflows,
            retention=self.retention,
        )
        retriever = make_retriever(settings, store, assembler, spool=spool)
        self._retrieve = make_retrieve_line(retriever, store)
        if self._retrieve is not None:
            workflows.complete_by(self._retrieve)
        self._worklist = make_worklist(settings, store, bringer=retriever)
        resumed = workflows.resume()
        self._is_launched.set()
        return {"unfinished": unfinished, **resumed}

    def start(self) -> None:
        """Load the model in the background, and begin to ask others."""
        self.processor.start()
        self._closing.add(Part.PROCESSOR, self.processor.stop)
        if (retrieve := self._retrieve) is not None:
            retrieve.start()
            self._closing.add(Part.RETRIEVE, retrieve.stop)
        if (worklist := self._worklist) is not None:
            worklist.start()
            self._closing.add(Part.WORKLIST, lambda: worklist.stop(_ASKER_GRACE_S))
        if (remotes := self._remotes) is not None:
            remotes.start()
            self._closing.add(Part.REMOTES, remotes.stop)
