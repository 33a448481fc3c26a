"""Word the regions of a picture: phrases, their caption, and what is not there.

A phrase is, in this order, what an annotator or a report said (as our own extractor
reads it, since that is what the node asks), or the label: by its name, by a synonym, or
in a sentence. The caption names every phrase once; ``tokens_positive`` says where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.build.absence import (
    absent_region,
    draw_negatives,
    stated_regions,
    without_stated,
)
from training.build.draws import Draws
from training.build.geometry_words import contradiction, is_oriented, side_of_boxes
from training.build.regions import Draft
from training.build.settings import BuildSettings
from training.build.vocabulary import (
    MAX_PHRASE,
    Statement,
    codes_of,
    contains,
    finding_code,
    held_out_words,
    is_lesion,
    is_paired,
    path_of,
    statements_of,
    synonyms_of,
)
from training.laterality import side_of
from training.records import PhraseRegion
from training.registry import DatasetSpec

__all__ = ["SEPARATOR", "PictureWords", "Scene", "word_picture"]

SEPARATOR = " . "
"""Stands between the phrases of a caption, as in Grounding DINO."""

_STRUCTURE_TEMPLATES = ("the {x}", "{x} on {m}", "outline of the {x}")
_FINDING_TEMPLATES = ("{x} is seen", "there is {x}", "{x} on {m}", "evidence of {x}")
_MODALITY_WORDS = {
    "CT": "CT",
    "MR": "MRI",
    "CR": "the radiograph",
    "DX": "the radiograph",
    "MG": "the mammogram",
    "US": "ultrasound",
    "ES": "endoscopy",
    "OP": "the fundus photograph",
    "OPT": "OCT",
    "XC": "the photograph",
    "GM": "microscopy",
    "SM": "the pathology slide",
    "PT": "PET",
}
_SIDE_WORDS = {"L": "left", "R": "right"}
_OTHER_SIDE = {"L": "R", "R": "L"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the words of one stored picture hang on."""

    image_id: str
    rows: int
    columns: int
    modality: str
    view: str | None
    is_volume: bool
    spacing_mm: tuple[float, float] | None
    label_space: tuple[str, ...] | None
    report: str | None
    spec: DatasetSpec


@dataclass(frozen=True, kw_only=True)
class PictureWords:
    """The worded regions of one picture."""

    caption: str
    regions: tuple[PhraseRegion, ...]
    label_space: tuple[str, ...] | None


def word_picture(
    drafts: Sequence[Draft],
    scene: Scene,
    *,
    settings: BuildSettings,
    drops: Counter[str],
) -> PictureWords:
    """Word all regions of a picture and choose the absent phrases it is asked for."""
    draws = Draws(settings.seed, "words", scene.image_id)
    space = _label_space(drafts, scene)
    # A synonym must not say what another label of this picture says.
    labels = {one.finding.label for one in drafts} | {*(scene.label_space or ())}
    implied = {*(space or ())}
    report = statements_of(scene.report) if scene.report else ()
    regions: list[PhraseRegion] = []
    for draft in drafts:
        finding = draft.finding
        is_implied = finding.label in implied and finding.verbatim is None
        if draft.status == "absent" and not draft.ignore and is_implied:
            continue
        worded = _word(
            draft,
            scene,
            report,
            taken=frozenset(label.casefold() for label in labels),
            settings=settings,
            draws=draws,
        )
        if worded is None:
            drops[f"phrase of more than {MAX_PHRASE} characters"] += 1
            continue
        region = _verified(worded, scene, drops)
        regions.append(region)
        regions.extend(_sided(region, scene, settings=settings, draws=draws))
    regions.extend(stated_regions(report, regions))
    space = without_stated(space, regions)
    regions.extend(draw_negatives(space, regions, settings=settings, draws=draws))
    return _captioned(regions, scene, space, draws=draws, drops=drops)


def _label_space(drafts: Sequence[Draft], scene: Scene) -> tuple[str, ...] | None:
    """Return the label space without what contains something that is present."""
    if scene.label_space is None:
        return None
    there = {one.finding.label for one in drafts if one.status != "absent"}
    return tuple(
        label
        for label in dict.fromkeys(scene.label_space)
        if label in there or not any(contains(label, other) for other in there)
    )


def _word(
    draft: Draft,
    scene: Scene,
    report: Sequence[Statement],
    *,
    taken: frozenset[str],
    settings: BuildSettings,
    draws: Draws,
) -> PhraseRegion | None:
    finding = draft.finding
    status, ignore = draft.status, draft.ignore
    if finding.verbatim is not None:
        phrase, denied = _spoken(finding.verbatim)
        if denied and not draft.boxes:
            status, ignore = "absent", finding.ignore
        elif status == "absent" and phrase != finding.verbatim and not finding.codes:
            # "Normal heart size." denies no heart: all that is left of it is a noun.
            ignore = True
    else:
        phrase = _from_report(draft, report) or _drawn(
            finding.label,
            scene.modality,
            taken=taken,
            settings=settings,
            draws=draws,
        )
    phrase = (phrase or finding.label).replace(SEPARATOR, ", ")
    if len(phrase) > MAX_PHRASE:
        return None
    path = scene.spec.label_paths.get(finding.label) or path_of(finding.label)
    return PhraseRegion(
        region_id="",
        phrase=phrase,
        tokens_positive=(),
        label=finding.label,
        bbox=draft.boxes,
        mask=draft.masks,
        label_path=path,
        level=max(len(path) - 1, 0),
        status=status,
        laterality=finding.laterality or side_of(phrase),
        codes=finding.codes or codes_of(finding.label),
        attributes={**finding.attributes, **_size(draft, scene)},
        progression=finding.progression,
        reader=finding.reader,
        source=finding.source,
        weight=finding.weight,
        ignore=ignore,
        complete=finding.complete,
    )


def _spoken(verbatim: str) -> tuple[str, bool]:
    """Return a sentence as the node would ask it, and whether it denies its finding."""
    text = " ".join(verbatim.split()).strip(" .;,")
    statements = statements_of(text) if len(text) <= MAX_PHRASE else ()
    if len(statements) != 1:
        return text, bool(statements) and all(
            one.status == "absent" for one in statements
        )
    return statements[0].text, statements[0].status == "absent"


def _from_report(draft: Draft, report: Sequence[Statement]) -> str | None:
    """Return the report's words for a labelled region, if only one statement fits."""
    code = finding_code(draft.finding.label) if report else ""
    side = draft.finding.laterality or side_of(draft.finding.label)
    fitting = [
        one.text
        for one in report
        if one.code == code
        and one.status != "absent"
        and (side is None or one.side in (None, side))
    ]
    return fitting[0] if len(fitting) == 1 and draft.boxes else None


def _drawn(
    label: str,
    modality: str,
    *,
    taken: frozenset[str],
    settings: BuildSettings,
    draws: Draws,
) -> str:
    """Return the label, a synonym or a sentence."""
    share = draws.share()
    synonyms = [one for one in synonyms_of(label) if one.casefold() not in taken]
    if share < settings.synonym_share and synonyms:
        return draws.choose(synonyms)
    if share >= 1 - settings.template_share:
        kinds = _FINDING_TEMPLATES if is_lesion(label) else _STRUCTURE_TEMPLATES
        words = _MODALITY_WORDS.get(modality)
        usable = [one for one in kinds if words or "{m}" not in one]
        text = draws.choose(usable).format(x=label, m=words)
        return label if text in held_out_words() else text
    return label


def _size(draft: Draft, scene: Scene) -> dict[str, str]:
    """Return the longest side of the largest box in millimetres, where it is known."""
    if scene.spacing_mm is None or not draft.boxes:
        return {}
    down, across = scene.spacing_mm
    longest = max(
        max((box[2] - box[0]) * across, (box[3] - box[1]) * down) for box in draft.boxes
    )
    return {"size_mm": f"{longest:.0f}"}


def _verified(region: PhraseRegion, scene: Scene, drops: Counter[str]) -> PhraseRegion:
    """Ignore a region whose words and places cannot both be right."""
    oriented = is_oriented(
        modality=scene.modality, view=scene.view, is_volume=scene.is_volume
    )
    if not oriented:
        return region
    reason = contradiction(
        region.phrase,
        region.bbox,
        size=(scene.rows, scene.columns),
        laterality=region.laterality,
        is_radiograph=not scene.is_volume,
    )
    if reason is None:
        return region
    drops[f"{reason}, neither positive nor negative"] += 1
    return replace(region, ignore=True)


def _sided(
    region: PhraseRegion, scene: Scene, *, settings: BuildSettings, draws: Draws
) -> list[PhraseRegion]:
    """Name the side of what lies on one, and deny the other side of it."""
    label = region.label or region.phrase
    if not settings.sided or region.ignore or region.status != "present":
        return []
    if not is_paired(label) or region.laterality in ("L", "R"):
        return []
    if not is_oriented(
        modality=scene.modality, view=scene.view, is_volume=scene.is_volume
    ):
        return []
    side = side_of_boxes(region.bbox, width=scene.columns)
    if side is None or side_of(region.phrase) is not None or draws.share() < 0.5:
        return []
    here = f"{_SIDE_WORDS[side]} {label}"
    there = f"{_SIDE_WORDS[_OTHER_SIDE[side]]} {label}"
    found = [replace(region, phrase=here, label=here, laterality=side)]
    if region.complete and label in (scene.label_space or ()):
        found.append(absent_region(there, there, source="derived"))
    return found


def _captioned(
    regions: Sequence[PhraseRegion],
    scene: Scene,
    space: tuple[str, ...] | None,
    *,
    draws: Draws,
    drops: Counter[str],
) -> PictureWords:
    """Join the phrases in a drawn order and say where each is in the caption."""
    there = {one.phrase.casefold() for one in regions if one.status != "absent"}
    kept = []
    for one in regions:
        if one.status == "absent" and one.phrase.casefold() in there:
            drops["absent phrase that is also present"] += 1
        else:
            kept.append(one)
    texts = {one.phrase.casefold(): one.phrase for one in reversed(kept)}
    spans: dict[str, tuple[int, int]] = {}
    caption = ""
    for key in draws.shuffled(sorted(texts)):
        spans[key] = len(caption), len(caption) + len(texts[key])
        caption += texts[key] + SEPARATOR
    named = tuple(
        replace(
            one,
            region_id=f"{scene.image_id}:{number}",
            phrase=texts[one.phrase.casefold()],
            tokens_positive=(spans[one.phrase.casefold()],),
        )
        for number, one in enumerate(kept)
    )
    return PictureWords(caption=caption.rstrip(), regions=named, label_space=space)
