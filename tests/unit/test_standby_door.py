"""A node that waits for another says so over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dicom_node.config import NodeSettings, WebSettings
from dicom_node.service.claim import NodeClaim
from dicom_node.service.standby import STANDBY, StandbyDoor
from tests.builders.certificates import Authority
from tests.builders.process import free_port


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health/live", 200), ("/health/ready", 503), ("/health", 503), ("/", 503)],
)
def test_it_lives_and_is_not_ready(path: str, status: int) -> None:
    port = free_port()

    with StandbyDoor(WebSettings(port=port)):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                told = answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                told = error.code, json.load(error)

    assert told[0] == status
    assert (STANDBY in json.dumps(told[1])) == (status == 503)


def test_a_port_that_another_uses_does_not_end_it() -> None:
    settings = WebSettings(port=free_port())

    with StandbyDoor(settings), StandbyDoor(settings):
        pass


def test_it_speaks_tls_where_the_node_does(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("node")
    settings = WebSettings(
        port=free_port(), certificate=pair.certificate, private_key=pair.private_key
    )

    with (
        StandbyDoor(settings),
        urllib.request.urlopen(
            f"https://127.0.0.1:{settings.port}/health/live",
            context=authority.client(),
            timeout=10,
        ) as answer,
    ):
        assert answer.status == 200


def test_it_stands_by_while_the_database_is_away(tmp_path: Path) -> None:
    settings = NodeSettings.model_validate(
        {
            "node": {
                "data_dir": tmp_path,
                "standby": True,
                "database_url": f"postgresql://x@127.0.0.1:{free_port()}/x",
            },
            "web": {"enabled": False},
        }
    )
    looks = iter([False, False, True])

    assert NodeClaim(settings).take(is_cancelled=lambda: next(looks)) is None
