"""Read PadChest-GR: report sentences with boxes of two readers.

References
----------
Castro et al., PadChest-GR: A Bilingual Chest X-ray Dataset for Grounded Radiology
Report Generation, arXiv 2411.05085.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.readers.boxes import XYXY, shares_to_xyxy
from training.readers.images import image_size, picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, Split, official_split
from training.readers.source import Laterality, SourceImage, SourceRegion
from training.readers.tables import read_table
from training.registry import DatasetSpec

__all__ = ["read_padchest_gr"]

_READERS = ("boxes", "extra_boxes")
"""The two columns that the two readers' boxes are in; their names tell them apart."""

_SIDES: dict[frozenset[str], Laterality] = {
    frozenset({"left"}): "L",
    frozenset({"right"}): "R",
    frozenset({"left", "right"}): "B",
    frozenset({"bilateral"}): "B",
}


class _Layout(ImageLayout):
    reports: str = "grounded_reports_20240819.json"
    master: str = "master_table.csv"
    images: str = "Padchest_GR_files/PadChest_GR"
    priors: str = "PadChest_GR_progression_prior_studies"
    """Folder of the earlier studies, which have no sentences of their own"""
    projections: str | None = None
    """``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv``, for the view"""
    language: Literal["en", "es"] = "en"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the master table says of an image."""

    patient: str
    split: Split | None


def read_padchest_gr(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every study's image, each prior image after the first that names it.

    A sentence that is normal and has no box is absent: there is nothing to show. An
    abnormal one without a box is ignored, since nobody says where it is.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    entries = _read_master(root / layout.master)
    views = _read_views(root, layout)
    studies = read_json(root / layout.reports).items()
    own = {study.member("ImageID").text() for study in studies}
    told: set[str] = set()
    for study in studies:
        image = study.member("ImageID").text()
        if image in told:
            study.fail("the image has an entry already")
        told.add(image)
        entry = entries.get(image)
        if entry is None:
            study.fail(f"the image is not in {layout.master}")
        path = layout.find(root / layout.images / image, study.place)
        if path is None:
            continue
        prior = _prior(study)
        before = None if prior is None else root / layout.priors / prior
        known = before is not None and (prior in own or before.is_file())
        yield SourceImage(
            image_id=image,
            load=picture_loader(path),
            regions=_regions(study, size=image_size(path), language=layout.language),
            modality=spec.modality,
            body_part=spec.body_part,
            view=views.get(image),
            patient_id=entry.patient,
            study_id=study.member("StudyID").identifier(),
            split=entry.split,
            report=_report(study, language=layout.language),
            prior=prior if known else None,
        )
        if before is not None and prior is not None and known and prior not in own:
            own.add(prior)
            yield SourceImage(
                image_id=prior,
                load=picture_loader(before),
                regions=(),
                modality=spec.modality,
                body_part=spec.body_part,
                view=views.get(prior),
                patient_id=entry.patient,
                split=entry.split,
            )


def _prior(study: Node) -> str | None:
    key = "PreviousImageID"
    return study.member(key).text() if key in study else None


def _report(study: Node, *, language: str) -> str:
    sentences = (
        finding.member(f"sentence_{language}").text()
        for finding in study.items("findings")
    )
    return " ".join(sentences)


def _regions(
    study: Node, *, size: tuple[int, int], language: str
) -> tuple[SourceRegion, ...]:
    regions: list[SourceRegion] = []
    for finding in study.items("findings"):
        drawn = {name: _boxes(finding, name, size=size) for name in _READERS}
        common = _Words.of(finding, language=language)
        if not any(drawn.values()):
            regions.append(common.region(abnormal=_is_abnormal(finding)))
        for name, boxes in drawn.items():
            if boxes:
                regions.append(common.region(boxes=boxes, reader=name))
    return tuple(regions)


def _boxes(finding: Node, name: str, *, size: tuple[int, int]) -> tuple[XYXY, ...]:
    rows, columns = size
    boxes = []
    for node in finding.items(name):
        with node.checking():
            boxes.append(shares_to_xyxy(node.numbers(4), rows=rows, columns=columns))
    return tuple(boxes)


def _is_abnormal(finding: Node) -> bool:
    return "abnormal" in finding and bool(finding.member("abnormal").value)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a finding says, whoever drew it."""

    label: str
    sentence: str
    attributes: dict[str, str]
    laterality: Laterality | None
    progression: str | None

    @classmethod
    def of(cls, finding: Node, *, language: str) -> _Words:
        # Normal sentences may lack labels and locations altogether.
        labels = finding.texts("labels")
        locations = finding.texts("locations")
        attributes = {"location": ", ".join(locations)} if locations else {}
        if labels[1:]:
            attributes["also"] = ", ".join(labels[1:])
        sides = frozenset({"left", "right", "bilateral"} & set(locations))
        # Most findings have none, and no document says which kinds there are.
        told = finding.value.get("progression")
        progression = told.strip() if isinstance(told, str) else None
        sentence = finding.member(f"sentence_{language}").text()
        return cls(
            label=labels[0] if labels else sentence,
            sentence=sentence,
            attributes=attributes,
            laterality=_SIDES.get(sides),
            progression=progression or None,
        )

    def region(
        self,
        *,
        boxes: tuple[XYXY, ...] = (),
        reader: str | None = None,
        abnormal: bool = True,
    ) -> SourceRegion:
        return SourceRegion(
            label=self.label,
            phrase=self.sentence,
            status="present" if boxes or abnormal else "absent",
            boxes_xyxy=boxes,
            laterality=self.laterality,
            attributes=self.attributes,
            progression=self.progression,
            reader=reader,
            ignore=abnormal and not boxes,
        )


def _read_master(path: Path) -> dict[str, _Entry]:
    # One row for each label of an image: the first says all that is asked here.
    entries: dict[str, _Entry] = {}
    for row in read_table(path, required=("ImageID", "PatientID", "split")):
        image = row.text("ImageID")
        if image not in entries:
            split = official_split(row.text("split"), row.place)
            entries[image] = _Entry(row.text("PatientID"), split)
    return entries


def _read_views(root: Path, layout: _Layout) -> dict[str, str]:
    if layout.projections is None:
        return {}
    rows = read_table(root / layout.projections, required=("ImageID", "Projection"))
    return {row.text("ImageID"): row.cell("Projection") for row in rows}
