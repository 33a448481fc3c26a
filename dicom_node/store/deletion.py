"""Files go when no row names them, by two looks: before they leave, and after.

A transaction ends with its connection, and a process that is stopped for long does not
notice: it may go on with what it found while another node works. So the first look,
in a transaction that this node may make, only takes files away from their names; the
second, in another one, decides whether they go or get their names back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from sqlalchemy import Connection

from dicom_node.spool.final_names import FinalNames, TakenOut
from dicom_node.store.database import Database
from dicom_node.store.instances import known_paths

__all__ = ["delete_unnamed", "finish_deletions", "take_unnamed"]

log = structlog.get_logger(__name__)


def delete_unnamed(
    database: Database,
    names: FinalNames,
    find: Callable[[Connection], Iterable[Path]],
) -> tuple[set[Path], bool]:
    """Delete files that no row names.

    Parameters
    ----------
    database : Database
        Where the rows are.
    names : FinalNames
        Where the files lie.
    find : callable
        Returns which files are to go, relative to the data folder; those that a row
        names stay all the same.

    Returns
    -------
    set of pathlib.Path
        The files that are gone.
    bool
        Whether every other one stays for good: False where it is just being stored,
        or the disk failed.

    Raises
    ------
    StoreError
        The database could not answer; what had been taken out is back.
    TakenOverError
        Another node works on the database now; likewise.

    """

    def delete(taken: TakenOut) -> bool:
        names.delete(taken)
        return True

    return take_unnamed(database, names, find, finish=delete)


def take_unnamed(
    database: Database,
    names: FinalNames,
    find: Callable[[Connection], Iterable[Path]],
    *,
    finish: Callable[[TakenOut], bool],
    to_delete: bool = True,
) -> tuple[set[Path], bool]:
    """Do as `delete_unnamed`, but with ``finish`` in the place of the deletion.

    ``finish`` returns whether the file is gone; False: it gets its name back.
    """
    taken: list[TakenOut] = []
    gone: set[Path] = set()
    is_all = True
    try:
        with database.write() as connection:
            wanted = set(find(connection))
            for path in sorted(wanted - _named(connection, wanted)):
                try:
                    one = names.take_out(path, to_delete=to_delete)
                except OSError:
                    one = None
                if one is None:
                    is_all = False
                else:
                    taken.append(one)
        if not taken:
            return gone, is_all
        with database.write() as connection:
            named = _named(connection, {one.final for one in taken})
    except BaseException:
        for one in taken:
            _put_back(names, one, is_named=False)
        raise
    for one in taken:
        try:
            is_gone = one.final not in named and finish(one)
        except OSError:
            is_gone = False
        if is_gone:
            gone.add(one.final)
        else:
            _put_back(names, one, is_named=one.final in named)
            is_all &= one.final in named
    if len(gone) < len(taken):
        log.warning("files_not_removed", count=len(taken) - len(gone))
    return gone, is_all


def finish_deletions(database: Database, names: FinalNames) -> int:
    """See what an earlier process took out to its end; return how many went.

    To be called before anything is received.

    Raises
    ------
    StoreError
        The database could not answer.

    """
    taken = names.taken_out()
    if not taken:
        return 0
    with database.write() as connection:
        named = _named(connection, {one.final for one in taken})
    count = 0
    for one in taken:
        if one.final in named or not one.was_refused:
            _put_back(names, one, is_named=True)
        else:
            with contextlib.suppress(OSError):
                names.delete(one)
                count += 1
    return count


def _named(connection: Connection, paths: set[Path]) -> set[Path]:
    wanted = sorted(path.as_posix() for path in paths)
    return {
        Path(path)
        for at in range(0, len(wanted), _CHUNK)
        for path in known_paths(connection, wanted[at : at + _CHUNK])
    }


def _put_back(names: FinalNames, taken: TakenOut, *, is_named: bool) -> None:
    try:
        names.put_back(taken, is_named=is_named)
    except OSError:
        # The next start puts it back.
        log.error("file_not_put_back", path=taken.final.as_posix())  # noqa: TRY400


_CHUNK = 500
