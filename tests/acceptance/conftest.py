"""What the acceptance tests share: a network of their own and kept artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.opendata import fetch_totalsegmentator
from tests.builders.network import loopback_network
from tests.builders.peers import cannot_run, require_program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the attempts to break the node leave broken lines to the collector."""
    for item in items:
        if item.path.name.startswith("test_torture_"):
            for left in ("pytest.PytestUnraisableExceptionWarning", "ResourceWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{left}"))


@pytest.fixture(scope="module")
def hospital_network() -> Iterator[None]:
    """Run the module's tests, and all that they start, in a loopback-only network."""
    require_program("ip")
    fetch_totalsegmentator()  # from inside, no package index can be reached
    network = loopback_network()
    try:
        network.__enter__()
    except PermissionError:
        cannot_run("only root can make the network namespace that Orthanc runs in")
    try:
        yield
    finally:
        network.__exit__(None, None, None)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Return the git-ignored folder for pictures and timings that CI keeps."""
    folder = Path(__file__).parents[2] / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder
