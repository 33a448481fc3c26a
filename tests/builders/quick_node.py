"""Run the real node, but with a processor that is quick: `quick_node.py SETTINGS`."""

from __future__ import annotations

import sys
from pathlib import Path

from dicom_node.config import load_settings
from dicom_node.service import NodeService
from tests.builders.study_processor import QuickProcessor

if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]), {})
    processor = QuickProcessor(delay_s=0.2, objects=2)
    NodeService(settings, processor=processor).run_forever()
