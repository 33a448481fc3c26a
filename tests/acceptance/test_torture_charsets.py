"""The short form of row 17: transfer syntaxes and character sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.torture.outcome import Scale, check
from tests.torture.row_17_charsets import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.peers]


@pytest.mark.timeout(600)
def test_every_character_set_and_syntax_is_kept_shown_and_answered(
    tmp_path: Path,
) -> None:
    require_program("dcmcjpeg")

    check(run(Scale.SHORT, tmp_path, print))
