"""Gather what is said of one thing on one image: readers fused, masks checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from training.build.fuse import consensus_mask, fuse_boxes
from training.build.settings import BuildSettings
from training.build.vocabulary import MAX_PHRASE
from training.build.volume_mask import PackedMask
from training.errors import TrainingError
from training.readers.source import Picture, SourceImage, SourceRegion
from training.records import XYXY, Status
from training.registry import DatasetSpec

__all__ = ["Finding", "gather_findings"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Finding:
    """One label of an image with all its places, on the grid of the source."""

    label: str
    """As the label space spells it"""
    verbatim: str | None
    status: Status
    boxes: tuple[XYXY, ...] = ()
    masks: tuple[PackedMask, ...] = ()
    """Pieces drawn one by one stay apart even where they touch"""
    laterality: str | None = None
    codes: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    progression: str | None = None
    reader: str | None = None
    source: str = "manual"
    weight: float = 1.0
    ignore: bool = False
    complete: bool = True


def gather_findings(
    image: SourceImage,
    picture: Picture,
    *,
    spec: DatasetSpec,
    settings: BuildSettings,
    drops: Counter[str],
) -> tuple[Finding, ...]:
    """Return what is known of an image, each label or verbatim phrase once.

    `drops` counts every region that is left out, by reason.
    """
    groups: dict[_Key, list[SourceRegion]] = {}
    for region in image.regions:
        label = " ".join(spec.phrase_of(region.label).split())
        if not label or len(label) > MAX_PHRASE:
            drops["region whose label is empty or no label but a text"] += 1
            continue
        key = (label, region.phrase, region.ignore, region.laterality, region.status)
        groups.setdefault(key, []).append(region)
    readers = sorted({region.reader for region in image.regions if region.reader})
    found = []
    for (label, verbatim, *_), regions in _undenied(groups, drops):
        finding = _one_finding(
            regions,
            picture,
            label=label,
            readers=readers,
            settings=settings,
            drops=drops,
        )
        tier = next((one.tier for one in regions if one.tier), spec.tier)
        source = tier if finding.source == "manual" else finding.source
        found.append(replace(finding, verbatim=verbatim, source=source))
    return tuple(found)


_Key = tuple[str, str | None, bool, str | None, Status]
"""Label, verbatim phrase, whether ignored, side and status"""


def _undenied(
    groups: dict[_Key, list[SourceRegion]], drops: Counter[str]
) -> list[tuple[_Key, list[SourceRegion]]]:
    """Return the groups without the denials of what another region states.

    A denial of one side leaves the other side alone.
    """
    sides: dict[tuple[str, str | None, bool], set[str | None]] = {}
    for label, verbatim, ignore, side, status in groups:
        if status != "absent":
            sides.setdefault((label, verbatim, ignore), set()).add(side)
    kept = []
    for key, regions in groups.items():
        label, verbatim, ignore, side, status = key
        stated = sides.get((label, verbatim, ignore), set())
        if status == "absent" and stated and (side is None or {side, None} & stated):
            drops["region denied by one reader and drawn by another"] += len(regions)
        else:
            kept.append((key, regions))
    return kept


def _one_finding(
    regions: Sequence[SourceRegion],
    picture: Picture,
    *,
    label: str,
    readers: Sequence[str],
    settings: BuildSettings,
    drops: Counter[str],
) -> Finding:
    """Read the places of regions that say the same."""
    first = regions[0]
    base = Finding(
        label=label,
        verbatim=first.phrase,
        status=first.status,
        laterality=first.laterality,
        codes=dict(first.codes),
        attributes=dict(first.attributes),
        progression=first.progression,
        reader="+".join(sorted({one.reader for one in regions if one.reader})) or None,
        ignore=first.ignore,
        complete=all(one.complete for one in regions),
    )
    if first.status == "absent":
        return base
    masks, boxes, lost, empty = _places(regions, picture, drops)
    if lost and not masks and not boxes:
        # What was drawn cannot be read: nothing is known of this label any more.
        return replace(base, ignore=True)
    if empty and not masks and not boxes:
        # Layouts with one file per label write an empty one where there is nothing.
        drops["empty mask, read as absent"] += empty
        return replace(base, status="absent")
    if len(readers) > 1 and any(one.reader for one in regions):
        return _fused(base, masks, boxes, readers=len(readers), settings=settings)
    # A box that came with a mask would say the same thing twice.
    return replace(
        base,
        masks=tuple(mask for _, mask in masks),
        boxes=tuple(box for _, box in boxes),
    )


_Masks = list[tuple[str | None, PackedMask]]
_Boxes = list[tuple[str | None, XYXY]]


def _places(
    regions: Sequence[SourceRegion], picture: Picture, drops: Counter[str]
) -> tuple[_Masks, _Boxes, int, int]:
    """Return masks and boxes with their readers, how many were lost, how many empty."""
    shape = picture.pixels.shape[: 3 if picture.is_volume else 2]
    masks: _Masks = []
    boxes: _Boxes = []
    lost = empty = 0
    for region in regions:
        if region.mask is not None:
            mask, reason = _load(region, shape)
            if mask is None:
                drops[reason] += 1
                lost += 1
            elif mask.any():
                masks.append((region.reader, PackedMask.pack(mask)))
                continue
            elif not region.boxes_xyxy:
                empty += 1
        if picture.is_volume and region.boxes_xyxy:
            drops["box without a slice in a volume"] += len(region.boxes_xyxy)
            lost += 1
            continue
        for box in region.boxes_xyxy:
            inside = _clip(box, shape)
            if inside is None:
                drops["box outside the picture or without area"] += 1
                lost += 1
            else:
                boxes.append((region.reader, inside))
    return masks, boxes, lost, empty


def _load(
    region: SourceRegion, shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_] | None, str]:
    try:
        raw = region.mask() if region.mask is not None else None
    except (TrainingError, OSError, ValueError, RuntimeError, EOFError) as error:
        return None, f"mask cannot be read ({type(error).__name__})"
    if raw is None or raw.shape != shape:
        return None, "mask of another size than its picture"
    return np.asarray(raw, dtype=np.bool_), ""


def _clip(box: XYXY, shape: tuple[int, ...]) -> XYXY | None:
    rows, columns = shape[-2:]
    left, right = max(box[0], 0.0), min(box[2], float(columns))
    top, bottom = max(box[1], 0.0), min(box[3], float(rows))
    # NaN compares false and is refused with the rest.
    return (left, top, right, bottom) if left < right and top < bottom else None


def _fused(
    base: Finding,
    masks: _Masks,
    boxes: _Boxes,
    *,
    readers: int,
    settings: BuildSettings,
) -> Finding:
    """Fuse masks by consensus and boxes by their weighted mean."""
    if masks:
        drawn = {reader: None for reader, _ in masks}

        def outline(reader: str | None) -> NDArray[np.bool_]:
            own = [mask.unpack() for one, mask in masks if one == reader]
            return np.asarray(np.logical_or.reduce(own))

        # One outline of a volume at a time is in memory.
        agreed = consensus_mask(
            map(outline, drawn), readers=readers, share=settings.consensus
        )
        if not agreed.any():
            # Drawn, but not by enough readers: neither there nor not there.
            return replace(base, ignore=True, source="fused")
        # What some outlined and others did not is no background.
        disputed = any((outline(reader) & ~agreed).any() for reader in drawn)
        return replace(
            base,
            masks=(PackedMask.pack(agreed),),
            source="fused",
            weight=round(len(drawn) / readers, 6),
            complete=base.complete and not disputed,
        )
    names = sorted({reader or "" for reader, _ in boxes})
    rows = [[box for reader, box in boxes if (reader or "") == name] for name in names]
    fused = fuse_boxes(rows, iou=settings.fuse_iou)
    share = sum(count for _, count in fused) / max(len(fused), 1) / readers
    return replace(
        base,
        boxes=tuple(box for box, _ in fused),
        source="fused",
        weight=round(min(share, 1.0), 6),
    )
