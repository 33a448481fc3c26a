from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config import NodeSettings, ScheduleSettings
from dicom_node.identity import content_version
from dicom_node.store import Store, StudyState, VersionKey
from dicom_node.workflows.choosing import Chooser
from dicom_node.workflows.order import FIRST, place_in_line
from dicom_node.workflows.schedule import off_peak_delay_s
from tests.builders.dicom_series import make_ct_series
from tests.builders.stores import NOON, received


def local(text: str) -> datetime:
    """Return a moment of a summer day, in the machine's zone."""
    return datetime.fromisoformat(f"2026-06-10T{text}").astimezone()


@pytest.mark.parametrize(
    ("begins", "ends", "now", "delay_s"),
    [
        ("20:00", "06:00", "19:00", 3600),
        ("20:00", "06:00", "20:00", 0),
        ("20:00", "06:00", "23:59", 0),
        ("20:00", "06:00", "05:59", 0),
        ("20:00", "06:00", "06:00", 14 * 3600),
        ("01:00", "05:00", "00:30", 1800),
        ("01:00", "05:00", "04:00", 0),
        ("01:00", "05:00", "05:00", 20 * 3600),
        ("00:00", "00:00", "12:00", 0),
    ],
)
def test_work_for_the_night_waits_for_it(begins, ends, now, delay_s):
    schedule = ScheduleSettings(off_peak_begins=begins, off_peak_ends=ends)

    assert off_peak_delay_s(schedule, local(now)) == delay_s


@given(
    begins=st.times(),
    ends=st.times(),
    minutes=st.integers(0, 366 * 1440),
)
def test_after_the_delay_it_is_off_peak(begins, ends, minutes):
    now = NOON + timedelta(minutes=minutes)
    schedule = ScheduleSettings(
        off_peak_begins=f"{begins:%H:%M}", off_peak_ends=f"{ends:%H:%M}"
    )

    delay_s = off_peak_delay_s(schedule, now)

    assert 0 <= delay_s <= 25 * 3600
    assert off_peak_delay_s(schedule, now + timedelta(seconds=delay_s)) == 0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/node.sqlite") as opened:
        opened.migrate()
        yield opened


def open_study(store: Store, folder: Path) -> VersionKey:
    make_ct_series(folder, slices=1, rows=16, columns=16)
    (path,) = folder.rglob("*.dcm")
    store.record_instance(received(1, path=path.relative_to(folder)))
    (study,) = store.collecting_studies()
    key = store.open_version(study.study_id, now=NOON, version_of=content_version)
    assert key is not None
    return key


def settings(folder: Path, **rule: object) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"data_dir": folder},
            "rules": [{"name": "rule", "when": 'Modality == "CT"', **rule}],
            "models": [{"name": "big", "engine": "medglip"}],
        }
    )


def state(store: Store) -> str:
    return store.snapshot().studies[0].state


def test_a_version_gets_the_model_priority_and_hours_of_its_rule(store, tmp_path):
    key = open_study(store, tmp_path)
    chosen = settings(tmp_path, model="big", priority="low", off_peak=True)
    chooser = Chooser(chosen, store, clock=lambda: local("12:00"))

    choice = chooser.choose(key)

    assert (choice.is_processed, choice.model) == (True, "big")
    assert choice.place == place_in_line("low", queued_at=NOON, pictures=1)
    assert choice.delay_s == 8 * 3600
    assert chooser.recall(key.version_id) == choice


def test_what_was_decided_holds_when_the_rules_change(store, tmp_path):
    key = open_study(store, tmp_path)
    Chooser(settings(tmp_path, priority="low"), store, clock=lambda: NOON).choose(key)

    later = Chooser(settings(tmp_path, action="ignore"), store, clock=lambda: NOON)

    assert later.choose(key).is_processed
    assert later.choose(key).place == place_in_line("low", queued_at=NOON, pictures=1)


def test_a_study_that_a_rule_leaves_out_ends_there_and_says_why(store, tmp_path):
    key = open_study(store, tmp_path)
    chooser = Chooser(settings(tmp_path, action="ignore"), store, clock=lambda: NOON)

    choice = chooser.choose(key)

    assert not choice.is_processed
    assert state(store) == StudyState.IGNORED
    assert store.snapshot().studies[0].reason == "the rule rule leaves it out"
    assert store.work.unfinished_versions() == ()


def test_a_study_that_a_person_asks_for_passes_every_rule(store, tmp_path):
    key = open_study(store, tmp_path)
    chosen = settings(tmp_path, action="ignore", off_peak=True)
    chooser = Chooser(chosen, store, clock=lambda: local("12:00"))
    chooser.choose(key)
    store.requeue_study(key.study_instance_uid, destinations={}, now=NOON)
    (again,) = store.work.unfinished_versions()

    choice = chooser.choose(again, is_requested=True)

    assert (choice.is_processed, choice.place, choice.delay_s) == (True, FIRST, 0.0)
    assert chooser.recall(again.version_id) == choice
