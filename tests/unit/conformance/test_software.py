"""Everything that is installed is pinned by hash, and its risk is written down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from conformance.software import (
    direct_dependencies,
    locked_versions,
    render_software,
    soup,
)

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements.lock").read_text()


def test_every_direct_dependency_has_its_risk_and_nothing_else_has() -> None:
    assert set(soup()) == set(direct_dependencies())
    assert {row["risk"] for row in soup().values()} <= {"low", "medium", "high"}


def test_the_table_in_docs_is_what_is_rendered() -> None:
    assert (ROOT / "docs" / "software.md").read_text() == render_software(), (
        "run: python -m conformance.software > docs/software.md"
    )


def test_every_pinned_package_has_a_hash() -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())

    assert len(entries) > 100
    assert [one for one in entries if "--hash=sha256:" not in one] == []


def test_what_is_pinned_is_what_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    versions = locked_versions()
    extras = project["project"]["optional-dependencies"]
    lists = [
        project["project"]["dependencies"],
        extras["training"],
        extras["ray"],
        *project["dependency-groups"].values(),
    ]
    asked = [one for each in lists for one in each if isinstance(one, str)]

    wrong = [
        one
        for one in map(Requirement, asked)
        if (name := re.sub(r"[-_.]+", "-", one.name).lower()) != "torch"
        and Version(versions.get(name, "0")) not in one.specifier
    ]

    assert wrong == [], "run: make lock"


def test_torch_and_its_own_are_left_to_the_machine() -> None:
    brought = [
        name
        for name in locked_versions()
        if name in {"torch", "triton"} or name.startswith(("nvidia-", "cuda-"))
    ]

    assert brought == []
