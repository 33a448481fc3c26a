"""What stands in the place of a model where a study leaves to be answered elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from dicom_node.records import ImageSeries, Phrase, StudyReady
from dicom_node.remote.gateway import RemoteGateway
from dicom_node.remote.grounder import RemoteAnswers

__all__ = ["RemoteModel"]


@dataclass(frozen=True, eq=False)
class RemoteModel:
    """One remote model of a gateway.

    ``meanwhile`` is held while it is asked, which takes as long as its network does.
    """

    gateway: RemoteGateway
    name: str
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext

    def ask(
        self,
        ready: StudyReady,
        *,
        series: Sequence[ImageSeries],
        phrases: Sequence[Phrase],
    ) -> RemoteAnswers:
        """Return its answer about a study, as `RemoteGateway.ask`."""
        with self.meanwhile():
            return self.gateway.ask(ready, self.name, series=series, phrases=phrases)
