from __future__ import annotations

import pytest

from dicom_node.config import ArchiveSettings
from dicom_node.errors import RetrieveError
from dicom_node.retrieve import check_archive
from tests.builders.archive import Archive
from tests.builders.process import free_port
from tests.builders.qr_archive import QrArchive


@pytest.mark.parametrize(
    ("kind", "sign"),
    [("c-get", "accepts C-FIND and C-GET"), ("c-move", "accepts C-FIND and C-MOVE")],
)
def test_an_archive_shows_what_it_offers(kind: str, sign: str) -> None:
    with QrArchive(kind=kind) as archive:
        assert check_archive(archive.settings, ae_title="GROUNDING") == sign


def test_an_archive_that_only_stores_is_told() -> None:
    with Archive() as storage:
        settings = ArchiveSettings(
            name="storage",
            ae_title="ARCHIVE",
            host="127.0.0.1",
            port=storage.destination.port,
        )
        with pytest.raises(RetrieveError, match="none of the presentation contexts"):
            check_archive(settings, ae_title="GROUNDING")


@pytest.mark.parametrize("kind", ["c-get", "dicomweb"])
def test_an_archive_that_is_away_is_told(kind: str) -> None:
    port = free_port()
    values: dict[str, object] = {"ae_title": "A", "host": "127.0.0.1", "port": port}
    if kind == "dicomweb":
        values = {"url": f"http://127.0.0.1:{port}/dicom-web"}
    settings = ArchiveSettings.model_validate({"name": "a", "kind": kind, **values})

    with pytest.raises(RetrieveError, match="it cannot be reached"):
        check_archive(settings, ae_title="GROUNDING")
