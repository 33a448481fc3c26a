"""Run the real node, but with a processor that is quick: `quick_node.py SETTINGS`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dicom_node.config import load_settings
from dicom_node.records import ObjectReference, ResultObject, StudyReady
from dicom_node.service import run_node
from tests.builders.study_processor import QuickProcessor


class _Forgetful(QuickProcessor):
    """Keeps no list of what it did: the process may run for hours."""

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None = None,
    ) -> Sequence[ResultObject]:
        try:
            return super().process(
                ready, out_dir=out_dir, predecessors=predecessors, model=model
            )
        finally:
            self.processed.clear()


if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]), {})
    processor = _Forgetful(delay_s=0.2, objects=2)
    run_node(settings, processor=processor)
