"""Run the real node with a model that finds one corner: `corner_node.py SETTINGS`."""

from __future__ import annotations

import sys
from pathlib import Path

from dicom_node.config import load_settings
from dicom_node.service import run_node
from dicom_node.workflows import PipelineProcessor
from tests.builders.corner_grounder import BrightestBox

if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]), {})
    processor = PipelineProcessor(settings, make_grounder=lambda _model: BrightestBox())
    run_node(settings, processor=processor)
