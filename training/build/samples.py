"""Turn one image of a dataset into samples: the per-image stages in their order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.build.findings import Finding, gather_findings
from training.build.near import Fingerprint, fingerprint_of
from training.build.normalise import (
    check_picture,
    describe_picture,
    encode_plane,
    neighbours_of,
    store_plane,
)
from training.build.regions import choose_slices, draft_regions
from training.build.settings import BuildSettings
from training.build.vocabulary import MAX_PHRASE, is_lesion
from training.build.wording import Scene, word_picture
from training.errors import TrainingError
from training.layout import PictureInfo, decode_picture, pixel_digest
from training.readers.source import Picture, SourceImage
from training.records import ImageRecord, VolumePlace
from training.registry import DatasetSpec

__all__ = ["Sample", "patient_key", "patient_key_of", "samples_of"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One stored picture, before duplicates and splits are known."""

    key: str
    """Name in a shard, without a dot and without a name of the dataset's"""
    record: ImageRecord
    """``split`` is the dataset's own; ``cluster`` is None"""
    members: tuple[tuple[str, bytes], ...]
    """(extension, content), without the record"""
    fingerprint: Fingerprint


def patient_key(dataset: str, patient: str) -> str:
    """Return the pseudonym of a patient: a hash over dataset and identifier."""
    text = f"{dataset}\x1f{patient}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def patient_key_of(image: SourceImage, dataset: str) -> str:
    """Return the pseudonym of an image's patient; unknown, its study or itself."""
    # Series of one study are of one patient, whoever that is.
    study = f"study:{image.study_id}" if image.study_id else None
    place = f"image:{dataset}/{image.image_id}"
    return patient_key(dataset, image.patient_id or study or place)


def samples_of(
    image: SourceImage,
    spec: DatasetSpec,
    settings: BuildSettings,
    drops: Counter[str],
) -> Iterator[Sample]:
    """Yield the samples of an image; `drops` counts what is left out, by reason."""
    try:
        picture = check_picture(image.load())
    except (TrainingError, OSError, ValueError, RuntimeError, EOFError) as error:
        # The text of an error may name a file, and a file may name a patient.
        drops[f"image cannot be read ({type(error).__name__})"] += 1
        return
    findings = gather_findings(
        image, picture, spec=spec, settings=settings, drops=drops
    )
    info = describe_picture(picture, modality=image.modality, settings=settings)
    for index in _chosen(findings, picture, settings=settings, drops=drops):
        yield _sample(
            image,
            picture,
            findings,
            info,
            index=index,
            spec=spec,
            settings=settings,
            drops=drops,
        )


def _chosen(
    findings: tuple[Finding, ...],
    picture: Picture,
    *,
    settings: BuildSettings,
    drops: Counter[str],
) -> tuple[int, ...]:
    """Return which slices are stored; slice 0 of a single picture."""
    if not picture.is_volume:
        return (0,)
    slices = len(picture.pixels)
    areas: dict[str, NDArray[np.int64]] = {}
    for finding in findings:
        if finding.ignore or not finding.masks:
            continue
        area = np.sum([mask.areas for mask in finding.masks], axis=0)
        areas[finding.label] = areas.get(finding.label, 0) + area
    lesions = frozenset(name for name in areas if is_lesion(name))
    chosen = choose_slices(areas, slices=slices, lesions=lesions, settings=settings)
    drops["slice of a volume that was not chosen"] += slices - len(chosen)
    return chosen


def _sample(
    image: SourceImage,
    picture: Picture,
    findings: tuple[Finding, ...],
    info: PictureInfo,
    *,
    index: int,
    spec: DatasetSpec,
    settings: BuildSettings,
    drops: Counter[str],
) -> Sample:
    """Store one picture and word its regions."""
    place = f"{spec.id}/{image.image_id}"
    image_id = f"{place}#{index:04d}" if picture.is_volume else place
    key = f"{spec.id.replace('.', '_')}-{_short(place)}-{index:04d}"
    members, info = _members(
        picture, info, index=index, modality=image.modality, settings=settings
    )
    stored = decode_picture(members[1][1])
    shape = (int(stored.shape[0]), int(stored.shape[1]))
    scene = Scene(
        image_id=image_id,
        rows=shape[0],
        columns=shape[1],
        modality=image.modality,
        view=image.view,
        is_volume=picture.is_volume,
        spacing_mm=_spacing(picture, info, shape),
        label_space=_space(image, spec),
        report=image.report,
        spec=spec,
    )
    drafts = draft_regions(
        findings,
        index=index,
        shape=shape,
        source_shape=info.source_size,
        settings=settings,
        drops=drops,
    )
    words = word_picture(drafts, scene, settings=settings, drops=drops)
    fingerprint = fingerprint_of(stored, info)
    record = ImageRecord(
        image_id=image_id,
        filename=f"{key}.{members[1][0]}",
        sha256=pixel_digest(stored),
        phash=f"{fingerprint.bits:016x}",
        height=shape[0],
        width=shape[1],
        modality=image.modality,
        body_part=image.body_part or spec.body_part,
        view=image.view,
        dataset=spec.id,
        licence=spec.licence.id,
        tier=spec.tier,
        patient_key=patient_key_of(image, spec.id),
        study_key=patient_key(spec.id, f"study:{image.study_id}")
        if image.study_id
        else None,
        split=image.split,
        cluster=None,
        volume=_volume(picture, place, index),
        prior=f"{spec.id}/{image.prior}" if image.prior else None,
        report=image.report if settings.keep_reports else None,
        label_space=words.label_space,
        caption=words.caption,
        regions=words.regions,
        spacing_mm=scene.spacing_mm,
    )
    return Sample(key, record, members, fingerprint)


def _space(image: SourceImage, spec: DatasetSpec) -> tuple[str, ...] | None:
    """Return the labels that were looked for, spelled as regions spell theirs."""
    space = spec.label_space if image.label_space is None else image.label_space
    if space is None:
        return None
    spelled = (" ".join(label.split()) for label in space)
    return tuple(dict.fromkeys(one for one in spelled if 0 < len(one) <= MAX_PHRASE))


def _members(
    picture: Picture,
    info: PictureInfo,
    *,
    index: int,
    modality: str,
    settings: BuildSettings,
) -> tuple[tuple[tuple[str, bytes], ...], PictureInfo]:
    """Encode a picture and its neighbours; the info names the neighbours."""
    planes = picture.pixels if picture.is_volume else picture.pixels[None]
    spacing = picture.spacing_mm[0] if picture.spacing_mm else None
    neighbours = (
        neighbours_of(index, len(planes), spacing_mm=spacing, settings=settings)
        if picture.is_volume
        else ()
    )
    named = replace(info, neighbours=neighbours)
    is_jpeg = info.units == "rgb" and settings.jpeg_quality > 0
    wanted = {"jpg" if is_jpeg else "png": index}
    wanted |= {f"n{n}.png": index + one.offset for n, one in enumerate(neighbours)}
    encoded = tuple(
        (
            extension,
            encode_plane(
                store_plane(planes[place], info, settings=settings, modality=modality),
                jpeg_quality=settings.jpeg_quality,
            ),
        )
        for extension, place in wanted.items()
    )
    return (("picture.json", named.to_json().encode()), *encoded), named


def _spacing(
    picture: Picture, info: PictureInfo, shape: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the distance of stored pixels in millimetres."""
    if picture.spacing_mm is None:
        return None
    rows, columns = info.source_size
    down, across = picture.spacing_mm[1:]
    return down * rows / shape[0], across * columns / shape[1]


def _volume(picture: Picture, place: str, index: int) -> VolumePlace | None:
    """Say where a slice lies; unknown distances are 0."""
    if not picture.is_volume:
        return None
    return VolumePlace(
        series=_short(place),
        index=index,
        spacing_mm=picture.spacing_mm or (0.0, 0.0, 0.0),
        slices=len(picture.pixels),
    )


def _short(place: str) -> str:
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:20]
