"""Run the real node with a model that fails as it is told: `privacy_node.py SETTINGS`.

While ``model-raises`` lies beside the settings the model raises an error that quotes
its prompts; on SIGUSR1 a thread ends with an error that nothing catches.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from dicom_node.cli.common import keep_private
from dicom_node.config import ModelSettings, load_settings
from dicom_node.grounding.grounder import GroundedPrompt, Progress
from dicom_node.imaging import Pixels
from dicom_node.records import ImageSeries
from dicom_node.service import run_node
from dicom_node.workflows import PipelineProcessor
from tests.builders.page_node import BrightnessGrounder
from tests.torture.canary import PATIENT


class RaisingGrounder(BrightnessGrounder):
    """Finds organs by brightness, or quotes what it was asked in an error."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "model-fails")
        self._raises = folder / "model-raises"

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        """Answer, unless the file is there."""
        if self._raises.exists():
            msg = f"{PATIENT} cannot be grounded: {prompts}"
            raise ValueError(msg)
        return super().ground(
            series,
            pixels,
            prompts,
            progress=progress,
            with_probabilities=with_probabilities,
        )


def _make_grounder(_settings: ModelSettings) -> RaisingGrounder:
    return RaisingGrounder(Path(sys.argv[1]).parent)


def _raise_in_thread(_number: int, _frame: FrameType | None) -> None:
    def fail() -> None:
        msg = f"{PATIENT} is quoted by an error"
        raise ValueError(msg)

    threading.Thread(target=fail).start()


if __name__ == "__main__":
    # As the command line does.
    warnings.simplefilter("ignore")
    keep_private()
    signal.signal(signal.SIGUSR1, _raise_in_thread)
    settings = load_settings(Path(sys.argv[1]))
    processor = PipelineProcessor(settings, make_grounder=_make_grounder)
    run_node(settings, processor=processor)
