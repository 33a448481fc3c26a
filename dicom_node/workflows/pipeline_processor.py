"""The processor of the running node: `pipeline` with its two warm rooms."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node import __version__
from dicom_node.config import NodeSettings
from dicom_node.errors import WorkerLostError
from dicom_node.records import ObjectReference, ResultObject, StudyReady

if TYPE_CHECKING:
    from dicom_node.pipeline import Rooms

__all__ = ["PipelineProcessor"]


class PipelineProcessor:
    """Processes studies by `pipeline.process_study`.

    Parameters
    ----------
    settings : NodeSettings
        Model, limits and the destinations' profiles.

    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._rooms: Rooms | None = None
        self._is_stopped = False

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded."""
        rooms = self._rooms
        return rooms is not None and bool(getattr(rooms.grounder, "is_ready", True))

    @property
    def fingerprint(self) -> str:
        """What decides the results besides the study: model and software.

        Raises
        ------
        ModelLoadError
            There is no model.

        """
        identity = self._open().grounder.identity
        parts = [identity.name, identity.version, identity.sha256, __version__]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def start(self) -> None:
        """Load the model in the background; the node listens meanwhile."""
        threading.Thread(target=self._warm, name="warm-up", daemon=True).start()

    def stop(self) -> None:
        """End the rooms' processes."""
        with self._lock:
            self._is_stopped = True
            rooms = self._rooms
        if rooms is not None:
            rooms.reader.close()
            stop = getattr(rooms.grounder, "stop", None)
            if stop is not None:
                stop()

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
    ) -> Sequence[ResultObject]:
        """Ground a study's phrases and write its objects.

        Raises
        ------
        ModelLoadError, ObjectError
            As `pipeline.process_study`.

        """
        from dicom_node.pipeline import process_study, profiles_of

        processed = process_study(
            ready,
            rooms=self._open(),
            out_dir=out_dir,
            profiles=profiles_of(self._settings),
            predecessors=predecessors,
        )
        return processed.objects

    def _warm(self) -> None:
        try:
            grounder = self._open().grounder
        except WorkerLostError:
            return  # stopped before it was warm
        start = getattr(grounder, "start", None)
        if start is not None:
            start()

    def _open(self) -> Rooms:
        # Imported here: what receives must listen before all this is loaded.
        from dicom_node.grounding import GroundingWorker
        from dicom_node.imaging import PixelReader
        from dicom_node.pipeline import Rooms

        with self._lock:
            if self._is_stopped:
                raise WorkerLostError("the node is stopping")
            if self._rooms is None:
                self._rooms = Rooms(
                    reader=PixelReader(self._settings.limits),
                    grounder=GroundingWorker(self._settings.model),
                )
            return self._rooms
