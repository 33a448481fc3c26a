"""Text of any language on the pages of a PDF, with fonts that every machine has.

DejaVu Sans is embedded. Chinese, Japanese and Korean use the fonts that PDF names
without embedding them (PDF 1.7, 9.7.5.2), which readers bring along. What neither has
is written as its code point, so that nothing is lost unseen.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby
from xml.sax.saxutils import escape

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

from dicom_node.fonts import FONT_PATH, has_letter

__all__ = ["needs_reader_font", "paragraph", "style"]

_SANS = "DejaVuSans"
_CHINESE = "STSong-Light"
_JAPANESE = "HeiseiMin-W3"
_KOREAN = "HYSMyeongJo-Medium"

_BLOCKS = (
    (0x1100, 0x11FF, _KOREAN),
    (0x2E80, 0x303F, _CHINESE),
    (0x3040, 0x30FF, _JAPANESE),
    (0x3130, 0x318F, _KOREAN),
    (0x3400, 0x9FFF, _CHINESE),
    (0xAC00, 0xD7AF, _KOREAN),
    (0xF900, 0xFAFF, _CHINESE),
    (0xFF00, 0xFFEF, _CHINESE),
)
"""Unicode blocks of East Asian letters and the font for each."""


def needs_reader_font(text: str) -> bool:
    """Return whether a text has letters whose font is not embedded."""
    return any(_font_of(one) not in {_SANS, None} for one in text)


def paragraph(text: str, like: ParagraphStyle) -> Paragraph:
    """Return a paragraph that shows every character of a text.

    Parameters
    ----------
    text : str
        Plain text; markup in it is shown as it is.
    like : reportlab.lib.styles.ParagraphStyle
        A style of `style`.

    """
    _register()
    runs = []
    breaks_anywhere = False
    for name, letters in groupby(text, _font_of):
        run = "".join(letters)
        if name is None:
            runs.append("".join(f"[U+{ord(one):04X}]" for one in run))
        elif name == _SANS:
            runs.append(escape(run))
        else:
            breaks_anywhere = True
            runs.append(f'<font name="{name}">{escape(run)}</font>')
    if breaks_anywhere:
        # Lines of these scripts have no blanks to break at.
        like = ParagraphStyle(f"{like.name}-cjk", parent=like, wordWrap="CJK")
    return Paragraph("".join(runs), like)


def style(name: str, **values: object) -> ParagraphStyle:
    """Return a paragraph style in the embedded font."""
    _register()
    return ParagraphStyle(name, fontName=_SANS, **values)


def _font_of(letter: str) -> str | None:
    number = ord(letter)
    # Beyond the first plane, text that is copied from the document is garbled.
    if number <= 0xFFFF and has_letter(letter):
        return _SANS
    for first, last, name in _BLOCKS:
        if first <= number <= last:
            return name
    return None


@cache
def _register() -> None:
    pdfmetrics.registerFont(TTFont(_SANS, str(FONT_PATH)))
    for name in (_CHINESE, _JAPANESE, _KOREAN):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
