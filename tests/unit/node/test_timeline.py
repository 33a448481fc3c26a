from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.stages import Stage, StageLog, read_stages
from dicom_node.timeline import (
    DestinationMoments,
    VersionMoments,
    chrome_trace,
    make_spans,
    seconds_to_result,
)
from tests.builders.stores import NOON

# Any order of moments: a clock may be set back at any time.
MOMENTS = st.floats(0, 5000).map(lambda one: NOON + timedelta(seconds=one))
MAYBE = st.none() | MOMENTS
DESTINATIONS = st.builds(
    DestinationMoments,
    name=st.sampled_from(["pacs", "archive"]),
    begun_at=MAYBE,
    acknowledged_at=MAYBE,
    committed_at=MAYBE,
    is_sent=st.booleans(),
    is_over=st.booleans(),
)
VERSIONS = st.builds(
    VersionMoments,
    study_instance_uid=st.just("1.2.3"),
    content_version=st.just("ab" * 32),
    state=st.sampled_from(["ready", "processing", "done", "failed", "superseded"]),
    instances=st.integers(0, 9),
    first_received_at=MAYBE,
    last_received_at=MAYBE,
    completed_at=MOMENTS,
    queued_at=MOMENTS,
    run_before_ended_at=MAYBE,
    started_at=MAYBE,
    finished_at=MAYBE,
    stages=st.lists(
        st.builds(
            Stage,
            name=st.sampled_from(["pixels", "inference"]),
            begin=MOMENTS,
            end=MOMENTS,
        ),
        max_size=4,
    ).map(tuple),
    destinations=st.lists(DESTINATIONS, max_size=2, unique_by=lambda one: one.name).map(
        tuple
    ),
)

WHOLE = VersionMoments(
    study_instance_uid="1.2.3",
    content_version="ab" * 32,
    state="done",
    instances=3,
    first_received_at=NOON,
    last_received_at=NOON + timedelta(seconds=2),
    completed_at=NOON + timedelta(seconds=12),
    queued_at=NOON + timedelta(seconds=12),
    started_at=NOON + timedelta(seconds=13),
    finished_at=NOON + timedelta(seconds=20),
    stages=(
        Stage("headers", NOON + timedelta(seconds=13), NOON + timedelta(seconds=14)),
        Stage("inference", NOON + timedelta(seconds=14), NOON + timedelta(seconds=19)),
    ),
    destinations=(
        DestinationMoments(
            "pacs",
            NOON + timedelta(seconds=21),
            NOON + timedelta(seconds=22),
            NOON + timedelta(seconds=25),
            is_sent=True,
            is_over=True,
        ),
    ),
)


@given(VERSIONS, MOMENTS)
def test_no_span_ends_before_it_begins_and_the_study_has_no_gap(moments, now):
    spans = make_spans(moments, now=now)

    assert all(one.seconds >= 0 for one in spans)
    assert all(
        before.end == after.begin for before, after in pairwise(_of(spans, "study"))
    )
    whole = [one for one in spans if one.name == "processing"]
    for step in _of(spans, "processing"):
        assert whole[0].begin <= step.begin <= step.end <= whole[0].end


@given(VERSIONS, MOMENTS)
def test_a_trace_tells_every_span_to_the_microsecond_and_nothing_else(moments, now):
    spans = make_spans(moments, now=now)

    document = json.loads(json.dumps(chrome_trace([(moments, spans)])))

    events = document["traceEvents"]
    names = {
        one["tid"]: one["args"]["name"]
        for one in events
        if one["name"] == "thread_name"
    }
    told = [
        (one["name"], names[one["tid"]], one["ts"], one["ts"] + one["dur"])
        for one in events
        if one["ph"] == "X"
    ]
    assert told == [
        (
            one.name,
            one.track,
            *(round(at.timestamp() * 1e6) for at in (one.begin, one.end)),
        )
        for one in spans
    ]


def test_a_study_that_went_all_the_way_is_told_span_by_span():
    spans = make_spans(WHOLE, now=NOON + timedelta(days=1))

    assert [(one.track, one.name, one.seconds) for one in spans] == [
        ("study", "receiving", 2.0),
        ("study", "quiet time", 10.0),
        ("study", "queued", 1.0),
        ("study", "processing", 7.0),
        ("processing", "headers", 1.0),
        ("processing", "inference", 5.0),
        ("to pacs", "waiting to be sent", 1.0),
        ("to pacs", "sending", 1.0),
        ("to pacs", "commitment", 3.0),
    ]
    assert not any(one.is_open for one in spans)
    assert seconds_to_result(WHOLE) == 20.0


def test_nothing_is_told_of_a_destination_that_has_what_a_repeat_came_to():
    times = {"queued_at": 112, "started_at": 113, "finished_at": 120}
    again = replace(
        WHOLE,
        run_before_ended_at=WHOLE.finished_at,
        stages=(),
        **{name: NOON + timedelta(seconds=at) for name, at in times.items()},
    )
    (pacs,) = WHOLE.destinations
    late = DestinationMoments(
        "late",
        begun_at=NOON + timedelta(seconds=121),
        acknowledged_at=NOON + timedelta(seconds=123),
        committed_at=None,
        is_sent=True,
        is_over=True,
    )

    spans = make_spans(
        replace(again, destinations=(late, pacs)), now=NOON + timedelta(days=1)
    )

    assert [(one.track, one.name, one.seconds) for one in spans] == [
        ("study", "receiving", 2.0),
        ("study", "quiet time", 10.0),
        ("study", "runs before", 8.0),
        ("study", "until asked again", 92.0),
        ("study", "queued", 1.0),
        ("study", "processing", 7.0),
        ("to late", "waiting to be sent", 1.0),
        ("to late", "sending", 2.0),
    ]
    assert seconds_to_result(again) == 20.0


def test_what_goes_on_lasts_until_now():
    waiting = replace(WHOLE, state="ready", started_at=None, finished_at=None)
    (destination,) = WHOLE.destinations
    half = replace(destination, is_sent=False, is_over=False, committed_at=None)
    now = NOON + timedelta(seconds=60)

    queued = make_spans(waiting, now=now)[-1]
    left = make_spans(replace(WHOLE, destinations=(half,)), now=now)[-1]

    assert (queued.name, queued.seconds, queued.is_open) == ("queued", 48.0, True)
    assert (left.name, left.seconds, left.is_open) == ("what is left", 38.0, True)
    assert seconds_to_result(replace(WHOLE, destinations=(half,))) is None


def test_images_that_came_again_make_no_time_to_the_result():
    again = replace(WHOLE, last_received_at=NOON + timedelta(hours=1))

    assert seconds_to_result(again) is None


def test_steps_are_measured_by_the_clock_and_read_back(tmp_path):
    ticks = iter(NOON + timedelta(seconds=one) for one in range(4))
    log = StageLog(lambda: next(ticks))

    with log.measure("pixels"):
        pass
    with log.measure("inference"):
        pass
    log.save(tmp_path)

    assert read_stages(tmp_path) == log.stages
    assert [one.name for one in log.stages] == ["pixels", "inference"]
    assert read_stages(tmp_path / "nowhere") == ()


def _of(spans, track):
    return [one for one in spans if one.track == track]
