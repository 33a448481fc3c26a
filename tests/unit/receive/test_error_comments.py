"""An Error Comment (0000,0902) is LO: 64 characters, and cut in no word."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import pytest

import dicom_node
from dicom_node import errors

ROOT = Path(dicom_node.__file__).parent
ROOMS = ("receive.py", "spool/spool.py", "header.py", "data_set.py", "scp/acceptor.py")


def summaries() -> set[str]:
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    return {
        str(one())
        for one in kinds
        if issubclass(one, errors.ReceiveError | errors.StoreError)
    }


def literals() -> set[str]:
    """Return every sentence that these rooms raise, or answer with."""
    found = set()
    for name in ROOMS:
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                values = node.args
            elif isinstance(node, ast.Assign):
                values = [node.value]
            else:
                continue
            found |= {
                one.value
                for one in values
                if isinstance(one, ast.Constant)
                and isinstance(one.value, str)
                and " " in one.value
            }
    return found


def test_there_are_sentences_to_look_at() -> None:
    assert "C-STORE without a data set" in literals()
    assert len(summaries()) >= 4


@pytest.mark.parametrize("text", sorted(summaries() | literals()))
def test_every_fixed_comment_fits(text: str) -> None:
    assert len(text) <= 64


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_the_disk_says_fits(code: int) -> None:
    assert len(f"the disk did not take the instance: {os.strerror(code)}") <= 64
