"""Records with good defaults."""

from __future__ import annotations

from typing import Any

from training.records import ImageRecord, PhraseRegion


def make_region(phrase: str, **changes: Any) -> PhraseRegion:
    values: dict[str, Any] = {
        "region_id": f"r:{phrase}",
        "phrase": phrase,
        "tokens_positive": (),
        "label": phrase,
    }
    return PhraseRegion(**{**values, **changes})


def make_record(
    *regions: PhraseRegion, size: tuple[int, int] = (48, 64), **changes: Any
) -> ImageRecord:
    """Return a record whose caption names every phrase."""
    caption = ""
    named = []
    for region in regions:
        span = (len(caption), len(caption) + len(region.phrase))
        caption += region.phrase + " . "
        values = {name: getattr(region, name) for name in region.__slots__}
        named.append(PhraseRegion(**{**values, "tokens_positive": (span,)}))
    values = {
        "image_id": "tiny/one",
        "filename": "tiny-one-0000.png",
        "sha256": "0" * 64,
        "phash": "0" * 16,
        "height": size[0],
        "width": size[1],
        "modality": "CR",
        "body_part": None,
        "view": "PA",
        "dataset": "tiny",
        "licence": "CC-BY-4.0",
        "tier": "manual",
        "patient_key": "p" * 32,
        "study_key": None,
        "split": "train",
        "cluster": "c0",
        "volume": None,
        "prior": None,
        "report": None,
        "label_space": None,
        "caption": caption.rstrip(),
        "regions": tuple(named),
    }
    return ImageRecord(**{**values, **changes})
