"""What only looks at a database, or adds a user, changes no tables of an older node."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from dicom_node.cli import app, main
from dicom_node.commands import doctor
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


def test_the_doctor_goes_on_where_a_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    settings = NodeSettings.model_validate({"node": {"data_dir": tmp_path / "data"}})

    (found,) = doctor._database(settings)

    assert not found.is_good
    assert "File exists" in found.text


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


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["trace", "1.2.3"],
        ["requeue", "1.2.3"],
        ["pause"],
        ["resume"],
        ["drain"],
        ["retention", "--dry-run"],
        ["reports", "waiting"],
        ["corrections", "export", "--out", "corrections"],
    ],
)
@pytest.mark.parametrize("found", [_OLDER, f"{int(REVISION) + 1:04d}", None])
def test_tables_of_another_version_are_told_and_left(
    settings: NodeSettings,
    older: Store,
    tmp_path: Path,
    command: list[str],
    found: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with older._database.write() as connection:
        if found is None:
            connection.execute(text("DROP TABLE alembic_version"))
        else:
            connection.execute(
                text(f"UPDATE alembic_version SET version_num = '{found}'")
            )
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{settings.node.data_dir}"\n')
    monkeypatch.setattr("sys.argv", ["dicom-node", *command, "--config", str(config)])

    with pytest.raises(SystemExit) as ended:
        main()

    told = capsys.readouterr().err
    said = {
        _OLDER: f"an older version ({_OLDER}",
        None: "there is no node here",
    }.get(found, f"a newer version ({found}")
    assert ended.value.code == 1
    assert said in told
    assert "OperationalError" not in told
    assert _revision(older) == found


def test_a_command_that_changes_nothing_says_so(
    settings: NodeSettings, tmp_path: Path
) -> None:
    with Store(settings.database_url) as store:
        store.migrate()
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{settings.node.data_dir}"\n')

    def say(command: str) -> str:
        told = CliRunner().invoke(app, [command, "--config", str(config)])
        assert told.exit_code == 0
        return " ".join(told.output.split())

    assert say("resume") == "it was neither paused nor draining"
    assert say("pause").startswith("paused: studies")
    assert say("pause").startswith("it was paused already: studies")
    assert say("resume") == "resumed"
    assert say("resume") == "it was neither paused nor draining"


def test_tables_are_made_where_there_are_none(settings: NodeSettings) -> None:
    (found,) = doctor._database(settings)

    assert found.is_good
    with Store(settings.database_url) as store:
        assert _revision(store) == REVISION
        store.require_tables()
