"""No part of the node decodes pixels but the module that runs in the limited child."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dicom_node
from dicom_node import imaging

_ROOT = Path(dicom_node.__file__).parent
_DECODING = frozenset(
    {
        "as_array",
        "decode_frames",
        "decode_stored",
        "decompress",
        "get_decoder",
        "get_pixels_by_source_frame",
        "get_pixels_by_source_instance",
        "iter_pixels",
        "jpeg2k_decode",
        "jpeg8_decode",
        "pixel_array",
    }
)
"""What decodes, by the names that libraries and this project give it."""

_ALLOWED = {
    "imaging/decode.py",  # what the child runs
    "imaging/decode_child.py",
    "imaging/fast_codecs.py",
    "objects/segment_frames.py",  # the node's own segmentations, by Python alone
    "commands/overlay.py",  # the node's own segmentations, from the command line
    "dicomweb/metadata.py",  # zlib, of the node's own cache
}


def test_nothing_else_in_the_node_decodes_pixels() -> None:
    found = {
        str(path.relative_to(_ROOT))
        for path in _ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in _DECODING)
        or (isinstance(node, ast.Name) and node.id in _DECODING)
    }

    assert found == _ALLOWED


def test_the_child_alone_imports_what_decodes() -> None:
    importing = {
        path.name
        for path in _ROOT.rglob("*.py")
        if "dicom_node.imaging.decode import" in path.read_text(encoding="utf-8")
    }

    assert importing == {"decode_child.py"}


_PARENTS_ALONE = (
    *("dicom_node.config", "dicom_node.header", "dicom_node.imaging.canonical"),
    *("dicom_node.imaging.display", "dicom_node.imaging.pixels"),
    *("dicom_node.imaging.series", "dicom_node.store", "conformance"),
    *("highdicom", "pydantic", "pynetdicom", "rich", "scipy", "SimpleITK"),
    *("sqlalchemy", "structlog", "torch"),
)
"""What only the parent uses."""


def test_the_child_loads_only_what_decodes() -> None:
    code = f"""
import sys
import dicom_node.imaging.decode_child
print(*[one for one in {_PARENTS_ALONE!r} if one in sys.modules])
"""

    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert told.stdout.split() == []


def test_every_name_of_imaging_is_found_where_it_is_made() -> None:
    for name in imaging.__all__:
        assert getattr(imaging, name) is not None
        assert name in dir(imaging)
    with pytest.raises(AttributeError, match="no attribute 'Picture'"):
        getattr(imaging, "Picture")  # noqa: B009 - no checker knows it
