from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.builders.tiny_dataset import block, make_spec
from training.build.findings import Finding, gather_findings
from training.build.settings import BuildSettings
from training.readers.source import Picture, SourceImage, SourceRegion

SETTINGS = BuildSettings()
FLAT = Picture(np.zeros((20, 30), np.uint8), None, False)
VOLUME = Picture(np.zeros((4, 20, 30), np.int16), None, True)


def _gather(
    *regions: SourceRegion, picture: Picture = FLAT, **spec: Any
) -> tuple[tuple[Finding, ...], Counter[str]]:
    image = SourceImage(
        image_id="a", load=lambda: picture, regions=regions, modality="CR"
    )
    drops: Counter[str] = Counter()
    found = gather_findings(
        image, picture, spec=make_spec("tiny", **spec), settings=SETTINGS, drops=drops
    )
    return found, +drops


def test_labels_become_phrases_of_the_specification() -> None:
    region = SourceRegion(label="Pleural_thing", boxes_xyxy=((1, 1, 5, 5),))

    found, _ = _gather(region, label_map={"Pleural_thing": "pleural thickening"})

    assert found[0].label == "pleural thickening"
    assert found[0].source == "manual"


def test_boxes_of_one_label_are_one_finding() -> None:
    found, drops = _gather(
        SourceRegion(label="nodule", boxes_xyxy=((1, 1, 5, 5),)),
        SourceRegion(label="nodule", boxes_xyxy=((10, 1, 15, 5), (20, 1, 25, 5))),
    )

    assert len(found) == 1
    assert len(found[0].boxes) == 3
    assert not drops


def test_boxes_are_cut_at_the_border_and_lost_ones_counted() -> None:
    found, drops = _gather(
        SourceRegion(
            label="nodule", boxes_xyxy=((-5, 2, 40, 8), (50, 50, 60, 60), (3, 3, 3, 9))
        )
    )

    assert found[0].boxes == ((0.0, 2, 30.0, 8),)
    assert drops == {"box outside the picture or without area": 2}


def test_a_label_whose_boxes_are_all_lost_is_unknown_not_absent() -> None:
    nan = float("nan")

    found, _ = _gather(SourceRegion(label="nodule", boxes_xyxy=((nan, 0, 5, 5),)))

    assert found[0].ignore
    assert found[0].status == "present"


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (lambda: np.ones((3, 3), bool), "mask of another size than its picture"),
        (lambda: 1 / 0, None),
    ],
)
def test_a_mask_of_another_size_is_lost_and_counted(
    mask: Any, reason: str | None
) -> None:
    region = SourceRegion(label="nodule", mask=mask)
    if reason is None:
        # A programming error is no property of the data.
        with pytest.raises(ZeroDivisionError):
            _gather(region)
        return

    found, drops = _gather(region)

    assert found[0].ignore
    assert drops == {reason: 1}


def test_a_mask_file_that_cannot_be_read_is_lost_and_counted() -> None:
    def broken() -> np.ndarray:
        raise OSError("/data/JOHN DOE/mask.png")

    found, drops = _gather(SourceRegion(label="nodule", mask=broken))

    assert found[0].ignore
    assert drops == {"mask cannot be read (OSError)": 1}


def test_an_empty_mask_says_that_nothing_is_there() -> None:
    found, drops = _gather(
        SourceRegion(label="liver", mask=lambda: np.zeros((4, 20, 30), bool)),
        picture=VOLUME,
    )

    assert found[0].status == "absent"
    assert drops == {"empty mask, read as absent": 1}


def test_a_box_without_a_slice_is_no_place_in_a_volume() -> None:
    found, drops = _gather(
        SourceRegion(label="nodule", boxes_xyxy=((1, 1, 5, 5),)), picture=VOLUME
    )

    assert found[0].ignore
    assert drops == {"box without a slice in a volume": 1}


def test_boxes_of_several_readers_are_fused_and_weighed() -> None:
    readers = [("R1", (0, 0, 10, 10)), ("R2", (1, 0, 11, 10)), ("R3", (2, 0, 12, 10))]
    regions = [
        SourceRegion(label="mass", boxes_xyxy=(box,), reader=name)
        for name, box in readers
    ]
    lonely = SourceRegion(label="cyst", boxes_xyxy=((1, 1, 4, 4),), reader="R2")

    found, _ = _gather(*regions, lonely)

    mass, cyst = found
    assert mass.boxes == ((1.0, 0.0, 11.0, 10.0),)
    assert (mass.weight, mass.source, mass.reader) == (1.0, "fused", "R1+R2+R3")
    assert cyst.weight == pytest.approx(1 / 3, abs=1e-6)


def test_masks_of_several_readers_are_their_consensus() -> None:
    spans = [(2, 10), (4, 12), (6, 14), (30, 30)]
    regions = [
        SourceRegion(
            label="nodule",
            mask=lambda span=span: block((20, 30), (5, 10), span),
            reader=f"R{number}",
        )
        for number, span in enumerate(spans[:3])
    ]
    fourth = SourceRegion(label="other", boxes_xyxy=((1, 1, 3, 3),), reader="R4")

    found, _ = _gather(*regions, fourth)

    agreed = found[0].masks[0].plane(0)
    assert np.flatnonzero(agreed[5]).tolist() == list(range(4, 12))
    assert found[0].weight == 0.75


@pytest.mark.parametrize(("second", "is_complete"), [((4, 10), True), ((4, 12), False)])
def test_what_is_disputed_beside_an_agreed_place_is_no_background(
    second: tuple[int, int], is_complete: bool
) -> None:
    spans = [(4, 10), (4, 10), second]
    regions = [
        SourceRegion(
            label="nodule",
            mask=lambda span=span: block((20, 30), (5, 10), span),
            reader=f"R{number}",
        )
        for number, span in enumerate(spans)
    ]

    found, _ = _gather(*regions)

    assert found[0].complete is is_complete
    assert found[0].masks[0].areas.sum() == 30


def test_what_too_few_readers_outlined_is_neither_there_nor_not() -> None:
    one = SourceRegion(
        label="nodule", mask=lambda: block((20, 30), (1, 4), (1, 4)), reader="R1"
    )
    others = [
        SourceRegion(label="mass", boxes_xyxy=((9, 9, 12, 12),), reader=f"R{number}")
        for number in (2, 3)
    ]

    found, _ = _gather(one, *others)

    assert found[0].ignore
    assert not found[0].masks


def test_a_denial_does_not_take_away_what_another_reader_drew() -> None:
    found, drops = _gather(
        SourceRegion(label="mass", status="absent", reader="R1"),
        SourceRegion(label="mass", boxes_xyxy=((1, 1, 4, 4),), reader="R2"),
    )

    assert found[0].status == "present"
    assert found[0].weight == 0.5
    assert drops == {"region denied by one reader and drawn by another": 1}


@pytest.mark.parametrize("side", [None, "L"])
def test_a_silent_reader_does_not_stand_in_the_way_of_two_sides(side: Any) -> None:
    found, drops = _gather(
        SourceRegion(label="mass", status="absent", reader="R1", laterality=side),
        SourceRegion(
            label="mass", boxes_xyxy=((1, 1, 4, 4),), reader="R2", laterality="L"
        ),
        SourceRegion(
            label="mass", boxes_xyxy=((9, 1, 12, 4),), reader="R2", laterality="R"
        ),
    )

    assert [(one.laterality, one.weight) for one in found] == [("L", 0.5), ("R", 0.5)]
    assert drops == {"region denied by one reader and drawn by another": 1}


def test_findings_of_two_sides_keep_their_side_and_place() -> None:
    found, _ = _gather(
        SourceRegion(label="nodule", boxes_xyxy=((1, 1, 4, 4),), laterality="L"),
        SourceRegion(label="nodule", boxes_xyxy=((9, 1, 12, 4),), laterality="R"),
        SourceRegion(label="nodule", status="absent", laterality="B"),
    )

    assert [(one.laterality, one.status, one.boxes) for one in found] == [
        ("L", "present", ((1, 1, 4, 4),)),
        ("R", "present", ((9, 1, 12, 4),)),
        ("B", "absent", ()),
    ]


def test_what_is_uncertain_does_not_become_certain_beside_what_is() -> None:
    found, _ = _gather(
        SourceRegion(label="nodule", boxes_xyxy=((1, 1, 4, 4),)),
        SourceRegion(label="nodule", boxes_xyxy=((9, 1, 12, 4),), status="uncertain"),
    )

    assert [one.status for one in found] == ["present", "uncertain"]
    assert [len(one.boxes) for one in found] == [1, 1]


def test_a_label_made_by_a_model_says_so() -> None:
    found, _ = _gather(
        SourceRegion(label="liver", boxes_xyxy=((1, 1, 4, 4),), tier="pseudo")
    )

    assert found[0].source == "pseudo"


@pytest.mark.parametrize("label", ["", " _ ", "word " * 300])
def test_a_region_without_a_usable_label_is_counted(label: str) -> None:
    found, drops = _gather(SourceRegion(label=label, boxes_xyxy=((1, 1, 4, 4),)))

    assert found == ()
    assert drops == {"region whose label is empty or no label but a text": 1}
