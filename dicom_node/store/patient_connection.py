"""A connection to PostgreSQL that is closed when the server does not answer."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

from dicom_node.store.patience import PATIENCE_S

__all__ = ["PatientConnection"]


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer in time."""

    patience_s: float | None = PATIENCE_S
    """None: for ever, as a migration of large tables needs it."""

    def wait(self, gen: PQGen[RV], *arguments: Any, **options: Any) -> RV:
        """Wait for the server, not longer than `patience_s`."""
        if self.patience_s is None:
            return super().wait(gen, *arguments, **options)
        return super().wait(
            self._patiently(gen, self.patience_s), *arguments, **options
        )

    def _patiently(self, gen: PQGen[RV], patience_s: float) -> PQGen[RV]:
        end = time.monotonic() + patience_s
        try:
            wanted = next(gen)
            while True:
                # The driver sends an empty answer now and then while nothing happens.
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    gen.close()
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        "timeout: the server does not answer"
                    )
                wanted = gen.send(ready)
        except StopIteration as ended:
            result: RV = ended.value
            return result
