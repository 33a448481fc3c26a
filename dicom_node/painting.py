"""Paint pictures for people: a slice with regions drawn on it, and a legend beside it.

Everything a picture says is drawn into its pixels: what is marked, in which colour,
which sides of the patient its edges are, and that it is not for diagnosis.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.fonts import font, has_letter

__all__ = [
    "NO_LETTER",
    "SOFT_TISSUE_HU",
    "WARNING",
    "Layer",
    "grey_limits",
    "paint",
    "paint_text",
]

WARNING = "AI - not for diagnostic use"
"""What every picture says."""

SOFT_TISSUE_HU = (-160.0, 240.0)
"""Window 400 at level 40, which most abdominal CT is read in."""

NO_LETTER = "\N{WHITE SQUARE}"
"""Drawn for a character that the font does not have."""

_DEFAULT_SIDE = 820
"""The longer side of the slice in the picture, in pixels."""
_LEGEND_WIDTH = 430
_LINE_HEIGHT = 24
_MARGIN = 20
_FONT_SIZE = 16
_MOST_LETTERS = 400
"""Letters of a line, whatever their width: so measuring a long word costs little."""
_FILL_OPACITY = 0.38
_BACKGROUND = (16, 18, 22)
_TEXT = (235, 235, 235)
_YELLOW = (255, 210, 0)
_WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Layer:
    """A region: its label, RGB colour and mask of shape (frames, rows, columns)."""

    label: str
    rgb: tuple[int, int, int]
    mask: npt.NDArray[np.bool_]


def paint(
    pixels: npt.NDArray[np.generic],
    layers: Sequence[Layer],
    *,
    modality: str,
    pixel_aspect: float,
    title: str,
    sides: Mapping[str, str] | None = None,
    limits: tuple[float, float] | None = None,
    notes: Sequence[str] = (),
    side: int = _DEFAULT_SIDE,
) -> Image.Image:
    """Draw layers on one frame, with a legend beside it.

    Parameters
    ----------
    pixels : numpy.ndarray
        Shape ``(rows, columns)`` in modality units, or ``(rows, columns, 3)`` RGB.
    layers : sequence of Layer
        Masks of shape ``(1, rows, columns)``; empty ones are left out.
    modality : str
        Decides what is black and white where `limits` is absent.
    pixel_aspect : float
        Height of a pixel by its width: the picture keeps the true proportions.
    title : str
        First line of the legend.
    sides : mapping, optional
        What the edges ``left`` and ``right`` of the picture are of the patient: R, L,
        A ..., as `patient_sides` names them.
    limits : tuple of float, optional
        The values that are black and white.
    notes : sequence of str
        What the legend says below the layers.
    side : int
        The longer side of the frame in the picture, in pixels.

    Returns
    -------
    PIL.Image.Image
        RGB; the frame fills it from the top left corner, the legend is right of it.

    """
    drawn = [layer for layer in layers if layer.mask.any()]
    height, width = _display_size(pixels.shape[:2], pixel_aspect, side)
    grey = Image.fromarray(_to_display(pixels, limits or grey_limits(pixels, modality)))
    canvas = np.asarray(
        grey.convert("RGB").resize((width, height), Image.Resampling.BICUBIC),
        dtype=np.float32,
    ).copy()
    for layer in drawn:
        mask = _resized(_resized(layer.mask[0], height, axis=0), width, axis=1)
        colour = np.array(layer.rgb, dtype=np.float32)
        canvas[mask] += _FILL_OPACITY * (colour - canvas[mask])
        canvas[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    legend = list(_legend_lines(title, drawn, notes))
    page = Image.new(
        "RGB",
        (width + _LEGEND_WIDTH, max(height, (len(legend) + 1) * _LINE_HEIGHT)),
        _BACKGROUND,
    )
    page.paste(Image.fromarray(canvas.round().astype(np.uint8)), (0, 0))
    _draw_lines(page, legend, left=width + _MARGIN)
    _draw_marks(page, width, height, sides=sides)
    return page


def paint_text(
    title: str, paragraphs: Sequence[str], *, size: tuple[int, int] = (1024, 1024)
) -> tuple[Image.Image, ...]:
    """Draw text on as many pages as it needs.

    Parameters
    ----------
    title : str
        First line of every page.
    paragraphs : sequence of str
        Each begins a line; an empty one leaves a line free.
    size : tuple of int
        Columns and rows of a page.

    """
    width, height = size
    lines = [
        _Line(text, None, _TEXT)
        for paragraph in paragraphs
        for text in _wrapped(paragraph, width - 2 * _MARGIN)
    ]
    room = height // _LINE_HEIGHT - 5
    parts = [lines[start : start + room] for start in range(0, len(lines), room)]
    pages = []
    for number, part in enumerate(parts or [[]], start=1):
        head = title if len(parts) < 2 else f"{title} ({number} of {len(parts)})"
        page = Image.new("RGB", size, _BACKGROUND)
        heading = [_Line(head, None, _WHITE), _Line("", None, _TEXT)]
        _draw_lines(page, [*heading, *part], left=_MARGIN)
        _draw_marks(page, width, height, sides=None)
        pages.append(page)
    return tuple(pages)


def grey_limits(pixels: npt.NDArray[np.generic], modality: str) -> tuple[float, float]:
    """Return which values to show black and white: soft tissue for CT, else by share.

    Parameters
    ----------
    pixels : numpy.ndarray
        In modality units, larger is brighter.
    modality : str
        As in Modality (0008,0060).

    """
    if modality == "CT":
        return SOFT_TISSUE_HU
    low, high = np.percentile(pixels.astype(np.float32), (1, 99.5))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    swatch: tuple[int, int, int] | None
    """The colour that is shown before the text."""
    colour: tuple[int, int, int]


def _legend_lines(
    title: str, layers: Sequence[Layer], notes: Sequence[str]
) -> Iterator[_Line]:
    indent = 26
    room = _LEGEND_WIDTH - 2 * _MARGIN
    for text in _wrapped(title, room):
        yield _Line(text, None, _TEXT)
    for layer in layers:
        for number, text in enumerate(_wrapped(layer.label, room - indent)):
            yield _Line(text, layer.rgb if number == 0 else _BACKGROUND, _TEXT)
    for note in notes:
        for text in _wrapped(note, room):
            yield _Line(text, None, _TEXT)


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; long words are broken."""
    letters = font(_FONT_SIZE)
    shown = "".join(one if has_letter(one) else NO_LETTER for one in text)
    lines: list[str] = []
    line = ""
    for word in shown.split():
        candidate = f"{line} {word}" if line else word
        if letters.getlength(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        while len(word) > _MOST_LETTERS or letters.getlength(word) > width:
            lengths = range(1, min(len(word), _MOST_LETTERS) + 1)
            count = bisect_right(
                lengths, width, key=lambda k: math.ceil(letters.getlength(word[:k]))
            )
            lines.append(word[: max(1, count)])
            word = word[max(1, count) :]
        line = word
    return [*lines, line]


def _display_size(
    shape: tuple[int, ...], pixel_aspect: float, side: int
) -> tuple[int, int]:
    height, width = shape[0] * pixel_aspect, float(shape[1])
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resized(
    mask: npt.NDArray[np.bool_], size: int, *, axis: int
) -> npt.NDArray[np.bool_]:
    """Resize a mask along an axis; where it shrinks, no pixel of it is lost."""
    old = mask.shape[axis]
    if size >= old:
        places = (2 * np.arange(size) + 1) * old // (2 * size)
        resized: npt.NDArray[np.bool_] = mask.take(places, axis=axis)
    else:
        starts = np.arange(size) * old // size
        resized = np.logical_or.reduceat(mask, starts, axis=axis)
    return resized


def _to_display(
    pixels: npt.NDArray[np.generic], limits: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    if pixels.ndim == 3:
        return pixels.astype(np.uint8)
    low, high = limits
    scaled = (pixels.astype(np.float32) - low) / max(high - low, 1e-6)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def _draw_lines(page: Image.Image, lines: Sequence[_Line], *, left: int) -> None:
    draw = ImageDraw.Draw(page)
    letters = font(_FONT_SIZE)
    for number, line in enumerate(lines):
        top = 10 + number * _LINE_HEIGHT
        start = left
        if line.swatch is not None:
            draw.rectangle((left, top + 3, left + 15, top + 17), fill=line.swatch)
            start = left + 26
        draw.text((start, top), line.text, font=letters, fill=line.colour)


def _draw_marks(
    page: Image.Image, width: int, height: int, *, sides: Mapping[str, str] | None
) -> None:
    # On the slice itself, so that a cut-out keeps them.
    draw = ImageDraw.Draw(page)
    letters = font(18)
    draw.text(
        (width / 2, height - 12), WARNING, font=letters, fill=_YELLOW, anchor="ms"
    )
    if sides is not None:
        for edge, x, anchor in (("left", 10, "lm"), ("right", width - 10, "rm")):
            place = (x, height / 2)
            draw.text(place, sides[edge], font=letters, fill=_WHITE, anchor=anchor)
