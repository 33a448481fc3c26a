"""The font of pictures and documents: DejaVu Sans, bundled so that bytes are the same.

It holds Latin, Greek, Cyrillic, Hebrew, Arabic and the signs of mathematics, and no
Chinese, Japanese or Korean: who draws with it asks `has_letter` first.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont
from reportlab.pdfbase.ttfonts import TTFontFile

__all__ = ["FONT_PATH", "font", "has_letter"]

FONT_PATH = Path(__file__).with_name("DejaVuSans.ttf")
"""DejaVu Sans 2.37; its licence lies beside it."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font at a height in pixels, for pictures.

    Letters are laid out one after the other, whatever layout library the machine
    has, so that a picture is the same everywhere.
    """
    return ImageFont.truetype(FONT_PATH, size, layout_engine=ImageFont.Layout.BASIC)


def has_letter(letter: str) -> bool:
    """Return whether the font can draw a character."""
    return letter.isspace() or ord(letter) in _letters()


@cache
def _letters() -> frozenset[int]:
    return frozenset(TTFontFile(str(FONT_PATH)).charToGlyph)
