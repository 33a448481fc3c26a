"""Claim work from a worklist, do it, and tell what came of it (PS3.4 CC, AIW-I).

    SCHEDULED -> claiming -> claimed -> processing -> completed
                    |           |           |
                   lost         +-----------+-> canceling -> canceled

What is asked of the manager is written down before, with the Transaction UID that
makes the workitem ours, so that a restart goes on with the same one.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_node.config import NodeSettings
from dicom_node.errors import NodeError, StoreError, WorklistError
from dicom_node.store import Store, StudyOutput, StudyState, Workitem, WorkitemState
from dicom_node.worklist.client import Answer, WorklistClient
from dicom_node.worklist.content import (
    WorkInput,
    cancellation,
    is_for,
    performed,
    progress,
    read_input,
    search_keys,
)

__all__ = ["StudyBringer", "WorklistPerformer"]

_MOST_CLAIMED = 4
"""Workitems that are ours at a time; other performers take the rest."""

_MOST_FAILURES = 20
"""Looks at a workitem that the manager does not serve while it serves others."""

_NOT_HERE = "the input is not here and could not be fetched"

log = structlog.get_logger(__name__)


class StudyBringer(Protocol):
    """Who fetches a study that a workitem names."""

    def bring(self, study_instance_uid: str, archives: Collection[str]) -> str:
        """Fetch a study from archives; return what went wrong, or nothing."""


class WorklistPerformer:
    """Asks a worklist manager for work, and does it.

    Parameters
    ----------
    settings : NodeSettings
        Worklist, archives and destinations.
    store : Store
        What was claimed, received and made.
    client : WorklistClient
        The manager.
    bringer : StudyBringer, optional
        Fetches input that is not here; None: there is no archive.
    clock : callable
        The wall clock.
    new_uid : callable
        Makes a Transaction UID.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        client: WorklistClient,
        bringer: StudyBringer | None,
        clock: Callable[[], datetime],
        new_uid: Callable[[], str] = generate_uid,
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._bringer = bringer
        self._clock = clock
        self._new_uid = new_uid
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None
        self._failures: Counter[str] = Counter()

    @property
    def trouble(self) -> str | None:
        """Why the manager cannot be asked; None: it can."""
        return self._trouble

    def start(self) -> None:
        """Ask for work every now and then."""
        self._thread = threading.Thread(target=self._run, name="worklist", daemon=True)
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Stop asking; what is claimed goes on at the next start."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join(grace_s)
        self._client.close()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self.look()
                self._trouble = None
            except NodeError as error:
                self._trouble = str(error)
                log.warning("worklist_waits", reason=str(error))
            except Exception:
                # A door. Its text may quote a workitem: `audit` writes class and place.
                self._trouble = "an error of the node, which its log names"
                log.exception("worklist_failed")
            self._is_stopping.wait(self._settings.ups.poll_s)

    def look(self) -> None:
        """Go on with what is ours, then ask for more.

        Raises
        ------
        WorklistError
            The manager cannot be asked; nothing is lost.
        StoreError
            The database could not answer.

        """
        failed = [one for one in self._store.workitems.open() if not self._try(one)]
        ups, station = self._settings.ups, self._settings.node.ae_title
        keys = search_keys(procedure=ups.procedure, station=station)
        for item in self._client.search(keys):
            if len(self._store.workitems.open()) >= _MOST_CLAIMED:
                return
            uid = str(item.get("SOPInstanceUID") or "")
            if not uid or not is_for(item, procedure=ups.procedure, station=station):
                continue
            begun = self._store.workitems.begin(
                uid, transaction_uid=str(self._new_uid()), now=self._clock()
            )
            if begun is not None and not self._try(begun):
                failed.append(begun)
        # The manager answers: what it does not serve holds no other for ever.
        for one in failed:
            self._failures[one.workitem_uid] += 1
            if self._failures[one.workitem_uid] >= _MOST_FAILURES:
                del self._failures[one.workitem_uid]
                is_over = one.state is WorkitemState.CANCELING
                self._note(
                    one,
                    WorkitemState.LOST if is_over else WorkitemState.CANCELING,
                    reason="the manager does not serve it",
                )

    def _try(self, one: Workitem) -> bool:
        """Go on with a workitem; False: it could not be asked about."""
        try:
            self._advance(one)
        except WorklistError as error:
            log.warning("workitem_waits", workitem=one.workitem_uid, reason=str(error))
            return False
        except StoreError:
            raise
        except Exception:
            # Its text may quote the workitem: `audit` writes class and place.
            log.exception("workitem_failed", workitem=one.workitem_uid)
            return False
        self._failures.pop(one.workitem_uid, None)
        return True

    def _advance(self, one: Workitem) -> None:
        if one.state is WorkitemState.CLAIMING:
            one = self._claim(one)
        if one.state is WorkitemState.CLAIMED:
            one = self._begin(one)
        if one.state is WorkitemState.PROCESSING:
            one = self._follow(one)
        if one.state is WorkitemState.CANCELING:
            self._cancel(one)

    def _claim(self, one: Workitem) -> Workitem:
        answer = self._client.change_state(
            one.workitem_uid, "IN PROGRESS", transaction_uid=one.transaction_uid
        )
        if answer is Answer.REFUSED:
            # Ours, when we ended before its answer was written down: the lock tells.
            answer = self._update(one, progress(0))
        if answer is not Answer.DONE:
            return self._note(one, WorkitemState.LOST, reason="somebody else has it")
        return self._note(one, WorkitemState.CLAIMED)

    def _begin(self, one: Workitem) -> Workitem:
        item = self._client.retrieve(one.workitem_uid)
        if item is None:
            return self._note(one, WorkitemState.LOST, reason="it is gone")
        asked = read_input(item)
        if len(asked.study_instance_uids) != 1:
            return self._give_up(one, "the input is not one study")
        (uid,) = asked.study_instance_uids
        if not self._has(asked) and self._bringer is not None:
            reason = self._bringer.bring(uid, self._archives_of(asked))
            log.info("workitem_input", workitem=one.workitem_uid, reason=reason)
        if not self._has(asked):
            return self._give_up(one, _NOT_HERE, study_instance_uid=uid)
        here = self._store.retrievals.known(uid).patient_id
        if asked.patient_id and here and asked.patient_id != here:
            return self._give_up(
                one, "the study here has another Patient ID", study_instance_uid=uid
            )
        if self._store.workitems.output(uid).state is not StudyState.DONE:
            self._store.requeue_study(
                uid,
                destinations={
                    it.name: it.profile for it in self._settings.destinations
                },
                now=self._clock(),
            )
        if self._update(one, progress(10)) is not Answer.DONE:
            return self._note(one, WorkitemState.LOST, reason="it was taken away")
        return self._note(one, WorkitemState.PROCESSING, study_instance_uid=uid)

    def _follow(self, one: Workitem) -> Workitem:
        output = self._store.workitems.output(one.study_instance_uid or "")
        if output.state is StudyState.FAILED:
            return self._give_up(one, f"processing failed: {output.reason}")
        if output.state is StudyState.IGNORED:
            return self._give_up(one, "a rule of the performer leaves the study out")
        if output.state in {None, StudyState.IDLE}:
            return self._give_up(one, "the study has nothing to process")
        if output.state is StudyState.DONE:
            return self._complete(one, output)
        if output.state is StudyState.PROCESSING and one.detail.get("progress") != 50:
            if self._update(one, progress(50)) is not Answer.DONE:
                return self._note(one, WorkitemState.LOST, reason="it was taken away")
            return self._note(one, one.state, progress=50)
        return one

    def _complete(self, one: Workitem, output: StudyOutput) -> Workitem:
        """Tell the results, when they are where the manager is told they are."""
        settings = self._settings
        reachable = [one for one in settings.destinations if one.kind != "folder"]
        profile = settings.shown_profile
        retrieve_url = settings.ups.output_url
        retrieve_ae_title = None if retrieve_url else settings.node.ae_title
        if retrieve_url is None and reachable:
            first = reachable[0]
            if first.name in output.waiting:
                return one
            if first.name in output.lost:
                return self._give_up(one, "the results could not be delivered")
            profile = first.profile
            retrieve_ae_title, retrieve_url = first.ae_title, first.url
        made = tuple(it for it, its in output.results if its == profile)
        if not made:
            return self._give_up(one, "processing gave no result")
        item = self._client.retrieve(one.workitem_uid)
        codes = None if item is None else item.get("ScheduledWorkitemCodeSequence")
        now = self._clock()
        answer = self._update(
            one,
            performed(
                made,
                station=settings.node.ae_title,
                began=output.started_at or one.claimed_at,
                ended=output.finished_at or now,
                procedure=codes[0] if codes else None,
                retrieve_ae_title=retrieve_ae_title,
                retrieve_url=retrieve_url,
            ),
        )
        return self._end(one, "COMPLETED", WorkitemState.COMPLETED, answer)

    def _cancel(self, one: Workitem) -> Workitem:
        reason = str(one.detail.get("reason", ""))
        answer = self._update(one, cancellation(reason, now=self._clock()))
        return self._end(one, "CANCELED", WorkitemState.CANCELED, answer)

    def _end(
        self, one: Workitem, wanted: str, state: WorkitemState, answer: Answer
    ) -> Workitem:
        if answer is Answer.DONE:
            answer = self._client.change_state(
                one.workitem_uid, wanted, transaction_uid=one.transaction_uid
            )
        if answer is Answer.DONE:
            return self._note(one, state)
        # Perhaps it got there, and we ended before that was written down.
        item = self._client.retrieve(one.workitem_uid)
        if item is not None and item.get("ProcedureStepState") == wanted:
            return self._note(one, state)
        return self._note(one, WorkitemState.LOST, reason=f"it refused {wanted}")

    def _give_up(
        self, one: Workitem, reason: str, *, study_instance_uid: str | None = None
    ) -> Workitem:
        return self._note(
            one,
            WorkitemState.CANCELING,
            study_instance_uid=study_instance_uid,
            reason=reason,
        )

    def _update(self, one: Workitem, changes: Dataset) -> Answer:
        return self._client.update(
            one.workitem_uid, changes, transaction_uid=one.transaction_uid
        )

    def _note(
        self,
        one: Workitem,
        state: WorkitemState,
        *,
        study_instance_uid: str | None = None,
        **detail: str | int,
    ) -> Workitem:
        if state is not one.state:
            log.info("workitem", workitem=one.workitem_uid, state=str(state), **detail)
        return self._store.workitems.advance(
            one,
            state,
            now=self._clock(),
            study_instance_uid=study_instance_uid,
            **detail,
        )

    def _has(self, asked: WorkInput) -> bool:
        (uid,) = asked.study_instance_uids
        here = self._store.retrievals.known(uid).sop_instance_uids
        return bool(here) and asked.sop_instance_uids <= here

    def _archives_of(self, asked: WorkInput) -> tuple[str, ...]:
        """Return the configured archives that a workitem names; all, if it names none.

        An address that no setting names is never called: whoever writes workitems
        could send the node anywhere.
        """
        archives = self._settings.archives
        if not asked.retrieve_ae_titles and not asked.retrieve_urls:
            return tuple(one.name for one in archives)
        return tuple(
            one.name
            for one in archives
            if (one.ae_title in asked.retrieve_ae_titles and one.ae_title)
            or (
                one.url is not None
                and any(url.startswith(one.url + "/") for url in asked.retrieve_urls)
            )
        )
