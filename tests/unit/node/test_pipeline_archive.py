"""Profile ``pacs`` through the pipeline, with the reader of the node."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

from conformance.profile import RESULT_SOP_CLASSES
from dicom_node.commands.study_files import gather_studies
from dicom_node.config import LimitSettings
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import Rooms, process_study
from tests.builders.corner_grounder import BrightestBox
from tests.builders.dicom_series import make_ct_series


def test_pictures_are_made_beside_segmentations(tmp_path: Path) -> None:
    make_ct_series(tmp_path / "in", slices=3, rows=16, columns=16)
    ready = gather_studies([tmp_path / "in"]).studies[0]

    with PixelReader(LimitSettings(), processes=1) as reader:
        processed = process_study(
            ready,
            rooms=Rooms(reader, BrightestBox()),
            out_dir=tmp_path,
            profiles=("default", "pacs"),
            report_text="FINDINGS:\nThe liver is enlarged. No ascites.\n",
        )

    pacs = [one for one in processed.objects if one.profile == "pacs"]
    assert {one.path.parent for one in pacs} == {tmp_path / "pacs"}
    assert {dcmread(one.path).Modality for one in pacs} == {"PR", "OT", "KO", "DOC"}
    assert {one.reference.sop_class_uid for one in pacs} <= set(RESULT_SOP_CLASSES)
    assert len({one.reference.series_instance_uid for one in pacs}) == 4
