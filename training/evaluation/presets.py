"""Name public benchmarks: which data, which split, which metrics, what was published.

Published figures are those that could be read at their source when this table was
made; what is only remembered is not in it. They are shares, as ours are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from training.errors import ConfigError
from training.registry import load_registry

__all__ = ["PRESETS", "Preset", "Published", "find_preset", "how_to_obtain"]


@dataclass(frozen=True)
class Published:
    """One row of somebody else's table."""

    system: str
    values: dict[str, float]
    """Key of ``METRICS`` to share"""
    source: str
    """Where the figures were read"""


@dataclass(frozen=True)
class Preset:
    """One benchmark protocol."""

    name: str
    title: str
    dataset: str
    """Entry of the registry; ``medsg-bench`` has its own reader"""
    split: str | None
    """The dataset's own split; None: everything that is annotated"""
    metrics: tuple[str, ...]
    """Keys of ``METRICS``: the paper's first, then what we add"""
    protocol: str
    """What is asked and judged, and where papers differ from it"""
    obtain: str
    """What to download and how to lay it out"""
    published: tuple[Published, ...] = field(default=())

    @property
    def compared(self) -> tuple[str, ...]:
        """Return the metrics of the published rows, in this preset's order."""
        shown = {name for row in self.published for name in row.values}
        return tuple(name for name in self.metrics if name in shown)


_MEDRPG = "figure in the MedRPG repository (MICCAI 2023)"
_AGKD = "figure in the AG-KD repository (arXiv 2503.03278)"
_REXRANK = "rexrank.ai leaderboard of ReXGroundingCT, 100 test scans"
_BOXES = ("Acc@0.5", "Box mIoU")
_VOLUMES = ("Dice", "HIT", "Instance precision", "Instance recall", "Instance F1")


def _rows(
    names: tuple[str, ...], source: str, **systems: tuple[float, ...]
) -> tuple[Published, ...]:
    return tuple(
        Published(
            system.replace("__", "-").replace("_", " "),
            dict(zip(names, values, strict=True)),
            source,
        )
        for system, values in systems.items()
    )


_TABLE = (
    Preset(
        name="ms-cxr",
        title="MS-CXR phrase grounding",
        dataset="ms-cxr",
        split="test",
        metrics=(
            *("Acc@0.5", "Box mIoU", "Acc@0.1", "Acc@0.3", "Set IoU", "R@1", "R@5"),
            *("Pointing game", "CNR", "CNR absolute"),
        ),
        protocol=(
            "Every sentence is asked of its radiograph; the top box is judged against "
            "the true box that it overlaps most. MedRPG used a split of its own with "
            "one box per phrase, and AGP its own too, so that rows compare roughly."
        ),
        obtain=(
            "Get MS-CXR 1.1.0 and the JPEG images of MIMIC-CXR-JPG from PhysioNet with "
            "a credentialed account. Lay files/p10/... of the images beside "
            "MS_CXR_Local_Alignment_v1.1.0.csv."
        ),
        published=(
            *_rows(
                _BOXES,
                _MEDRPG,
                MedRPG=(0.6986, 0.5937),
                TransVG=(0.6587, 0.5891),
                SeqTR=(0.6320, 0.5663),
                VGTR=(0.6027, 0.5358),
                RefTR=(0.5369, 0.5011),
                GLoRIA=(0.2874, 0.3117),
                BioViL=(0.0778, 0.1999),
            ),
            Published(
                "AGP, fine-tuned", {"Box mIoU": 0.612}, "abstract of arXiv 2502.16585"
            ),
        ),
    ),
    Preset(
        name="chestxray8",
        title="ChestX-ray8 finding names as phrases",
        dataset="nih-chestxray14",
        split=None,
        metrics=(
            *("Acc@0.5", "Box mIoU", "Acc@0.1", "Acc@0.3", "Set IoU", "R@1", "R@5"),
            *("Pointing game", "CNR", "CNR absolute"),
        ),
        protocol=(
            "Each of the eight finding names is asked of the radiographs that have a "
            "box of it, all of BBox_List_2017.csv. MedRPG judged a split of its own."
        ),
        obtain=(
            "Get the images, BBox_List_2017.csv and Data_Entry_2017_v2020.csv from the "
            "NIH Clinical Center's Box folder; images/ lies beside the tables."
        ),
        published=_rows(
            _BOXES, _MEDRPG, MedRPG=(0.3602, 0.3459), TransVG=(0.3451, 0.3398)
        ),
    ),
    Preset(
        name="vindr-cxr",
        title="VinDr-CXR abnormality grounding",
        dataset="vindr-cxr",
        split="test",
        metrics=(
            *("Box mAP50", "Box mAP75", "Box mAP", "Acc@0.5", "Box mIoU", "Set IoU"),
            *("Pr@(F1=1)", "No-target accuracy", "AUROC", "ECE presence", "D-ECE"),
        ),
        protocol=(
            "Every class of the annotators' list is asked of every radiograph of the "
            "test set; classes without a box are absent. AG-KD's figures are of 22 "
            "classes."
        ),
        obtain=(
            "Get VinDr-CXR 1.0.0 from PhysioNet with a credentialed account: test/, "
            "annotations/annotations_test.csv and the training part if you train."
        ),
        published=(
            *_rows(
                ("Box mAP50", "Box mAP75", "Box mAP"),
                _AGKD,
                AG__KD=(0.2550, 0.0745, 0.1081),
                RadVLM__7B=(0.2193, 0.0514, 0.0818),
            ),
        ),
    ),
    Preset(
        name="padchest-gr",
        title="PadChest-GR grounded report sentences",
        dataset="padchest-gr",
        split="test",
        metrics=(
            *("Box mIoU", "Acc@0.5", "Set IoU", "Box mAP50", "Pr@(F1=1)", "R@1"),
            *("Spatial precision", "Spatial recall"),
            *("Grounding precision", "Grounding recall"),
            *("Sensitivity", "No-target accuracy", "AUROC"),
        ),
        protocol=(
            "Every positive sentence with boxes is asked of its radiograph, and every "
            "label that the dataset says is absent. Spatial precision and recall take "
            "equal sentences as entailed where RadFact asks a language model."
        ),
        obtain=(
            "Ask BIMCV for PadChest-GR: grounded_reports_20240819.json, "
            "master_table.csv and the PNG images."
        ),
    ),
    Preset(
        name="rexgroundingct",
        title="ReXGroundingCT, findings of chest CT in 3-D",
        dataset="rexgroundingct",
        split="test",
        metrics=(*_VOLUMES, "NSD", "Mask IoU", "AURC", "ECE place"),
        protocol=(
            "Every finding is asked of its whole volume. Dice is the mean over "
            "findings, an instance counts from Dice 0.2, a finding is hit from Dice "
            "0.1. The training part is outlined in part only and is not judged."
        ),
        obtain=(
            "Accept the terms of ReXGroundingCT and CT-RATE on the Hugging Face hub; "
            "dataset.json, segmentations/ and the volumes of CT-RATE."
        ),
        published=_rows(
            _VOLUMES,
            _REXRANK,
            DAGG=(0.253, 0.517, 0.235, 0.292, 0.26),
            SAT__FT=(0.209, 0.473, 0.074, 0.369, 0.123),
            BiomedParseV2=(0.025, 0.066, 0.007, 0.072, 0.012),
        ),
    ),
    Preset(
        name="medsg-bench",
        title="MedSG-Bench, questions about a single image",
        dataset="medsg-bench",
        split=None,
        metrics=("Box mIoU", "Acc@0.5", "Acc@0.3", "Acc@0.7"),
        protocol=(
            "The referred structure of every question with one picture is asked; the "
            "benchmark's IoU of its first box is our top box's. Questions that compare "
            "pictures are left out."
        ),
        obtain=(
            "Get the benchmark from the Hugging Face organisation MedSG-Bench and name "
            "a task file such as Task8.json, its pictures beside it."
        ),
        published=(
            Published(
                "Qwen2.5-VL-7B, zero-shot",
                {"Box mIoU": 0.1267, "Acc@0.5": 0.062},
                "third-party rerun of Task 8, n = 1482 (XavierSylus/MedSG-Bench)",
            ),
        ),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _TABLE}
"""Every benchmark by name."""


def find_preset(name: str) -> Preset:
    """Return a preset.

    Raises
    ------
    training.errors.ConfigError
        There is none of this name; the message names those there are.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(PRESETS)
        raise ConfigError(f"no preset {name!r}; there are {known}") from None


def how_to_obtain(preset: Preset) -> str:
    """Say what to download, under which licence."""
    spec = load_registry().get(preset.dataset)
    terms = "see the licence of its release"
    if spec is not None:
        commerce = "" if spec.licence.commercial else ", no commercial use"
        terms = f"{spec.licence.id}{commerce}"
        if spec.licence.url:
            terms += f" ({spec.licence.url})"
    return f"{preset.title}: {preset.obtain} Licence: {terms}."
