"""What only looks at a database, or adds a user, changes no tables of an older node."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from dicom_node import doctor
from dicom_node.cli import app
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.store import Store
from dicom_node.store.migration import REVISION, read_revision

_OLDER = f"{int(REVISION) - 1:04d}"


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return NodeSettings.model_validate({"node": {"data_dir": tmp_path / "data"}})


@pytest.fixture
def older(settings: NodeSettings) -> Store:
    store = Store(settings.database_url)
    store.migrate()
    with store._database.write() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{_OLDER}'"))
    return store


def _revision(store: Store) -> str | None:
    with store._database.read() as connection:
        return read_revision(connection)


def test_the_doctor_says_what_the_next_start_does_and_leaves_it(
    settings: NodeSettings, older: Store
) -> None:
    (found,) = doctor._database(settings)

    assert found.is_good
    assert f"an older version ({_OLDER})" in found.text
    assert _revision(older) == _OLDER


def test_a_user_is_not_added_to_older_tables(
    settings: NodeSettings, older: Store, tmp_path: Path
) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{settings.node.data_dir}"\n')

    result = CliRunner().invoke(app, ["user", "list", "--config", str(config)])

    assert result.exit_code != 0
    assert _revision(older) == _OLDER
    with pytest.raises(StoreError, match="the next start of the node brings them up"):
        older.require_tables()


def test_tables_are_made_where_there_are_none(settings: NodeSettings) -> None:
    (found,) = doctor._database(settings)

    assert found.is_good
    with Store(settings.database_url) as store:
        assert _revision(store) == REVISION
        store.require_tables()
