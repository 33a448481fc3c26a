"""Classes of words and punctuation that the phrases of a sentence end at."""

from __future__ import annotations

import re

from dicom_node.reports.words import stems

__all__ = ["BREAK", "PLACES", "STOPS"]

BREAK = re.compile(r"[,;:()\[\]?!\u2013\u2014\u2022]|\s-+\s|\n\s*\n")
"""Punctuation that a noun phrase does not cross."""

STOPS = frozenset(
    stems(
        "a an the this that these those there here it its is are was were be been "
        "being has have had do does did may might could can cannot will would should "
        "must "
        "seen noted identified visualized visualised demonstrated demonstrates show "
        "shows showing shown reveals revealed contains contain containing suggests "
        "represents representing measures measure measuring appears appear appearing "
        "remains remain and or nor but with without no not in on at of to from by for "
        "as than though although within into along near via per due however which "
        "who also again overall otherwise additionally we i you likely consistent "
        "compatible indicating keeping given because since so then if when while "
        "whereas where "
        "status post evidence about redemonstrated present clear normal unremarkable "
        "intact patent involving overlying adjacent throughout over above below "
        "between through containing demonstrating include includes including enhance "
        "enhances extend extends extending show terminates terminating ends projects "
        "lies persists none"
    )
)
"""Words that end a noun phrase on its left."""

PLACES = frozenset(
    stems(
        "in of within at along involving over overlying near adjacent throughout on "
        "to from around abutting affecting about into through between above below "
        "projecting"
    )
)
"""Words that lead to where a finding is."""
