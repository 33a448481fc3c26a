"""Which studies have a modality: found through an index, however few they are."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    exists,
    func,
    or_,
    select,
    union_all,
)

from dicom_node.store.schema import results, series, studies, versions

__all__ = ["has_modality"]

_FEW = 500
"""So many series and results are looked up before studies are walked through."""


def has_modality(
    connection: Connection,
    modalities: Collection[str],
    *,
    other_classes: Collection[str],
) -> ColumnElement[bool]:
    """Return the claim that a study of the query may have one of these modalities.

    Where few series and results do, their studies are read from an index; where many
    do, the newest studies are asked in turn, and a page is soon full.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Where the query will be asked.
    modalities : collection of str
        Modality (0008,0060), at least one.
    other_classes : collection of str
        SOP classes of results that are of none of these modalities. What another
        result's modality is, its file says.

    Returns
    -------
    sqlalchemy clause
        Lets more studies pass than have the modality, never fewer.

    """
    received = select(series.c.study_id).where(series.c.modality.in_(modalities))
    looked_up: list[Select[tuple[int]]] = [received]
    claims = [(received, series.c.study_id)]
    if classes := sorted({*connection.scalars(_CLASSES)} - {None, *other_classes}):
        is_of_them = results.c.sop_class_uid.in_(classes)
        made = (
            select(versions.c.study_id)
            .join(results, results.c.version_id == versions.c.id)
            .where(
                versions.c.result_dir.is_not(None),
                versions.c.removed_at.is_(None),
                is_of_them,
            )
        )
        looked_up.append(select(results.c.id).where(is_of_them))
        claims.append((made, versions.c.study_id))
    if all(_is_few(connection, rows) for rows in looked_up):
        return studies.c.id.in_(union_all(*(claim for claim, _ in claims)))
    return or_(*(exists(claim.where(study == studies.c.id)) for claim, study in claims))


def _is_few(connection: Connection, rows: Select[tuple[int]]) -> bool:
    some = rows.limit(_FEW + 1).subquery()
    count = connection.scalar(select(func.count()).select_from(some))
    return int(count or 0) <= _FEW


def _classes() -> Select[tuple[str | None]]:
    """Return the SOP classes of all results: one look into an index for each."""
    uid = results.c.sop_class_uid
    found = select(func.min(uid).label("uid")).cte("classes", recursive=True)
    following = (
        select(func.min(uid)).where(uid > found.c.uid).correlate(found)
    ).scalar_subquery()
    found = found.union_all(
        select(following).select_from(found).where(found.c.uid.is_not(None))
    )
    return select(found.c.uid)


_CLASSES = _classes()
