"""Is the node well: live when the process answers, ready when it can do its work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Check", "HealthReport", "check_disk", "examine"]

Check = Callable[[], str | None]
"""Returns what is wrong, in plain words free of patient data, or None."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What every check said; ``problems`` maps its name to what is wrong.

    ``warnings`` maps a name to what will be wrong unless somebody sees to it.
    """

    checks: tuple[str, ...]
    problems: dict[str, str]
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def examine(
    checks: Sequence[tuple[str, Check]], warnings: Sequence[tuple[str, Check]] = ()
) -> HealthReport:
    """Run every check, each with a name, and what warns of trouble to come."""
    found = {name: check() for name, check in checks}
    soon = {name: check() for name, check in warnings}
    return HealthReport(
        checks=tuple(found),
        problems={name: what for name, what in found.items() if what is not None},
        warnings={name: what for name, what in soon.items() if what is not None},
    )


def check_disk(folder: Path, *, min_free_bytes: int) -> str | None:
    """Say so when instances would be refused for want of disk."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "the data folder cannot be read"
    if free < min_free_bytes:
        return f"{free} bytes are free, {min_free_bytes} are reserved"
    return None
