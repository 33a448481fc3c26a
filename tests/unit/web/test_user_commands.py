from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.config import load_settings
from dicom_node.errors import AccessError
from dicom_node.store import Store
from dicom_node.web.passwords import Passwords

SECRET = "correct horse battery"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\ndata_dir = "{tmp_path / "data"}"\n')
    (tmp_path / "password").write_text(f"{SECRET}\n")
    return path


def run(config: Path, *arguments: str, typed: str = "") -> str:
    result = CliRunner().invoke(
        app, ["user", *arguments, "--config", str(config)], input=typed
    )
    if result.exception is not None:
        raise result.exception
    return result.output


def users_of(config: Path) -> Store:
    return Store(load_settings(config, {}).database_url)


def test_a_user_is_added_listed_changed_and_removed(config: Path) -> None:
    file = str(config.parent / "password")

    run(config, "add", "ada", "--role", "editor", "--password-file", file)
    run(config, "add", "bob", typed=f"{SECRET} 2\n{SECRET} 2\n")
    listed = run(config, "list")
    run(config, "role", "bob", "admin")
    run(config, "password", "ada", typed="another password\nanother password\n")

    with users_of(config) as store:
        passwords = Passwords(store.users)
        ada = passwords.find("ada", "another password", address="a")
        bob = passwords.find("bob", f"{SECRET} 2", address="a")
        old = passwords.find("ada", SECRET, address="a")
    assert "ada" in listed
    assert "editor" in listed
    assert ada is not None
    assert (ada.role, ada.session_epoch) == ("editor", 1)
    assert bob is not None
    assert (bob.role, bob.session_epoch) == ("admin", 1)
    assert old is None
    run(config, "remove", "ada")
    run(config, "remove", "bob")
    assert "nobody" in run(config, "list")


def test_what_is_typed_is_not_shown_or_kept(config: Path) -> None:
    output = run(config, "add", "ada", typed=f"{SECRET}\n{SECRET}\n")

    assert SECRET not in output
    data = (config.parent / "data" / "node.sqlite").read_bytes()
    assert SECRET.encode() not in data
    assert b"$argon2id$" in data


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (("add", "ada"), "short\nshort\n", "characters"),
        (("add", "a b"), f"{SECRET}\n{SECRET}\n", "name"),
        (("add", "../x"), f"{SECRET}\n{SECRET}\n", "name"),
        (("remove", "nobody"), "", "no user"),
        (("password", "nobody"), f"{SECRET}\n{SECRET}\n", "no user"),
        (("role", "nobody", "viewer"), "", "no user"),
    ],
)
def test_what_cannot_be_done_is_said(
    config: Path, arguments: tuple[str, ...], typed: str, said: str
) -> None:
    with pytest.raises(AccessError, match=said):
        run(config, *arguments, typed=typed)


def test_a_name_is_given_once(config: Path) -> None:
    file = str(config.parent / "password")
    run(config, "add", "ada", "--password-file", file)

    with pytest.raises(AccessError, match="already"):
        run(config, "add", "ada", "--password-file", file)
