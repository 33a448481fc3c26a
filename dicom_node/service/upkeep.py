"""What goes on while the node works: studies are assembled, what was lost is found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from dicom_node.assembly import Assembler
from dicom_node.errors import StoreError
from dicom_node.reconcile import reconcile
from dicom_node.retention import Retention
from dicom_node.spool import Spool
from dicom_node.store import Store

if TYPE_CHECKING:
    from dicom_node.workflows import Workflows

__all__ = ["Upkeep"]

_HOUSEKEEPING_S = 60.0
_PROVE_S = 5.0
"""How often it is looked whether the database answers."""

_SETTLE_S = 1.0
"""How often names and rows are synced that wait for no sync of their own."""

_RECOVER_S = 2.0
"""How often it is looked whether what was away is back."""

log = structlog.get_logger(__name__)


class Upkeep:
    """Four threads: one assembles studies, three look after what was left.

    Parameters
    ----------
    store : Store
        What was received, made and delivered.
    spool : Spool
        Where the files lie.
    assembler : Assembler
        Makes versions of what has come.
    workflows : Workflows
        The durable work.
    retention : Retention
        Deletes what is done with.

    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        *,
        assembler: Assembler,
        workflows: Workflows,
        retention: Retention,
    ) -> None:
        self.trouble_with_files: str | None = None
        """What the start found wrong with files, in words."""
        self._store = store
        self._spool = spool
        self._assembler = assembler
        self._workflows = workflows
        self._retention = retention
        self._is_reconciled = False
        self._stop_asked = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (
                ("assembly", self._assemble),
                ("housekeeping", self._keep_house),
                ("recovery", self._recover),
                ("settling", self._settle),
            )
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing more; the assembler is stopped by itself."""
        self._stop_asked.set()

    def join(self, grace_s: float) -> None:
        """Wait for the threads, for so long each."""
        for thread in self._threads:
            thread.join(grace_s)
        self._survives(self._settle_once)

    def dead_threads(self) -> list[str]:
        """Return the names of those that do not run."""
        return [one.name for one in self._threads if not one.is_alive()]

    def _assemble(self) -> None:
        # Files without a row come before a version is made of their study; but what
        # does not pass by itself must not hold every other study.
        while not self._stop_asked.is_set() and self._survives(self._reconcile):
            if self._is_reconciled:
                break
            self._stop_asked.wait(1.0)
        self._assembler.run()

    def _reconcile(self) -> None:
        report = reconcile(self._store, self._spool)
        self.trouble_with_files = report.trouble
        self._is_reconciled = True

    def _keep_house(self) -> None:
        while not self._stop_asked.wait(_HOUSEKEEPING_S):
            self._survives(lambda: self._workflows.resume(only_overdue=True))
            if not self._is_reconciled:
                self._survives(self._reconcile)
            self._survives(self._retention.run)
            self._survives(self._workflows.forget)

    def _settle(self) -> None:
        while not self._stop_asked.wait(_SETTLE_S):
            self._survives(self._settle_once)

    def _settle_once(self) -> None:
        self._spool.settle()
        self._store.settle()

    def _recover(self) -> None:
        failures = 0
        pause_s = _RECOVER_S
        while not self._stop_asked.wait(pause_s):
            pause_s = _RECOVER_S
            try:
                now = self._store.prove()
            except StoreError:
                continue  # `/health` says so
            if now == failures:
                pause_s = _PROVE_S
            # What was refused while the database was away takes room, and what was
            # interrupted need not wait until it is overdue.
            self._survives(lambda: self._store.files.delete_refused(self._spool.names))
            if now != failures and self._survives(self._workflows.resume):
                failures = now

    def _survives(self, task: Callable[[], object]) -> bool:
        """Do a round of a background loop; return whether its trouble will pass."""
        try:
            task()
        except StoreError as error:
            log.error("background_waits", reason=str(error))  # noqa: TRY400
        except Exception:
            # Its text may quote a data set: `audit` writes class and place.
            log.exception("background_failed")
            return False
        return True
