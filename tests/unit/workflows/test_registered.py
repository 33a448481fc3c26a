"""Which work is given up when it is found unfinished at start after start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from dbos import DBOS
from dbos._registrations import get_func_info

from dicom_node.workflows.registered import Registered, register
from dicom_node.workflows.steps import Steps


@pytest.fixture
def registered() -> Iterator[Registered]:
    yield register(cast("Steps", None))
    DBOS.destroy(destroy_registry=True)


def test_what_sends_is_taken_up_however_often_it_was_cut_off(
    registered: Registered,
) -> None:
    limits = {}
    for workflow in (registered.process_version, registered.deliver, registered.commit):
        info = get_func_info(workflow)
        assert info is not None
        limits[workflow.__name__] = info.max_recovery_attempts

    assert limits["process_version"] is not None  # it may end the process each time
    assert limits["deliver"] is limits["commit"] is None
