"""The database's password in a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import make_url

from dicom_node.config import NodeSettings
from dicom_node.errors import SettingsError, StoreError
from dicom_node.store import Store

URL = "postgresql://node@127.0.0.1:1/grounding"


def _settings(path: Path, url: str = URL) -> NodeSettings:
    return NodeSettings.model_validate(
        {"node": {"database_url": url, "database_password_file": path}}
    )


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1))
def test_any_password_comes_whole(
    tmp_path_factory: pytest.TempPathFactory, password: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "password"
    path.write_text(f"{password}\n", encoding="utf-8", newline="")

    url = make_url(_settings(path).database_url)

    assert url.password == password.rstrip("\r\n")
    assert (url.username, url.host, url.port) == ("node", "127.0.0.1", 1)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_without_a_password_is_an_error(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)

    with pytest.raises(SettingsError, match="database_password_file"):
        _ = _settings(path).database_url


@pytest.mark.parametrize(
    "url", ["sqlite:///here", "postgresql://host/name", "postgresql://a:b@host/name"]
)
def test_the_url_names_a_user_and_no_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match="names a user and no password"):
        _settings(tmp_path / "password", url)


def test_a_database_that_is_away_does_not_tell_the_password(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("ZZSECRET")
    settings = _settings(path)

    with pytest.raises(StoreError) as caught:
        Store(settings.database_url).ping()

    assert "ZZSECRET" not in str(caught.value)
    assert "ZZSECRET" not in repr(settings)
    assert "ZZSECRET" not in settings.model_dump_json()
