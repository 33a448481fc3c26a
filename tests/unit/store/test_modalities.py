"""Studies of a modality are the same ones, however they are looked for."""

from __future__ import annotations

import pytest
from sqlalchemy import func, update

from dicom_node.dicomweb.library import classes_of_others
from dicom_node.store import Store, StudyFilter, modalities
from dicom_node.store.schema import versions
from tests.bench.growth_rows import fill, study_uid
from tests.builders.query_plans import listen, read_whole

LARGE = {"studies", "series", "instances", "versions", "results"}


def asked(*names: str) -> StudyFilter:
    return StudyFilter(modalities=names, other_classes=classes_of_others(names))


CASES = (
    (asked("CT"), (9, 8, 5, 4, 1)),
    (asked("MR", "CR"), (10, 7, 6, 3, 2)),
    (asked("XA"), ()),
    (asked("SEG"), (8, 7, 6, 5, 4, 2, 1)),
    (asked("CR", "SR"), (8, 7, 6, 5, 4, 3, 2, 1)),
    (StudyFilter(modalities=("XA",)), (8, 7, 6, 5, 4, 2, 1)),
)
"""What is asked of ten studies, the third of which has lost its results, and which
are found. Results of a class that is not ruled out may be of any modality."""


@pytest.mark.parametrize("few", [0, 4, 500])
def test_few_and_many_are_found_alike_and_no_table_is_read_whole(
    url: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modalities, "_FEW", few)
    fill(url, instance_count=1000)
    with Store(url) as store:
        database = store.catalogue._database
        with database.write(is_patient=True) as connection:
            third = versions.c.study_id == 3
            removed = {"removed_at": func.current_timestamp()}
            connection.execute(update(versions).where(third).values(removed))

        with listen(database.engine) as heard:
            found = [store.catalogue.studies(where) for where, _ in CASES]
        whole = [read_whole(database.engine, one) & LARGE for one in heard]

    assert [[one.study_instance_uid for one in each] for each in found] == [
        [study_uid(number) for number in numbers] for _, numbers in CASES
    ]
    assert len(heard) > len(CASES)
    assert not any(whole)
