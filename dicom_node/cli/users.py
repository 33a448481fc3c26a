"""``dicom-node user``: who may sign in to the pages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicom_node.cli.common import OUT, ConfigOption
from dicom_node.config import load_settings
from dicom_node.config.peers import Role
from dicom_node.errors import SettingsError

if TYPE_CHECKING:
    from dicom_node.store import Store

__all__ = ["user_commands"]

user_commands = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Who may sign in to the pages and the REST API.",
)

_NameArgument = Annotated[str, typer.Argument(help="User name.", metavar="NAME")]
_RoleOption = Annotated[
    Role, typer.Option("--role", help="viewer, sender, editor or admin.")
]
_FileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="File with the password; asked for when absent."
    ),
]


@user_commands.command()
def add(
    name: _NameArgument,
    role: _RoleOption = "viewer",
    password_file: _FileOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a person, or a machine; a running node knows them at once."""
    from dicom_node.web.passwords import check_name

    check_name(name)
    with _open(config) as store:
        store.users.add(name, password_hash=_hash(password_file), role=role)
    OUT.print(f"{name} may sign in as {role}", markup=False)


@user_commands.command("list")
def list_users(config: ConfigOption = None) -> None:
    """List who may sign in."""
    with _open(config) as store:
        known = store.users.all()
    table = Table("Name", "Role", "Since")
    for one in known:
        table.add_row(one.name, one.role, one.created_at.date().isoformat())
    OUT.print(table if known else "nobody may sign in")


@user_commands.command()
def remove(name: _NameArgument, config: ConfigOption = None) -> None:
    """Remove a person; their sessions end."""
    with _open(config) as store:
        store.users.remove(name)
    OUT.print(f"{name} may no longer sign in", markup=False)


@user_commands.command()
def password(
    name: _NameArgument,
    password_file: _FileOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a person a new password; their sessions end."""
    with _open(config) as store:
        store.users.change(name, password_hash=_hash(password_file))
    OUT.print(f"{name} has a new password", markup=False)


@user_commands.command()
def role(
    name: _NameArgument,
    role: Annotated[Role, typer.Argument(help="viewer, sender, editor or admin.")],
    config: ConfigOption = None,
) -> None:
    """Give a person another role; their sessions end."""
    with _open(config) as store:
        store.users.change(name, role=role)
    OUT.print(f"{name} is {role} now", markup=False)


def _open(config: Path | None) -> Store:
    from dicom_node.store import Store

    # What lies in the data folder is for the node's own user alone.
    os.umask(0o077)
    store = Store(load_settings(config).database_url)
    # Users may be added before the node has run.
    store.require_tables()
    return store


def _hash(file: Path | None) -> str:
    from dicom_node.web.passwords import hash_password

    if file is None:
        return hash_password(
            typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        )
    try:
        return hash_password(file.read_text(encoding="utf-8").strip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--password-file {file}: it cannot be read") from error
