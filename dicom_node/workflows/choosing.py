"""What is decided about a version before it is queued: rule, model, priority, hours."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from dicom_node.assembly import Clock
from dicom_node.config import NodeSettings
from dicom_node.rules import Decision, RuleBook, study_tags
from dicom_node.store import RecordedDecision, Store, VersionKey
from dicom_node.workflows.order import place_in_line
from dicom_node.workflows.schedule import off_peak_delay_s

__all__ = ["Choice", "Chooser"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a version is queued."""

    is_processed: bool
    model: str | None
    place: int
    """Where it stands in the queue; the lower goes first."""
    delay_s: float
    """How long it waits for its hours."""
    pictures: int = 0
    """How many frames it has."""


class Chooser:
    """Decides about versions, once each, and remembers.

    Parameters
    ----------
    settings : NodeSettings
        Rules and off-peak hours.
    store : Store
        Keeps the decisions.
    clock : Clock
        The wall clock.

    Raises
    ------
    RuleError
        A rule cannot be understood.

    """

    def __init__(self, settings: NodeSettings, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._schedule = settings.schedule
        self._data_dir = settings.node.data_dir.resolve()
        self._book = RuleBook(settings.rules)
        self._off_peak = {one.name for one in settings.rules if one.off_peak}

    def choose(self, key: VersionKey, *, is_requested: bool = False) -> Choice:
        """Decide about a version; a decision that was made before holds.

        Parameters
        ----------
        key : VersionKey
            The version.
        is_requested : bool
            A person asks for it: it is urgent, and no rule keeps it out or back.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        known = self._store.work.decision(key.version_id)
        if known is not None and not is_requested:
            return self._choice(key.version_id, known)
        decision = self._decide(key)
        recorded = RecordedDecision(
            decision.rule,
            decision.model,
            "requested" if is_requested else decision.priority,
        )
        is_processed = decision.is_processed or is_requested
        self._store.work.record_decision(
            key.version_id,
            run=key.run,
            decision=recorded,
            is_processed=is_processed,
            now=self._clock(),
        )
        if not is_processed:
            log.info(
                "study_ignored",
                study_instance_uid=key.study_instance_uid,
                rule=decision.rule,
            )
            return Choice(False, None, 0, 0.0)
        return self._choice(key.version_id, recorded)

    def recall(self, version_id: int) -> Choice:
        """Return what was decided about a version, as of now.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        known = self._store.work.decision(version_id)
        return self._choice(version_id, known or RecordedDecision(None, None, "normal"))

    def _decide(self, key: VersionKey) -> Decision:
        if not self._book:
            return Decision()
        instances = self._store.work.version_instances(
            key.version_id, data_dir=self._data_dir
        )
        try:
            return self._book.decide(study_tags(instances))
        except Exception:  # a door: one study must not hold the others
            # Its text may quote a data set: `audit` writes class and place.
            log.exception("rules_failed", study_instance_uid=key.study_instance_uid)
            return Decision()

    def _choice(self, version_id: int, known: RecordedDecision) -> Choice:
        size = self._store.work.version_size(version_id)
        waits = known.rule in self._off_peak and known.priority != "requested"
        return Choice(
            is_processed=True,
            model=known.model,
            place=place_in_line(
                known.priority,
                queued_at=self._clock() if size is None else size.queued_at,
                pictures=0 if size is None else size.pictures,
                by_cost=self._schedule.order == "cost",
            ),
            delay_s=off_peak_delay_s(self._schedule, self._clock()) if waits else 0.0,
            pictures=0 if size is None else size.pictures,
        )
