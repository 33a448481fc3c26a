"""Who waits for a peer gets its turn soon, whoever computes beside it."""

from __future__ import annotations

import json
import subprocess
import sys

_MEASURE = """
import json, sys, threading, time
from dicom_node.turns import take_short_turns

usual, is_over = sys.getswitchinterval(), False

def compute():
    while not is_over:
        pass

def ten_turns():
    began = time.monotonic()
    for _ in range(10):
        time.sleep(0)  # lets go of the lock, as each call to socket or disk does
    return time.monotonic() - began

other = threading.Thread(target=compute)
other.start()
usually, shortly = [], []
for _ in range(5):
    sys.setswitchinterval(usual)
    usually.append(ten_turns())
    take_short_turns()
    shortly.append(ten_turns())
is_over = True
other.join()
print(json.dumps([min(usually), min(shortly)]))
"""


def test_a_thread_that_lets_go_of_the_lock_has_it_back_sooner() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True
    )

    usually, shortly = json.loads(said.stdout)
    assert shortly < usually
