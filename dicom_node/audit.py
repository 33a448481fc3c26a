"""What the node says about itself: events, logs and counters, free of patient data."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from enum import StrEnum
from types import TracebackType
from typing import TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter
from structlog.typing import EventDict, WrappedLogger

__all__ = ["Counters", "EventKind", "configure_logging"]


class EventKind(StrEnum):
    """What can be in the audit trail; each is written with the change it tells."""

    NODE_STARTED = "node_started"
    NODE_STOPPED = "node_stopped"
    INSTANCE_RECEIVED = "instance_received"
    INSTANCE_CONFLICT = "instance_conflict"
    """The same SOP Instance UID came with other bytes; both are kept."""
    INSTANCE_REPEATED = "instance_repeated"
    """Instances of a study that are here came again; once for a few minutes."""
    INSTANCE_REINDEXED = "instance_reindexed"
    """A file without a row was found at start and recorded."""
    FILE_MISSING = "file_missing"
    """A row's file is gone or damaged."""
    FILE_QUARANTINED = "file_quarantined"
    """A file without a row cannot be read, and was set aside."""
    FILES_RECONCILED = "files_reconciled"
    """Files and rows were compared after a start: what was found."""
    STUDY_COMPLETE = "study_complete"
    STUDY_REQUEUED = "study_requeued"
    STUDY_PROCESSED = "study_processed"
    STUDY_FAILED = "study_failed"
    STUDY_IGNORED = "study_ignored"
    """A rule leaves it out."""
    STUDY_SUPERSEDED = "study_superseded"
    """Newer images came before this version was processed."""
    REPORT_RECEIVED = "report_received"
    REPORT_JOINED = "report_joined"
    """A report that waited, or that another study of its order has, met its study."""
    REPORT_HELD_BACK = "report_held_back"
    """A report names a study that may be another patient's: it was not joined."""
    REPORT_FORGOTTEN = "report_forgotten"
    """Somebody deleted a report that waited for its study."""
    STUDY_RETRIEVED = "study_retrieved"
    """An archive was asked for what a study lacks, or for the study before it."""
    RETRIEVE_FAILED = "retrieve_failed"
    """An archive gave less than it announced, or is away, or names another patient."""
    DELIVERY_BEGUN = "delivery_begun"
    """Results are about to be sent to a destination for the first time."""
    RESULT_STORED = "result_stored"
    """A destination took it; it is delivered when the destination commits to it."""
    STUDY_EXPORTED = "study_exported"
    """A de-identified copy of it was sent to a remote model."""
    REMOTE_RESULT_RECEIVED = "remote_result_received"
    """A remote model sent an object; it belongs to no study of the node's own."""
    REMOTE_ANSWERED = "remote_answered"
    REMOTE_FAILED = "remote_failed"
    """A remote model refused a study, or gave no results in time."""
    WORKITEM_CLAIMED = "workitem_claimed"
    WORKITEM_ENDED = "workitem_ended"
    """Completed, cancelled, or somebody else's after all."""
    RESULT_DELIVERED = "result_delivered"
    DELIVERY_FAILED = "delivery_failed"
    DELIVERY_DEAD = "delivery_dead"
    COMMITMENT_REQUESTED = "commitment_requested"
    """A peer asked the node to commit to instances that it sent."""
    COMMITMENT_REPORTED = "commitment_reported"
    COMMITMENT_REPORT_DEAD = "commitment_report_dead"
    """A peer was never told what it asked for."""
    SWITCH_CHANGED = "switch_changed"
    """An operator turned something on or off."""
    USER_CHANGED = "user_changed"
    """A person who may sign in was added, changed or removed."""
    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SIGNED_OUT = "signed_out"
    STUDY_VIEWED = "study_viewed"
    """Somebody read a study or its results; once for a few minutes."""
    STUDIES_SEARCHED = "studies_searched"
    """Somebody looked for studies; once for a few minutes."""
    STUDY_REMOVED = "study_removed"
    """Retention deleted a study's images or results."""
    ASSOCIATION_REFUSED = "association_refused"
    """A peer called that may not, or not as whom it called."""
    TLS_FAILED = "tls_failed"
    """A peer's TLS handshake did not succeed."""
    CERTIFICATE_EXPIRES = "certificate_expires"
    """One of the node's own certificates ends soon, or has ended; once a day."""
    REGION_CORRECTED = "region_corrected"
    """A person accepted, rejected or redrew a region."""
    REPORT_VERIFIED = "report_verified"
    """A person took responsibility for a corrected report."""


class Counters:
    """What is counted since the process began.

    Parameters
    ----------
    registry : prometheus_client.CollectorRegistry
        Where ``/metrics`` finds them.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.studies = Counter(
            "dicom_node_studies_processed",
            "Study versions that a worker finished.",
            ["outcome"],
            registry=registry,
        )
        self.deliveries = Counter(
            "dicom_node_delivery_attempts",
            "Results sent to destinations, by outcome.",
            ["destination", "outcome"],
            registry=registry,
        )
        self.report_messages = Counter(
            "dicom_node_report_messages",
            "HL7 messages and FHIR resources that brought a report, by outcome.",
            ["channel", "outcome"],
            registry=registry,
        )
        self.model_fallbacks = Counter(
            "dicom_node_model_fallbacks",
            "Series that a model answered with fewer pictures at once, or on the CPU.",
            ["to"],
            registry=registry,
        )


def configure_logging(
    *, level: str = "INFO", stream: TextIO | None = None, as_json: bool | None = None
) -> None:
    """Send every log line of the process to one stream, one event a line.

    What nothing catches is a line too, in the main thread or another: the
    interpreter's own traceback would quote the message. Other libraries are heard
    from WARNING on, and by place alone: their words may hold whatever they read,
    as an HTTP client's hold the queries that it sends. What they say again and
    again is one line a minute; ``repeated`` counts what was left out since the last.

    Parameters
    ----------
    level : str
        Lowest level that is written of the node's own events.
    stream : text stream, optional
        Standard error when absent.
    as_json : bool, optional
        One JSON object a line; default: unless the stream is a terminal.

    """
    out = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_exception,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if (out.isatty() if as_json is None else not as_json)
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(_OncePerMinute())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _keep_to_place],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))
    for name in _OWN:
        logging.getLogger(name).setLevel(level)
    for name, quietest in _OTHERS.items():
        logger = logging.getLogger(name)
        # pydicom sets its own level when it is imported, which may be later.
        is_silent = quietest == "CRITICAL"
        logger.handlers = [logging.NullHandler() if is_silent else handler]
        logger.propagate = False
        logger.setLevel(quietest)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    structlog.get_logger(__name__).critical(
        "uncaught_exception", exc_info=(kind, error, trace)
    )


def _log_uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is SystemExit:
        return
    structlog.get_logger(__name__).critical(
        "uncaught_exception",
        thread=None if told.thread is None else told.thread.name,
        exc_info=(told.exc_type, told.exc_value, told.exc_traceback),
    )


_OWN = ("dicom_node", "model", "conformance")
"""Whose events are fields, chosen to be free of patient data."""

_WORDS = ("alembic", "uvicorn")
"""Libraries whose warnings are sentences about themselves."""

_OTHERS = {
    # pynetdicom and pydicom tell AE titles and element values at lower levels.
    "pynetdicom": "CRITICAL",
    "pydicom": "CRITICAL",
    # highdicom names every module it copies, and may warn with values.
    "highdicom": "CRITICAL",
    "dbos": "WARNING",
    "sqlalchemy": "ERROR",
    "alembic": "WARNING",
    "uvicorn": "WARNING",
    "uvicorn.error": "WARNING",
    "uvicorn.access": "ERROR",
}
"""Libraries whose lines may hold what must not be logged, and their level."""

_PAUSE_S = 60.0
"""So long a library that has said something is not heard with the same."""


class _OncePerMinute(logging.Filter):
    """Lets a library say each thing once a minute: a full disk lasts for hours."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._said: dict[tuple[object, ...], tuple[float | None, int]] = {}
        """By place and class of exception: when it was said last, and what since."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_own(record):
            return True
        error = record.exc_info[0] if record.exc_info else None
        kind = (record.name, record.pathname, record.lineno, error)
        with self._lock:
            at, left_out = self._said.get(kind, (None, 0))
            # A clock that was set back must not silence it.
            if at is not None and 0 <= record.created - at < _PAUSE_S:
                self._said[kind] = at, left_out + 1
                return False
            self._said[kind] = record.created, 0
        record.repeated = left_out
        return True


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in (*_OWN, *_WORDS)


def _keep_to_place(
    _logger: WrappedLogger, _name: str, event_dict: EventDict
) -> EventDict:
    record: logging.LogRecord = event_dict["_record"]
    if not _is_own(record):
        event_dict["event"] = "library_message"
        event_dict["logged_at"] = f"{record.filename}:{record.lineno}"
        if repeated := getattr(record, "repeated", 0):
            event_dict["repeated"] = repeated
    return event_dict


def _describe_exception(
    _logger: WrappedLogger, _name: str, event_dict: EventDict
) -> EventDict:
    # The text of an exception from elsewhere may quote a data set: only its class
    # and the place where it was raised are written.
    info = event_dict.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[0] is not None:
        event_dict["exception"] = info[0].__name__
        frames = traceback.extract_tb(info[2])
        if frames:
            event_dict["raised_at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
    return event_dict
