from __future__ import annotations

from pathlib import Path

import pytest

from training.build.rules import digest_of, rule_files, rules_digest
from training.build.settings import BuildSettings


def test_every_table_and_rule_that_words_hang_on_counts() -> None:
    names = [name for name, _ in rule_files()]

    assert len(set(names)) == len(names)
    assert {
        "model/knowledge/labels.yaml",
        "model/knowledge/tree.py",
        "training/knowledge/anatomy.json",
        "dicom_node/reports/grammar.py",
        "dicom_node/reports/data/findings.csv",
        "dicom_node/reports/data/vocabulary.json",
    } <= set(names)
    assert not any(name.endswith(".pyc") for name in names)


def test_a_changed_byte_and_a_changed_name_are_seen_and_an_order_is_not(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"liver\n")
    other.write_bytes(b"spleen\n")
    before = digest_of([("a", one), ("b", other)])

    assert digest_of([("b", other), ("a", one)]) == before
    assert digest_of([("a", other), ("b", one)]) != before
    one.write_bytes(b"Liver\n")
    assert digest_of([("a", one), ("b", other)]) != before


def test_results_of_other_rules_are_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = BuildSettings()
    before = settings.digest("a")

    monkeypatch.setattr("training.build.settings.rules_digest", lambda: "others")

    assert settings.digest("a") != before
    assert len(rules_digest()) == 64
