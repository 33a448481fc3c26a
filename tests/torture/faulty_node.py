"""The node with a model that has faults: ``faulty_node.py SETTINGS RETRY_S``."""

from __future__ import annotations

import sys
from pathlib import Path

from dicom_node.config import Engine, ModelSettings, load_settings
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.scratch import scratch_folder
from dicom_node.service import run_node
from dicom_node.workflows import PipelineProcessor, steps

STUB = Engine("tests.builders.stub_model:load", "tests.builders.stub_model:bundled")


def main() -> None:
    """Run until it is ended."""
    settings = load_settings(Path(sys.argv[1]), {})
    retry_s = float(sys.argv[2])
    steps.delivery_delay_s = lambda _attempt: retry_s  # type: ignore[attr-defined]

    def make(model: ModelSettings) -> GroundingWorker:
        return GroundingWorker(
            model,
            engines={"medglip": STUB},
            scratch_dir=scratch_folder(settings.node.data_dir),
            attempts=1,
        )

    run_node(settings, processor=PipelineProcessor(settings, make_grounder=make))


if __name__ == "__main__":
    main()
