"""What the node makes of a destination's answers to STOW-RS."""

from __future__ import annotations

from conformance.send_statuses import SendStatus

__all__ = [
    "STOW_REASONS",
    "STOW_STATUSES",
    "judge_stow_reason",
    "judge_stow_status",
]

_LISTS = "each instance by the lists of the answer"
_AGAIN = "sent again later, growing delay"
_REFUSED = f"{_AGAIN}; given up when there is a newer version"
_NOTED = "delivered, with a note"

STOW_STATUSES: tuple[SendStatus, ...] = (
    SendStatus("200", "OK", _LISTS, True, ""),
    SendStatus("202", "Accepted, with failures or warnings", _LISTS, True, ""),
    SendStatus(
        "400", "Bad request", _REFUSED, False, "it does not understand", is_refusal=True
    ),
    SendStatus("401", "Unauthorized", _AGAIN, False, "it does not accept the token"),
    SendStatus("403", "Forbidden", _AGAIN, False, "it does not allow it"),
    SendStatus("404", "Not found", _AGAIN, False, "it has no such service"),
    SendStatus(
        "409",
        "Conflict: nothing was stored, by older servers: not all",
        _LISTS,
        False,
        "it stored nothing",
        is_refusal=True,
    ),
    SendStatus(
        "413",
        "Payload too large",
        "instances are sent one by one, then again later; given up when there is a "
        "newer version",
        False,
        "it is larger than it accepts",
        is_refusal=True,
    ),
    SendStatus(
        "415",
        "Unsupported media type",
        _REFUSED,
        False,
        "it accepts no DICOM",
        is_refusal=True,
    ),
    SendStatus(
        "3xx",
        "Redirection: not followed, it could carry patient data elsewhere",
        _AGAIN,
        False,
        "it sends elsewhere, which is not followed",
    ),
    SendStatus("4xx", "Client error", _AGAIN, False, "it refuses"),
    SendStatus("503", "Busy", _AGAIN, False, "it is busy"),
    SendStatus("5xx", "Server error", _AGAIN, False, "it failed"),
    SendStatus("any other", "Not of this service", _AGAIN, False, "unknown answer"),
    SendStatus("none", "No answer in time, or cut", _AGAIN, False, "it did not answer"),
)
"""By HTTP status, PS3.18 Table 10.5.3-1; ``x`` is any digit."""

STOW_REASONS: tuple[SendStatus, ...] = (
    SendStatus("0111", "Duplicate SOP instance", _NOTED, True, "it has it already"),
    SendStatus("A7xx", "Out of resources", _AGAIN, False, "out of resources"),
    SendStatus(
        "A9xx",
        "Does not match SOP class",
        _REFUSED,
        False,
        "mismatch of class",
        is_refusal=True,
    ),
    SendStatus(
        "Cxxx",
        "Cannot understand",
        _REFUSED,
        False,
        "cannot understand",
        is_refusal=True,
    ),
    SendStatus(
        "C122",
        "Transfer syntax not supported",
        _REFUSED,
        False,
        "transfer syntax not supported",
        is_refusal=True,
    ),
    SendStatus("0110", "Processing failure", _AGAIN, False, "processing failure"),
    SendStatus(
        "0122",
        "SOP class not supported",
        _REFUSED,
        False,
        "SOP class not supported",
        is_refusal=True,
    ),
    SendStatus("0124", "Not authorized", _AGAIN, False, "not authorized"),
    SendStatus(
        "B000", "Coercion of data elements", _NOTED, True, "stored, coerced elements"
    ),
    SendStatus("B006", "Elements discarded", _NOTED, True, "stored, less elements"),
    SendStatus(
        "B007",
        "Does not match SOP class",
        _NOTED,
        True,
        "stored, though it does not match its SOP class",
    ),
    SendStatus("any other", "Refused or failed", _AGAIN, False, "refused"),
)
"""By Failure Reason (0008,1197) or Warning Reason (0008,1196), PS3.18 Tables
10.5.3-2 and I.2-2. A duplicate is delivered: our UIDs name content, so whoever has the
instance has these bytes."""


def judge_stow_status(status: int | None) -> SendStatus:
    """Return the row about an HTTP status; None: there was no answer."""
    if status is None:
        return STOW_STATUSES[-1]
    text = f"{status:03d}"
    rows = [one for one in STOW_STATUSES[:-2] if _fits(one.codes, text)]
    return min(rows, key=lambda one: one.codes.count("x"), default=STOW_STATUSES[-2])


def judge_stow_reason(reason: int) -> SendStatus:
    """Return the row about a failure or warning reason."""
    text = f"{reason:04X}"
    rows = [one for one in STOW_REASONS[:-1] if _fits(one.codes, text)]
    return min(rows, key=lambda one: one.codes.count("x"), default=STOW_REASONS[-1])


def _fits(codes: str, text: str) -> bool:
    return len(codes) == len(text) and all(
        one in {"x", digit} for one, digit in zip(codes, text, strict=True)
    )
