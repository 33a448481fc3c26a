"""Send studies to remote models once, wait for what comes back, and use it."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import NoReturn

import structlog

from dicom_node.assembly import Clock
from dicom_node.config import NodeSettings, RemoteSettings
from dicom_node.deidentify import Options, Pseudonyms, patient_identity, read_key
from dicom_node.deliver import send_objects
from dicom_node.errors import RemoteModelError, RemoteWaitsError, StoreError
from dicom_node.grounding.grounder import ModelIdentity
from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.records import ImageSeries, NotProcessed, Phrase, StudyReady
from dicom_node.remote.asking import make_questions
from dicom_node.remote.grounder import RemoteAnswers
from dicom_node.remote.leaving import Leaving, prepare
from dicom_node.remote.reading import Sent, missing_objects, read_answers
from dicom_node.store import Store, VersionKey
from dicom_node.store.remote_studies import RemoteAnswer, RemoteState, RemoteStudy

__all__ = ["RemoteGateway"]

_FOLDER = "remote"
"""Below the data folder: copies that are being sent; nothing of it is kept."""

_LOOK_S = 0.5
"""How often it is looked whether results are complete."""

log = structlog.get_logger(__name__)


class RemoteGateway:
    """The remote models of a node.

    Parameters
    ----------
    settings : NodeSettings
        Remotes, data folder and AE title.
    store : Store
        What was sent and what came back.
    clock : Clock
        The wall clock.
    on_due : callable
        Told the version that can go on: its results are here, or do not come.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        clock: Clock,
        on_due: Callable[[VersionKey], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._on_due = on_due
        self._data_dir = settings.node.data_dir.resolve()
        self._remotes = {one.name: one for one in settings.remotes}
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None
        store.remotes.titles = frozenset(one.ae_title for one in settings.remotes)

    @cached_property
    def _key(self) -> bytes:
        return read_key(self._data_dir)

    def start(self) -> None:
        """Begin to watch for results.

        Raises
        ------
        SettingsError
            The key of the pseudonyms cannot be read or made.

        """
        _ = self._key
        self._thread = threading.Thread(target=self._watch, name="remotes", daemon=True)
        self._thread.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Watch no more; what is waited for is durable."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join(grace_s)

    def is_remote(self, name: str | None) -> bool:
        """Whether a rule's model is a remote."""
        return name in self._remotes

    def ask(
        self,
        ready: StudyReady,
        name: str,
        *,
        series: Sequence[ImageSeries],
        phrases: Sequence[Phrase],
    ) -> RemoteAnswers:
        """Return a remote's answer about a study; sends the study at the first call.

        Parameters
        ----------
        ready : StudyReady
            The version that is being processed.
        name : str
            Which remote.
        series : sequence of ImageSeries
            What is to be interpreted.
        phrases : sequence of Phrase
            What is to be found.

        Raises
        ------
        RemoteWaitsError
            There is no answer yet: ask again. Every other trouble is an answer that
            says of each series why it has none.
        StoreError
            The database could not answer.

        """
        remote = self._remotes[name]
        questions, unsaid = make_questions(phrases, sends_text=remote.send_phrase_text)
        told = _told_unsaid(unsaid)
        if not questions or not series:
            return RemoteAnswers(_nobody(name), told=told)
        key = self._store.remotes.key_of(
            ready.study_instance_uid, ready.content_version
        )
        # Two versions of a study are two studies to a remote, so that it interprets
        # both; the same run sent again after a crash is the same study.
        occasion = f"{ready.content_version}/{key.run}"
        pseudonyms = Pseudonyms(self._key, name, occasion)
        one = self._store.remotes.begin(
            key,
            remote=name,
            pseudonymous_study_uid=pseudonyms.uid(ready.study_instance_uid),
            now=self._clock(),
        )
        sent = Sent(
            remote=name,
            series=series,
            questions=questions,
            pseudonyms=pseudonyms,
            patient_id=_patient_pseudonym(series, pseudonyms),
            other_uids=_pseudonymous_uids(ready, series, pseudonyms),
            refused=one.detail.get("refused", {}),
        )
        try:
            if one.state is RemoteState.SENDING:
                self._send(one, remote, sent, ready=ready)
            elif one.state is RemoteState.SENT:
                self._settle(one, remote)
        except _FailedError as error:
            log.warning("remote_failed", remote=name, reason=str(error))
        answer = self._answer(self._again(one), sent)
        return RemoteAnswers(
            answer.identity, answer.found, answer.refused, (*answer.told, *told)
        )

    def _send(
        self, one: RemoteStudy, remote: RemoteSettings, sent: Sent, *, ready: StudyReady
    ) -> None:
        """Send a study; raises `RemoteWaitsError`, or gives the study up."""
        folder = self._data_dir / _FOLDER / str(one.id)
        try:
            leaving = prepare(
                sent.series,
                sent.questions,
                folder=folder,
                study_instance_uid=ready.study_instance_uid,
                pseudonyms=sent.pseudonyms,
                options=Options(
                    retain_patient_characteristics=remote.retain_patient_characteristics,
                    allow_burned_in=remote.allow_burned_in,
                    allow_faces=remote.allow_faces,
                ),
            )
            refused = self._send_files(one, remote, leaving)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        images = [path for path, uid in leaving.images.items() if uid not in refused]
        if not images:
            why = next(iter(refused.values()), "nothing of it may leave")
            self._fail(one, why, refused=refused)
        self._store.remotes.sent(
            one, instances=len(images), refused=refused, now=self._clock()
        )
        log.info("study_exported", remote=one.remote, instances=len(images))
        raise RemoteWaitsError(f"it was sent to {one.remote}, which has not answered")

    def _send_files(
        self, one: RemoteStudy, remote: RemoteSettings, leaving: Leaving
    ) -> dict[str, str]:
        """Send files; return why a series stayed here, by its UID."""
        refused = dict(leaving.refused)
        if leaving.report is None:
            return refused
        # The questions first: who processes images at once has them by then.
        outcomes = send_objects(
            [leaving.report, *leaving.images],
            remote.peer,
            ae_title=self._settings.node.ae_title,
        )
        for outcome in outcomes:
            if outcome.is_delivered:
                continue
            if not outcome.is_refused:
                self._give_up_when_late(one, remote, "the remote model was not reached")
                raise RemoteWaitsError(f"{one.remote}: {outcome.reason}")
            if outcome.path == leaving.report:
                self._fail(one, "the remote model does not take what is asked")
            series_uid = leaving.images[outcome.path]
            refused[series_uid] = f"the remote model does not take it: {outcome.reason}"
        return refused

    def _settle(self, one: RemoteStudy, remote: RemoteSettings) -> None:
        """Close a study whose results are complete, or that are late."""
        answers = self._answers(one, remote)
        is_late = self._is_late(one, remote)
        reason = ""
        if answers and (is_late or self._is_complete(answers, remote)):
            if is_late:
                reason = "the answer of the remote model is not complete"
            self._store.remotes.answered(
                one,
                answer_ids=[each.id for each in answers],
                reason=reason,
                now=self._clock(),
            )
        elif is_late:
            self._give_up_when_late(one, remote, "the remote model did not answer")
        else:
            raise RemoteWaitsError(f"{one.remote} has not answered yet")

    def _answer(self, one: RemoteStudy, sent: Sent) -> RemoteAnswers:
        reason = str(one.detail.get("reason", ""))
        if one.state is RemoteState.FAILED:
            # Reasons of single series before the one of all that left.
            refused = {"": reason, **one.detail.get("refused", {})}
            return RemoteAnswers(_nobody(one.remote, reason), refused=refused)
        counted = set(one.detail.get("answer_ids", ()))
        paths = [
            self._data_dir / each.path
            for each in self._store.remotes.answers(one)
            if each.id in counted
        ]
        answer = read_answers(sent, paths)
        if not reason:
            return answer
        told = (*answer.told, NotProcessed("", reason))
        return RemoteAnswers(answer.identity, answer.found, answer.refused, told)

    def _answers(
        self, one: RemoteStudy, remote: RemoteSettings
    ) -> tuple[RemoteAnswer, ...]:
        return tuple(
            each
            for each in self._store.remotes.answers(one)
            if each.calling_ae_title in {remote.ae_title, ""}
        )

    def _is_complete(
        self, answers: Sequence[RemoteAnswer], remote: RemoteSettings
    ) -> bool:
        newest = max(each.received_at for each in answers)
        if self._clock() - newest < timedelta(seconds=remote.quiet_s):
            return False
        here = frozenset(each.sop_instance_uid for each in answers)
        paths = [self._data_dir / each.path for each in answers]
        return not missing_objects(paths, here)

    def _is_late(self, one: RemoteStudy, remote: RemoteSettings) -> bool:
        began = datetime.fromisoformat(str(one.detail["began_at"]))
        return self._clock() - began >= timedelta(seconds=remote.timeout_s)

    def _give_up_when_late(
        self, one: RemoteStudy, remote: RemoteSettings, what: str
    ) -> None:
        if self._is_late(one, remote):
            self._fail(one, f"{what} within {remote.timeout_s:.0f} s")

    def _fail(
        self, one: RemoteStudy, reason: str, *, refused: dict[str, str] | None = None
    ) -> NoReturn:
        self._store.remotes.failed(
            one, reason=reason, refused=refused or {}, now=self._clock()
        )
        raise _FailedError(reason)

    def _again(self, one: RemoteStudy) -> RemoteStudy:
        return self._store.remotes.begin(
            one.key,
            remote=one.remote,
            pseudonymous_study_uid=one.pseudonymous_study_uid,
            now=self._clock(),
        )

    def _watch(self) -> None:
        told: dict[int, int] = {}
        while not self._is_stopping.wait(_LOOK_S):
            try:
                self._look(told)
            except StoreError as error:
                log.warning("remotes_wait", reason=str(error))
            except Exception:  # a door: the watch goes on
                log.exception("remotes_failed")

    def _look(self, told: dict[int, int]) -> None:
        """Tell which versions can go on, once for each number of results."""
        for one in self._store.remotes.open_studies():
            remote = self._remotes.get(one.remote)
            if remote is None:
                continue
            try:
                count = self._due_with(one, remote)
            except StoreError:
                raise
            except Exception:  # a door: one study must not hold the others
                # Its text may quote a data set: `audit` writes class and place.
                log.exception("remote_failed_to_look", remote=one.remote)
                continue
            if count is not None and told.get(one.id) != count:
                told[one.id] = count
                self._on_due(one.key)

    def _due_with(self, one: RemoteStudy, remote: RemoteSettings) -> int | None:
        """Return with how many results a study can go on; -1: it is late."""
        if self._is_late(one, remote):
            return -1
        answers = self._answers(one, remote)
        is_due = answers and self._is_complete(answers, remote)
        return len(answers) if is_due else None


class _FailedError(RemoteModelError):
    """The study was given up."""


def _nobody(remote: str, reason: str = "") -> ModelIdentity:
    digest = hashlib.sha256(f"{remote}\n{reason}".encode()).hexdigest()
    return ModelIdentity(remote, "unknown", digest)


def _told_unsaid(unsaid: Sequence[str]) -> tuple[NotProcessed, ...]:
    if not unsaid:
        return ()
    reason = (
        f"{len(unsaid)} phrases were not asked of the remote model: they can only be "
        "said in the words of the report, which do not leave"
    )
    return (NotProcessed("", reason),)


def _patient_pseudonym(series: Sequence[ImageSeries], pseudonyms: Pseudonyms) -> str:
    tags = ["PatientID", "StudyInstanceUID"]
    with quiet_reading():
        ds = read_dataset(series[0].frames[0].path, specific_tags=tags)
        return pseudonyms.patient(patient_identity(ds))


def _pseudonymous_uids(
    ready: StudyReady, series: Sequence[ImageSeries], pseudonyms: Pseudonyms
) -> frozenset[str]:
    uids = {frame.sop_instance_uid for one in series for frame in one.frames}
    uids.add(f"{ready.study_instance_uid}/questions/1")
    return frozenset(pseudonyms.uid(one) for one in uids)
