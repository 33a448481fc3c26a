"""A node that waits for another says so over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from dicom_node.config import WebSettings
from dicom_node.service.standby import STANDBY, StandbyDoor
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
