"""Who reads a study or looks for one is in the audit trail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.stores import received
from tests.builders.websites import Site, open_site

READS = {"study_viewed", "studies_searched", "signed_out"}


def noted(site: Site) -> list[tuple[str, str, str]]:
    rows = [one for one in site.store.trail.read(0, limit=100) if one.kind in READS]
    return [
        (row.kind, str(row.detail.get("person")), str(row.detail.get("how")))
        for row in rows
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/studies", [("studies_searched", "ann", "list")]),
        ("/studies/1.2.3", [("study_viewed", "ann", "page")]),
        ("/studies/1.2.4", []),
        ("/me", []),
    ],
)
def test_a_person_who_reads_is_noted(
    tmp_path: Path, path: str, expected: list[tuple[str, str, str]]
) -> None:
    with open_site(tmp_path) as site:
        site.store.record_instance(received(1))
        site.add_user("ann", "viewer")

        client = site.client("ann")
        for _ in range(3):
            client.get(path)

        assert noted(site) == expected


def test_who_is_not_let_in_has_read_nothing(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        site.store.record_instance(received(1))
        site.add_user("ann", "viewer")

        answer = site.client().get("/studies/1.2.3")

        assert answer.status_code == 401
        assert noted(site) == []


def test_a_search_is_noted_without_what_it_looks_for(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        site.add_user("ann", "viewer")

        site.client("ann").get("/studies", params={"patient": "DOE^JANE"})

        rows = site.store.trail.read(0, limit=100)
        (row,) = [one for one in rows if one.kind == "studies_searched"]
        assert row.detail["asked_by"] == "patient"
        assert row.detail["address"] == "127.0.0.1"
        assert "DOE" not in str(row)


def test_signing_out_is_noted(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        site.add_user("ann", "viewer")
        client = site.client()
        headers = {"Origin": "http://127.0.0.1:8042"}
        body = {"name": "ann", "password": "a long enough password"}

        client.post("/sign-in", json=body, headers=headers)
        client.post("/sign-out", headers=headers)
        client.post("/sign-out", headers=headers)

        assert [one[0] for one in noted(site)] == ["signed_out"]
