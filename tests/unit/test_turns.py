"""Who waits for a peer gets its turn soon, whoever computes beside it."""

from __future__ import annotations

import sys

from dicom_node.turns import take_short_turns


def test_a_turn_lasts_a_millisecond_at_most() -> None:
    usual = sys.getswitchinterval()
    try:
        take_short_turns()

        assert sys.getswitchinterval() == 0.001
    finally:
        sys.setswitchinterval(usual)
