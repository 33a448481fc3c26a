"""In which colour a phrase is shown: the same in pages, pictures and objects."""

from __future__ import annotations

import colorsys

__all__ = ["colour_of"]

_GOLDEN_ANGLE = 0.381966011250105
"""Turn of the hue from one colour to the next: neighbours differ most."""


def colour_of(index: int) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of the phrase with that index.

    Hues turn by the golden angle, so that any few in a row are far apart; every
    full turn is a little darker.
    """
    hue = (0.02 + index * _GOLDEN_ANGLE) % 1.0
    value = 0.95 - 0.12 * ((index // 8) % 4)
    red, green, blue = (
        round(255 * one) for one in colorsys.hsv_to_rgb(hue, 0.85, value)
    )
    return red, green, blue
