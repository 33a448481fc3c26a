"""A well-behaved peer beside the hostile ones: does it get its answer, and how soon?"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from types import TracebackType

from tests.builders.raw_peer import VERIFICATION, RawPeer
from tests.torture.outcome import Figure, at_least, at_most

__all__ = ["Bystander", "echo", "get_health"]

_PATIENCE_S = 20.0
_OTHER_ADDRESS = "127.0.0.2"


class Bystander:
    """Asks the same again and again, in a thread, while the block lasts.

    Parameters
    ----------
    ask : callable
        Asks once and waits for the answer; raises what it likes.
    pause_s : float
        Rest between two questions.

    """

    def __init__(self, ask: Callable[[], object], *, pause_s: float = 0.1) -> None:
        self.slowest_s = 0.0
        self.answered = 0
        self.failures: list[str] = []
        self._ask = ask
        self._pause_s = pause_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join(2 * _PATIENCE_S)

    def figures(self, name: str, *, limit_s: float) -> tuple[Figure, ...]:
        """Return whether it was answered each time, and within the limit."""
        return (
            at_least(f"{name}: answered", self.answered, 1),
            at_most(f"{name}: not answered", len(self.failures), 0),
            at_most(f"{name}: slowest answer", round(self.slowest_s, 3), limit_s, "s"),
        )

    def _run(self) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            try:
                self._ask()
                self.answered += 1
            except (OSError, AssertionError, EOFError, http.client.HTTPException) as e:
                self.failures.append(f"{type(e).__name__}: {e}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self._is_over.wait(self._pause_s)


def echo(port: int, *, source: str = _OTHER_ADDRESS, called: str = "GROUNDING") -> None:
    """Associate, send C-ECHO and release, by default from another address."""
    with RawPeer(port, timeout_s=_PATIENCE_S, source=source) as peer:
        peer.associate(VERIFICATION, called=called)
        assert peer.echo() == 0
        peer.release()


def get_health(port: int, *, source: str = _OTHER_ADDRESS) -> None:
    """Ask the web server whether it lives, by default from another address."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=_PATIENCE_S, source_address=(source, 0)
    )
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    finally:
        connection.close()
