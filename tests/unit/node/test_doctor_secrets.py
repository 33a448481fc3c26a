"""What the doctor says of the files that hold passwords and tokens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_node.commands import doctor
from dicom_node.config import NodeSettings


def _settings(use: str, path: Path) -> NodeSettings:
    url = "http://127.0.0.1:1"
    peer = {"name": "one", "kind": "stow", "url": url, "token_file": path}
    tables: dict[str, dict[str, object]] = {
        "node.database_password_file": {
            "node": {
                "database_url": "postgresql+psycopg://node@localhost/node",
                "database_password_file": path,
            }
        },
        "oidc.client_secret_file": {"oidc": {"client_secret_file": path}},
        "ups.token_file": {"ups": {"token_file": path}},
        "destination one token_file": {"destinations": [peer]},
        "archive one token_file": {"archives": [{**peer, "kind": "dicomweb"}]},
    }
    return NodeSettings.model_validate(tables[use])


USES = (
    "node.database_password_file",
    "oidc.client_secret_file",
    "ups.token_file",
    "destination one token_file",
    "archive one token_file",
)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o644, "every user"), (0o604, "every user"), (0o640, "its group"), (0o600, None)],
)
def test_a_secret_that_others_may_read_is_trouble(
    tmp_path: Path, use: str, mode: int, who: str | None
) -> None:
    path = tmp_path / "secret"
    path.write_text("a password")
    path.chmod(mode)

    found = list(doctor._secrets(_settings(use, path)))

    assert [one.is_good for one in found] == ([] if who is None else [False])
    for one in found:
        assert f"{use} {path}: {who}" in one.text
        assert "a password" not in one.text


def test_a_secret_may_be_lent_to_the_node_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("a password")
    path.chmod(0o640)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    assert list(doctor._secrets(_settings(USES[0], path))) == []


def test_a_secret_that_is_not_there_is_told_by_whoever_reads_it(tmp_path: Path) -> None:
    assert list(doctor._secrets(_settings(USES[1], tmp_path / "none"))) == []


def test_the_doctor_looks_at_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("a password")
    path.chmod(0o644)
    for name in vars(doctor).copy():
        if name in {"_model", "_database", "_destinations", "_archives", "_ports"}:
            monkeypatch.setattr(doctor, name, lambda _settings: iter(()))
    monkeypatch.chdir(tmp_path)
    settings = _settings(USES[3], path)

    assert any("chmod 600" in one.text for one in doctor.examine(settings))
