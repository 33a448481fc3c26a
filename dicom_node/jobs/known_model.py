"""Says which model the workers must have: the node loads it once, and lets it go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.config import ModelSettings
from dicom_node.errors import ModelLoadError

if TYPE_CHECKING:
    from dicom_node.grounding.grounder import GroundedPrompt, ModelIdentity, Progress
    from dicom_node.imaging import Pixels
    from dicom_node.records import ImageSeries

__all__ = ["KnownModel"]


class KnownModel:
    """A `Grounder` that has a name and no model.

    Parameters
    ----------
    settings : ModelSettings
        The model.
    scratch_dir : pathlib.Path
        For the process that loads it.

    """

    def __init__(self, settings: ModelSettings, *, scratch_dir: Path) -> None:
        self._settings = settings
        self._scratch_dir = scratch_dir
        self._identity: ModelIdentity | None = None
        self._stop: Callable[[], None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it is known which model it is."""
        return self._identity is not None

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is.

        Raises
        ------
        ModelLoadError
            It cannot be loaded.

        """
        return self._identity or self.load()

    def load(self) -> ModelIdentity:
        """Load the model in a process of its own, and end that.

        Raises
        ------
        ModelLoadError
            It cannot be loaded.

        """
        from dicom_node.grounding.worker import GroundingWorker

        if self._identity is None:
            with GroundingWorker(
                self._settings, scratch_dir=self._scratch_dir
            ) as worker:
                self._stop = worker.stop
                self._identity = worker.load()
            self._stop = None
        return self._identity

    def stop(self) -> None:
        """End the process if it is there."""
        if self._stop is not None:
            self._stop()

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        """Refuse: workers do that.

        Raises
        ------
        ModelLoadError
            Always.

        """
        raise ModelLoadError("the model is with the workers")
