"""Reads encapsulated documents, PDF and CDA, in a limited child process."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from dicom_node.child.process import ChildProcess
from dicom_node.errors import ProcessLostError, ReportError

__all__ = ["DocumentReader"]

_CHILD = "dicom_node.reports.document_child"

_FILE_BYTES = 1 << 20
"""The process writes nothing but its last words."""

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class DocumentReader:
    """Extracts text; a context manager, safe to share between threads.

    The process starts with the first document, and again after it was lost.

    Parameters
    ----------
    timeout_s : float
        Reading one document is given up after this long.
    memory_mb : int
        Address space of the process.

    """

    def __init__(self, *, timeout_s: float = 30.0, memory_mb: int = 1024) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._child = ChildProcess(
            _CHILD,
            (str(memory_mb << 20),),
            environment=_ENVIRONMENT,
            file_bytes=_FILE_BYTES,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The running process's id; None: there is none."""
        return self._child.pid

    def close(self) -> None:
        """End the process; a later `read` starts it again."""
        self._child.interrupt()
        with self._lock:
            self._child.stop()

    def read(self, path: Path, *, kind: str) -> str:
        """Return the text of the document in a DICOM file.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        kind : str
            ``pdf`` or ``cda``.

        Raises
        ------
        ReportError
            It cannot be read within the limits; the message says why and quotes
            nothing.

        """
        return self._ask({"path": str(path), "kind": kind})

    def read_bytes(self, data: bytes, *, kind: str) -> str:
        """Return the text of a document that did not come in a DICOM file.

        Parameters
        ----------
        data : bytes
            The document.
        kind : str
            ``pdf`` or ``cda``.

        Raises
        ------
        ReportError
            As `read`.

        """
        # In memory and without a name: nothing of a patient stays behind, however
        # this process ends.
        with os.fdopen(os.memfd_create("document"), "wb") as file:
            file.write(data)
            file.flush()
            return self._ask({"kind": kind}, files=(file.fileno(),))

    def _ask(self, request: dict[str, str], *, files: Sequence[int] = ()) -> str:
        kind = request["kind"]
        try:
            with self._lock:
                answer = self._child.ask(
                    request, timeout_s=self._timeout_s, files=files
                )
        except ProcessLostError as error:
            what = f"the {kind.upper()} document cannot be read"
            raise ReportError(f"{what}: {error}") from error
        if "result" in answer:
            return str(answer["result"]["text"])
        message = str(answer["error"])
        if answer["kind"] != ReportError.__name__:
            message = f"the {kind.upper()} document cannot be read: {message}"
        raise ReportError(message)
