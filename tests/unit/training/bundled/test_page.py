from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model import bundled_checkpoint
from training.bundled.page import PAGE_FILE, render_page, write_page

DOCS = Path(__file__).parents[4] / "docs" / "evaluation"


def test_the_page_is_what_the_results_beside_it_say():
    text = (DOCS / PAGE_FILE).read_text()

    assert render_page(DOCS, bundled_checkpoint()) == text


def test_the_page_names_every_measured_option_and_its_verdict():
    text = (DOCS / PAGE_FILE).read_text()

    for option in ("film", "attribute_bank", "denoising", "hypotheses"):
        assert f"| {option} | " in text
    assert "helps" in text or "does not help" in text


def test_a_missing_result_is_named(tmp_path):
    shutil.copytree(DOCS, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "throughput.json").unlink()

    with pytest.raises(FileNotFoundError, match=r"throughput\.json"):
        write_page(tmp_path / "evaluation", bundled_checkpoint())
