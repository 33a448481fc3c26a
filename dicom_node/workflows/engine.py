"""DBOS as the node uses it: where it keeps its state and how its work is named."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, WorkflowStatus
from sqlalchemy import Engine, make_url

from dicom_node.config import NodeSettings

__all__ = [
    "POLLING_S",
    "engine_configuration",
    "expect_interruptions",
    "first_id",
    "name_of",
    "newest",
    "next_id",
    "queue_of",
]

POLLING_S = 0.2
"""How often a queue is looked at while something happens."""

_UNUSED_S = 1.0
"""How often the engine looks for messages between workflows: ours send none."""

log = structlog.get_logger(__name__)

_VERSION = "1"
"""Names the shape of the workflows: recovery takes up those of this shape."""


def engine_configuration(settings: NodeSettings, engine: Engine | None) -> DBOSConfig:
    """Return the settings of DBOS: beside the images, or in the node's PostgreSQL.

    Parameters
    ----------
    settings : NodeSettings
        Data folder and database.
    engine : sqlalchemy.Engine or None
        Connections to PostgreSQL that are closed to a node that was taken over: what
        such a node took from a queue would be done by nobody.

    """
    data_dir = settings.node.data_dir.resolve()
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        url = make_url(f"sqlite:///{data_dir / 'dbos.sqlite'}")
        _use_write_ahead_log(data_dir / "dbos.sqlite")
    more: DBOSConfig = {} if engine is None else {"system_database_engine": engine}
    return DBOSConfig(
        **more,
        name="dicom-node",
        system_database_url=url.render_as_string(hide_password=False),
        application_version=_VERSION,
        executor_id="node",
        # JSON: what is kept in a database is not executed when it is read back.
        serializer=DBOSPortableJSONSerializer(),
        use_listen_notify=False,
        log_level="WARNING",
        notification_listener_polling_interval_sec=_UNUSED_S,
    )


def expect_interruptions(*, is_ending: bool) -> None:
    """Say whether work may be cut short; else its end without an outcome is an error.

    What outlives the grace of a stop ends without an engine to write to, which calls
    that an error of its own. The next start does that work again.
    """
    logger = logging.getLogger("dbos")
    if is_ending:
        logger.addFilter(_INTERRUPTED)
    else:
        logger.removeFilter(_INTERRUPTED)


class _Interrupted(logging.Filter):
    """Tells of work that was cut short in the node's own words."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        if error is None:
            return True
        log.info("work_interrupted", error=error.__name__)
        return False


_INTERRUPTED = _Interrupted()


def queue_of(destination: str) -> str:
    """Return the queue of what goes to a destination."""
    return f"deliver-{destination}"


def first_id(name: str) -> str:
    """Return the id of the first workflow for a piece of work."""
    return f"{name}-0"


def name_of(workflow_id: str) -> str:
    """Return the name of the work that a workflow is for."""
    return workflow_id.rpartition("-")[0]


def next_id(workflow_id: str) -> str:
    """Return the id of the workflow after one for the same work."""
    name, _, number = workflow_id.rpartition("-")
    return f"{name}-{int(number) + 1}"


def newest(name: str) -> WorkflowStatus | None:
    """Return the last of the workflows that were queued under a name."""
    found = DBOS.list_workflows(
        workflow_id_prefix=f"{name}-",
        sort_desc=True,
        limit=1,
        load_input=False,
        load_output=False,
    )
    return found[0] if found else None


def _use_write_ahead_log(path: Path) -> None:
    # A property of the file: DBOS leaves it as it finds it.
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
