"""A study to look at on the page: a body with three organs, its report, and a prior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from dicom_node.reports import make_report_document
from tests.builders.dicom_series import (
    SyntheticSeries,
    make_ct_series,
    make_enhanced_ct,
)

__all__ = [
    "ORGANS",
    "REPORT",
    "PageStudy",
    "make_long_study",
    "make_page_study",
    "organ_mask",
]


@dataclass(frozen=True, slots=True)
class Organ:
    """An ellipsoid: its centre and radii in shares of the volume, and its HU."""

    hu: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    score: float


ORGANS = {
    "liver": Organ(110, (0.40, 0.45, 0.33), (0.28, 0.22, 0.17), 0.94),
    "spleen": Organ(160, (0.60, 0.50, 0.72), (0.18, 0.15, 0.09), 0.88),
    "kidney": Organ(220, (0.75, 0.68, 0.64), (0.12, 0.09, 0.06), 0.61),
}
"""By the word that names it in a phrase."""

REPORT = (
    "\N{MATHEMATICAL ITALIC SMALL ALPHA}\N{FACE WITH MEDICAL MASK} study. "
    "The liver is enlarged. The spleen is unremarkable. "
    "Possible cyst in the left kidney. The stomach is distended. "
    "No pleural effusion. No ascites."
)
"""Its first characters count twice in UTF-16: spans are of code points."""

_BODY_HU = 40
_SHAPE = (24, 96, 112)
_SPACING_MM = (4.0, 1.2, 0.9)


@dataclass(frozen=True, eq=False)
class PageStudy:
    """The study that is shown, and an earlier one of the same patient."""

    series: SyntheticSeries
    files: tuple[Path, ...]
    """Images, report, and a series that cannot be decoded."""
    prior_uid: str
    prior_files: tuple[Path, ...]

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return self.series.study_instance_uid


def organ_mask(voxels: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.bool_]:
    """Return where an organ is, by its brightness."""
    hu = ORGANS[name].hu
    return np.asarray((voxels > hu - 15) & (voxels < hu + 15))


def make_page_study(folder: Path) -> PageStudy:
    """Write the study: CT, a second small CT, a broken series, report and prior."""
    said = {
        "PatientID": "PAGE-1",
        "PatientName": "Page^Ada",
        "StudyDescription": "CT Abdomen",
        "AccessionNumber": "ACC-7",
        "SeriesDescription": "Abdomen 4 mm",
        "WindowCenter": "60",
        "WindowWidth": "400",
    }
    series = make_ct_series(
        folder / "ct", voxels=_body(_SHAPE), spacing_mm=_SPACING_MM, changes=dict(said)
    )
    study_uid = series.study_instance_uid
    lungs = make_ct_series(
        folder / "second",
        voxels=_body((6, 64, 64)),
        spacing_mm=(8.0, 1.5, 1.5),
        study_uid=study_uid,
        name="second",
        series_number=3,
        changes={**said, "SeriesDescription": "Overview"},
    )
    broken = make_ct_series(
        folder / "broken",
        slices=1,
        study_uid=study_uid,
        name="broken",
        series_number=4,
        changes={**said, "SeriesDescription": "Broken"},
    )
    _break(broken.paths[0])
    report = _write_report(folder / "report.dcm", series, [("Findings", REPORT)])
    prior = make_ct_series(
        folder / "prior",
        voxels=_body((4, 64, 64)),
        study_uid="2.25.20250203",
        name="prior",
        changes={
            **said,
            "StudyDate": "20250203",
            "StudyDescription": "CT Abdomen, earlier",
        },
    )
    text = [("Findings", "The liver is of normal size.")]
    prior_report = _write_report(folder / "prior.dcm", prior, text)
    return PageStudy(
        series=series,
        files=(*series.paths, *lungs.paths, *broken.paths, report),
        prior_uid=prior.study_instance_uid,
        prior_files=(*prior.paths, prior_report),
    )


def make_long_study(
    folder: Path, *, slices: int, side: int
) -> tuple[str, tuple[Path, ...]]:
    """Write a CT of many slices in one instance, and a report without a finding.

    Returns
    -------
    tuple
        Study Instance UID, and the files.

    """
    uid = "2.25.500500"
    series = make_enhanced_ct(
        folder, slices=slices, rows=side, columns=side, study_uid=uid
    )
    text = [("Findings", "No ascites.")]
    return uid, (*series.paths, _write_report(folder / "report.dcm", series, text))


def _body(shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    inside = ((y - 0.5) / 0.42) ** 2 + ((x - 0.5) / 0.44) ** 2 < 1
    hu = np.where(inside, _BODY_HU, -1000) + 0 * z
    for organ in ORGANS.values():
        (cz, cy, cx), (rz, ry, rx) = organ.centre, organ.radii
        far = ((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
        hu = np.where(far < 1, organ.hu, hu)
    grain = np.random.default_rng(7).integers(-8, 9, shape)
    return np.asarray(hu + grain).astype(np.int16)


def _write_report(
    path: Path, series: SyntheticSeries, sections: list[tuple[str, str]]
) -> Path:
    document = make_report_document(sections, template=dcmread(series.paths[0]))
    document.save_as(path, enforce_file_format=True)
    return path


def _break(path: Path) -> None:
    image = dcmread(path)
    image.PixelData = encapsulate([b"this is no JPEG 2000 codestream."])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image.save_as(path, enforce_file_format=True)
