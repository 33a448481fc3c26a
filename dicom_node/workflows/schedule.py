"""When work that may wait is done: the hours that the operator calls off-peak."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from dicom_node.config import ScheduleSettings

__all__ = ["off_peak_delay_s"]


def off_peak_delay_s(schedule: ScheduleSettings, now: datetime) -> float:
    """Return how long it is until off-peak hours, in seconds; 0: it is off-peak now.

    Parameters
    ----------
    schedule : ScheduleSettings
        Begin and end, in local time. The same time for both means the whole day.
    now : datetime.datetime
        The moment, aware; it is taken in the machine's time zone.

    """
    local = now.astimezone()
    begins = time.fromisoformat(schedule.off_peak_begins)
    ends = time.fromisoformat(schedule.off_peak_ends)
    clock = local.time()
    if begins == ends:
        return 0.0
    if begins < ends:
        is_off_peak = begins <= clock < ends
    else:
        is_off_peak = clock >= begins or clock < ends
    if is_off_peak:
        return 0.0
    # Wall-clock arithmetic, so that a change to summer time moves the hour along.
    day = local.date() + timedelta(days=int(clock >= begins))
    return (datetime.combine(day, begins).astimezone() - local).total_seconds()
