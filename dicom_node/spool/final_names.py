"""Which final names are in use, which were refused, and what is on its way out.

    <data_dir>/instances/<ab>/<sha256>.dcm          what is kept
    <data_dir>/removed/<random>-<ab>-<sha256>.dcm   taken out, until it is sure to go

A file whose reception was refused after all loses its write permission: that needs no
room on a full disk. A file is never deleted under its final name: a process that was
stopped in between might delete what another one has acknowledged there since.
"""

from __future__ import annotations

import contextlib
import secrets
import stat
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

__all__ = ["FinalNames", "TakenOut"]

_REMOVED = "removed"
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_REFUSED_MODE = 0o400


@dataclass(frozen=True, slots=True)
class TakenOut:
    """A file that has left its final name."""

    final: Path
    """Relative to the data folder."""
    place: Path
    was_refused: bool


class FinalNames:
    """The names of whole files; any number of threads may use it.

    Parameters
    ----------
    data_dir : pathlib.Path
        The node's data folder. Every other path is relative to it.

    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._held: Counter[Path] = Counter()
        self._vouched: set[Path] = set()
        """Held names where a file was that is not refused: it may be acknowledged."""
        self._refused: set[Path] = set()

    def hold(self, final: Path) -> None:
        """Begin to use a final path; `settle` or `release` ends it."""
        with self._lock:
            if final not in self._held and not self._may_go(final):
                self._vouched.add(final)
            self._held[final] += 1

    def release(self, final: Path) -> None:
        """End to use a final path that nothing was put at."""
        with self._lock:
            self._let_go(final)

    def settle(self, final: Path, *, is_kept: bool) -> None:
        """Note whether a file at its final path is kept, or its reception refused.

        What was there before, or was kept by somebody else meanwhile, is not refused
        by a reception of the same bytes that is.

        Parameters
        ----------
        final : pathlib.Path
            What was held.
        is_kept : bool
            Whether a row names it.

        """
        with self._lock:
            if is_kept:
                self._refused.discard(final)
                self._vouched.add(final)
            elif self._held[final] == 1 and final not in self._vouched:
                self._refused.add(final)
                self._set_mode(final, _REFUSED_MODE)
            self._let_go(final)

    def held(self) -> set[Path]:
        """Return what somebody uses at this moment."""
        with self._lock:
            return set(self._held)

    def refused(self) -> set[Path]:
        """Return what was refused since the start and lies there still."""
        with self._lock:
            return set(self._refused)

    def is_refused(self, final: Path) -> bool:
        """Whether a file bears the mark of what was refused."""
        try:
            return not (self._data_dir / final).stat().st_mode & stat.S_IWUSR
        except OSError:
            return False

    def is_younger(self, final: Path, moment: datetime) -> bool:
        """Whether a file was written after a moment; False: there is none."""
        try:
            made = (self._data_dir / final).stat().st_mtime
        except OSError:
            return False
        return made > moment.timestamp()

    def unmark(self, finals: Iterable[Path]) -> None:
        """Note that rows name what was refused: the database kept it all the same."""
        with self._lock:
            for final in finals:
                self._refused.discard(final)
                self._set_mode(final, _FILE_MODE)

    def take_out(self, final: Path, *, to_delete: bool = True) -> TakenOut | None:
        """Take a file away from its final name.

        Parameters
        ----------
        final : pathlib.Path
            What no row names, by a look in a transaction that still writes.
        to_delete : bool
            Whether a start that finds it deletes it.

        Returns
        -------
        TakenOut or None
            To be put back or deleted; None: somebody is just storing it.

        Raises
        ------
        OSError
            It stays where it is.

        """
        name = f"{secrets.token_hex(16)}-{final.parent.name}-{final.name}"
        with self._lock:
            if final in self._held:
                return None
            taken = TakenOut(final, Path(_REMOVED, name), self.is_refused(final))
            with contextlib.suppress(FileNotFoundError):
                self._rename(final, taken.place)
                if to_delete:
                    self._set_mode(taken.place, _REFUSED_MODE)
            self._refused.discard(final)
            return taken

    def put_back(self, taken: TakenOut, *, is_named: bool) -> None:
        """Give a file its final name again, where the same bytes are not there by now.

        Raises
        ------
        OSError
            It lies where it was taken to; the next start puts it back.

        """
        is_refused = taken.was_refused and not is_named
        with self._lock, contextlib.suppress(FileNotFoundError):
            if (self._data_dir / taken.final).exists():
                (self._data_dir / taken.place).unlink()
                return
            self._set_mode(taken.place, _REFUSED_MODE if is_refused else _FILE_MODE)
            (self._data_dir / taken.place).rename(self._data_dir / taken.final)
            if is_refused:
                self._refused.add(taken.final)

    def delete(self, taken: TakenOut) -> None:
        """Delete what was taken out.

        Raises
        ------
        OSError
            It cannot be deleted; the next start tries again.

        """
        (self._data_dir / taken.place).unlink(missing_ok=True)

    def taken_out(self) -> list[TakenOut]:
        """Return what an earlier process has taken out and not seen to its end.

        What was not to be deleted counts as not refused.
        """
        return [
            TakenOut(
                Path("instances", *path.name.split("-", 2)[1:]), place, was_refused
            )
            for path in sorted((self._data_dir / _REMOVED).glob("*-*-*"))
            for place in (path.relative_to(self._data_dir),)
            for was_refused in (self.is_refused(place),)
        ]

    def _may_go(self, final: Path) -> bool:
        try:
            mode = (self._data_dir / final).stat().st_mode
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return final in self._refused or not mode & stat.S_IWUSR

    def _let_go(self, final: Path) -> None:
        self._held[final] -= 1
        if not self._held[final]:
            del self._held[final]
            self._vouched.discard(final)

    def _set_mode(self, path: Path, mode: int) -> None:
        with contextlib.suppress(OSError):
            (self._data_dir / path).chmod(mode)

    def _rename(self, final: Path, place: Path) -> None:
        try:
            (self._data_dir / final).rename(self._data_dir / place)
        except FileNotFoundError:
            (self._data_dir / _REMOVED).mkdir(mode=_FOLDER_MODE, exist_ok=True)
            (self._data_dir / final).rename(self._data_dir / place)
