"""How a study's way is spent: its moments become spans, and a trace to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dicom_node.stages import Stage

__all__ = [
    "DestinationMoments",
    "Span",
    "Track",
    "VersionMoments",
    "chrome_trace",
    "make_spans",
    "seconds_to_result",
]

Track = str
"""Whose time it is: ``study``, ``processing``, or a destination's name after
``to``."""


@dataclass(frozen=True, slots=True)
class DestinationMoments:
    """When a destination got a version's results; moments are aware.

    Attributes
    ----------
    name : str
        The destination.
    begun_at : datetime or None
        When sending began; None: it has not.
    acknowledged_at : datetime or None
        When the last result was taken, of those that were.
    committed_at : datetime or None
        When the destination committed to the last; None: it was not asked to, or has
        not.
    is_sent, is_over : bool
        Nothing is left to send; and nothing to be committed to.

    """

    name: str
    begun_at: datetime | None
    acknowledged_at: datetime | None
    committed_at: datetime | None
    is_sent: bool
    is_over: bool


@dataclass(frozen=True, slots=True)
class VersionMoments:
    """When what happened to a version of a study; moments are aware.

    Attributes
    ----------
    study_instance_uid, content_version : str
        Which.
    state : str
        Of the version.
    instances : int
        How many it added to the version before.
    first_received_at, last_received_at : datetime or None
        The first and the last of them; None: it added none but a report.
    completed_at, queued_at : datetime
        When it was complete; and when it was last asked for, the same where nobody
        asked again.
    started_at, finished_at : datetime or None
        When the worker took it since, and when its results were recorded.
    run_before_ended_at : datetime or None
        When the run before ended; None: there was none, or it is not known any more.
    stages : tuple of Stage
        What the worker did in between.
    destinations : tuple of DestinationMoments
        In the order of their names; what they got of all runs.

    """

    study_instance_uid: str
    content_version: str
    state: str
    instances: int
    first_received_at: datetime | None
    last_received_at: datetime | None
    completed_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    run_before_ended_at: datetime | None = None
    stages: tuple[Stage, ...] = ()
    destinations: tuple[DestinationMoments, ...] = ()

    @property
    def is_repeated(self) -> bool:
        """Whether somebody asked for it again."""
        return self.queued_at > self.completed_at


@dataclass(frozen=True, slots=True)
class Span:
    """What was going on from one moment to another.

    ``is_open``: it still is, and ``end`` is the moment of asking.
    """

    name: str
    track: Track
    begin: datetime
    end: datetime
    is_open: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.begin).total_seconds()


def make_spans(moments: VersionMoments, *, now: datetime) -> tuple[Span, ...]:
    """Return what a version's time was spent on.

    The track ``study`` has no gap: receiving, quiet time, what was before somebody
    asked again, queued, processing. In ``processing`` lie the worker's steps; a
    destination's track begins when the results are there, and there is none where it
    had them from a run before. No span ends before it begins, also where a clock was
    set back.

    Parameters
    ----------
    moments : VersionMoments
        What is known.
    now : datetime
        The end of what goes on.

    """
    return tuple(_spans(moments, now))


def seconds_to_result(moments: VersionMoments) -> float | None:
    """Return the time from the last instance to the last result acknowledged.

    In seconds; None where it added no instance, where one came again since, which is
    when it was received, or where something is still to be sent.
    """
    taken = [one.acknowledged_at for one in moments.destinations if one.is_sent]
    known = [one for one in taken if one is not None]
    if moments.last_received_at is None or len(known) < len(moments.destinations):
        return None
    if not known or moments.last_received_at > moments.completed_at:
        return None
    return (max(known) - moments.last_received_at).total_seconds()


def chrome_trace(
    versions: Iterable[tuple[VersionMoments, tuple[Span, ...]]],
) -> dict[str, Any]:
    """Return versions as a trace that Perfetto and Chrome open.

    Parameters
    ----------
    versions : iterable of tuple
        Moments of each version, with `make_spans` of them.

    Returns
    -------
    dict
        JSON values: one process a version, one thread a track, complete events (``X``)
        in microseconds since 1970.

    References
    ----------
    Trace Event Format, "JSON Object Format" and "Complete Events".

    """
    events: list[dict[str, Any]] = []
    for number, (moments, spans) in enumerate(versions, start=1):
        name = f"{moments.study_instance_uid} {moments.content_version[:8]}"
        events.append(_label("process_name", name, pid=number))
        tracks = {track: index for index, track in enumerate(_tracks(spans), start=1)}
        for track, index in tracks.items():
            events.append(_label("thread_name", track, pid=number, tid=index))
        events += [
            {
                "ph": "X",
                "name": one.name,
                "cat": one.track,
                "pid": number,
                "tid": tracks[one.track],
                "ts": _microseconds(one.begin),
                "dur": _microseconds(one.end) - _microseconds(one.begin),
                "args": {"is_open": one.is_open},
            }
            for one in spans
        ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _spans(moments: VersionMoments, now: datetime) -> Iterator[Span]:
    queued = moments.queued_at
    complete = min(moments.completed_at, queued)
    first, last = moments.first_received_at, moments.last_received_at
    if first is not None and last is not None:
        last = min(last, complete)
        yield _span("receiving", "study", min(first, last), last)
        yield _span("quiet time", "study", last, complete)
    if moments.is_repeated:
        ended = moments.run_before_ended_at or queued
        ended = min(max(complete, ended), queued)
        yield _span("runs before", "study", complete, ended)
        yield _span("until asked again", "study", ended, queued)
    started, finished = moments.started_at, moments.finished_at
    is_waiting = moments.state in {"ready", "processing"}
    if started is None:
        # Superseded before it began: nobody waits any more.
        yield _span("queued", "study", queued, finished or now, finished is None)
        return
    started = max(started, queued)
    yield _span("queued", "study", queued, started)
    yield _span(
        "processing", "study", started, finished or now, is_waiting and finished is None
    )
    end = max(started, finished or now)
    for one in sorted(moments.stages, key=lambda stage: (stage.begin, stage.end)):
        begin = min(max(one.begin, started), end)
        yield _span(one.name, "processing", begin, min(one.end, end))
    if finished is not None:
        for destination in moments.destinations:
            if moments.is_repeated:
                yield from _sending_again(destination, finished, queued=queued, now=now)
            else:
                yield from _sending(destination, max(started, finished), now)


def _sending_again(
    one: DestinationMoments, finished: datetime, *, queued: datetime, now: datetime
) -> Iterator[Span]:
    """Tell what a destination got since it was asked again; it may lack nothing."""
    begun, taken, committed = (
        None if at is None or at <= queued else at
        for at in (one.begun_at, one.acknowledged_at, one.committed_at)
    )
    if one.is_sent and begun is None and taken is None:
        return
    since = replace(one, begun_at=begun, acknowledged_at=taken, committed_at=committed)
    yield from _sending(since, max(queued, finished), now)


def _sending(
    one: DestinationMoments, finished: datetime, now: datetime
) -> Iterator[Span]:
    track = f"to {one.name}"
    if one.begun_at is None:
        yield _span("waiting to be sent", track, finished, now, not one.is_sent)
        return
    begun = max(finished, one.begun_at)
    yield _span("waiting to be sent", track, finished, begun)
    taken = one.acknowledged_at
    if taken is None:
        yield _span("sending", track, begun, now, not one.is_sent)
        return
    taken = max(begun, taken)
    yield _span("sending", track, begun, taken)
    if not one.is_sent:
        yield _span("what is left", track, taken, now, is_open=True)
    elif one.committed_at is not None:
        yield _span("commitment", track, taken, one.committed_at)
    elif not one.is_over:
        yield _span("commitment", track, taken, now, is_open=True)


def _span(
    name: str, track: Track, begin: datetime, end: datetime, is_open: bool = False
) -> Span:
    return Span(name, track, begin, max(begin, end), is_open)


def _tracks(spans: Iterable[Span]) -> tuple[Track, ...]:
    return tuple(dict.fromkeys(one.track for one in spans))


def _label(kind: str, name: str, *, pid: int, tid: int = 0) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
