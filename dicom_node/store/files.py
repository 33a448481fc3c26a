"""The files of received instances go: removed, refused, or not to be understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy import Connection, select

from dicom_node.spool.final_names import FinalNames, TakenOut
from dicom_node.store.database import Database
from dicom_node.store.deletion import (
    delete_unnamed,
    finish_deletions,
    take_unnamed,
)
from dicom_node.store.instances import known_paths
from dicom_node.store.removed_files import (
    RemovedFiles,
    forget_answers,
    removed_folders,
    removed_instances,
)
from dicom_node.store.schema import instances, results, versions

__all__ = ["FileStore"]


class FileStore:
    """Deletion of files that no row names.

    Parameters
    ----------
    database : Database
        Every method raises StoreError when it cannot answer, and TakenOverError when
        another node works on it; what had been taken out is back then.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def delete_removed(
        self,
        study_id: int,
        names: FinalNames,
        *,
        remove: Callable[[RemovedFiles], bool],
    ) -> bool:
        """Delete the files of what was removed, some at a time.

        Parameters
        ----------
        study_id : int
            The study.
        names : FinalNames
            Where the files lie.
        remove : callable
            Deletes the folders and the cached metadata of what is gone; returns
            whether all of it is.

        Returns
        -------
        bool
            Whether everything is gone.

        """
        last: int | None = 0
        is_all = True
        while last is not None:
            gone, last, is_whole = self._delete_some(study_id, names, after_id=last)
            is_all &= is_whole
            is_all &= remove(gone)

        def forget(connection: Connection) -> tuple[Path, ...]:
            return forget_answers(connection, study_id)

        is_all &= delete_unnamed(self._database, names, forget)[1]
        with self._database.write() as connection:
            folders = removed_folders(connection, study_id)
            hashes = connection.scalars(
                select(results.c.sha256)
                .join(versions, versions.c.id == results.c.version_id)
                .where(
                    versions.c.study_id == study_id, results.c.removed_at.is_not(None)
                )
            ).all()
            return remove(RemovedFiles((), folders, tuple(hashes))) and is_all

    def _delete_some(
        self, study_id: int, names: FinalNames, *, after_id: int
    ) -> tuple[RemovedFiles, int | None, bool]:
        found: list[tuple[RemovedFiles, int | None]] = []

        def find(connection: Connection) -> tuple[Path, ...]:
            found.append(removed_instances(connection, study_id, after_id=after_id))
            return found[-1][0].files

        is_all = delete_unnamed(self._database, names, find)[1]
        files, last = found[-1]
        return files, last, is_all

    def delete_strays(self, paths: Iterable[Path], names: FinalNames) -> set[Path]:
        """Delete files whose only rows are removed; return which of these that were.

        One that was written after its row was removed came again: it stays.
        """
        wanted = {path.as_posix(): path for path in paths}

        def find(connection: Connection) -> list[Path]:
            return [
                wanted[row.path]
                for row in connection.execute(
                    select(instances.c.path, instances.c.removed_at).where(
                        instances.c.path.in_(wanted),
                        instances.c.removed_at.is_not(None),
                    )
                )
                if not names.is_younger(wanted[row.path], row.removed_at)
            ]

        return delete_unnamed(self._database, names, find)[0]

    def delete_refused(
        self, names: FinalNames, paths: Iterable[Path] | None = None
    ) -> int:
        """Delete files whose reception was refused; return how many.

        Parameters
        ----------
        names : FinalNames
            Where the files lie.
        paths : iterable of pathlib.Path, optional
            The files; those that were refused since the start when absent.

        """
        asked = names.refused() if paths is None else set(paths)
        if not asked:
            return 0

        def find(connection: Connection) -> set[Path]:
            named = known_paths(connection, [path.as_posix() for path in asked])
            names.unmark(Path(path) for path in named)
            return asked

        return len(delete_unnamed(self._database, names, find)[0])

    def quarantine(
        self, path: Path, names: FinalNames, *, set_aside: Callable[[TakenOut], bool]
    ) -> bool:
        """Let a file be set aside if no row names it; return whether it is."""
        return bool(
            take_unnamed(
                self._database,
                names,
                lambda _: [path],
                finish=set_aside,
                to_delete=False,
            )[0]
        )

    def finish_deletions(self, names: FinalNames) -> int:
        """See what an earlier process took out to its end, before it is received."""
        return finish_deletions(self._database, names)
