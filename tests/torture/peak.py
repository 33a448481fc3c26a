"""The most memory that a process held while something went on."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

__all__ = ["Peak"]

_RESET_PEAK = "5"
"""proc(5): written to ``clear_refs``, it sets VmHWM back to what is resident now."""


class Peak:
    """Measures a block.

    Parameters
    ----------
    pid : int
        The process.

    """

    def __init__(self, pid: int) -> None:
        self.grown_bytes = 0
        """How far the peak lies above what was held before."""
        self._folder = Path("/proc", str(pid))
        self._before = 0

    def __enter__(self) -> Peak:
        (self._folder / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        self._before = self._read("VmRSS")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.grown_bytes = max(0, self._read("VmHWM") - self._before)

    def _read(self, name: str) -> int:
        for line in (self._folder / "status").read_text(encoding="ascii").splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) << 10
        msg = f"the process has no {name}"
        raise ProcessLookupError(msg)
