"""The statement says what the profile says, and the file in docs is the statement."""

from __future__ import annotations

from pathlib import Path

from pydicom.datadict import dictionary_description, tag_for_keyword

from conformance.created import CREATED
from conformance.profile import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    REJECTIONS,
    SCP_CONTEXTS,
    SCU_CONTEXTS,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
)
from conformance.statement import render_statement
from dicom_node.config import LimitSettings, NodeSection
from dicom_node.dicomweb.query import DEFAULT_LIMIT, MAX_LIMIT
from dicom_node.dicomweb.search import KNOWN
from dicom_node.retrieve.line import _AT_ONCE
from dicom_node.workflows.workflows import _DELIVERIES_AT_ONCE

DOCUMENT = Path(__file__).parents[3] / "docs" / "conformance-statement.md"


def test_the_file_in_docs_is_what_is_rendered() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render_statement(), (
        "run: dicom-node conformance statement > docs/conformance-statement.md"
    )


def test_everything_in_the_profile_is_stated() -> None:
    text = render_statement()

    for row in (*SCP_CONTEXTS, *SCU_CONTEXTS):
        for uid, name in row.sop_classes.items():
            assert f"| {name} | `{uid}` |" in text
    for syntax in TRANSFER_SYNTAXES:
        assert f"| {syntax.name} | `{syntax.uid}` | Yes |" in text
    for status in STORE_STATUSES:
        assert f"| {status.status:04X} | {status.meaning} |" in text
    for rejection in REJECTIONS.values():
        assert rejection.condition in text
    assert IMPLEMENTATION_CLASS_UID in text
    assert IMPLEMENTATION_VERSION_NAME in text


def test_stated_defaults_are_those_of_the_settings() -> None:
    text = render_statement()
    limits, node = LimitSettings(), NodeSection()

    assert f"| `node.ae_title` | `{node.ae_title}` |" in text
    assert f"| `{node.host}`, {node.port} |" in text
    for name in ("max_associations", "max_pdu_bytes"):
        assert f"| `limits.{name}` | {getattr(limits, name)} |" in text
    for name in ("pdu_timeout_s", "idle_timeout_s"):
        assert f"| `limits.{name}` | {getattr(limits, name):g} |" in text
    for name in ("max_instance_bytes", "min_free_bytes"):
        assert f"| `limits.{name}` | {getattr(limits, name) >> 30} GiB |" in text


def test_every_object_that_is_sent_is_described() -> None:
    stored = next(row for row in SCU_CONTEXTS if row.service == "Storage")
    text = render_statement()

    assert set(CREATED) == set(stored.sop_classes)
    for attributes in CREATED.values():
        for row in attributes:
            assert tag_for_keyword(row.keyword) is not None
            assert f"| {dictionary_description(row.keyword)} |" in text


def test_headings_are_listed_in_the_contents() -> None:
    text = render_statement()
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]

    for heading in headings:
        assert f"- [{heading}](#" in text


def test_what_is_searched_over_the_web_is_stated() -> None:
    text = render_statement()

    rows = {
        "study": KNOWN["studies"],
        "series": KNOWN["series"][len(KNOWN["studies"]) :],
        "instance": KNOWN["instances"][len(KNOWN["series"]) :],
    }
    for level, known in rows.items():
        assert f"| {level} | {', '.join(known)} |" in text
    assert f"at most {MAX_LIMIT}" in text
    assert f"`limit` is {DEFAULT_LIMIT}" in text


def test_as_many_associations_are_stated_as_are_opened() -> None:
    text = render_statement()

    assert f"| Each destination | {_DELIVERIES_AT_ONCE} |" in text
    assert f"| Archives, all together | {_AT_ONCE} |" in text
