"""What the node makes of a destination's answers to C-STORE."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEND_STATUSES", "SendStatus", "judge_send_status"]


@dataclass(frozen=True, slots=True)
class SendStatus:
    """What the node makes of a destination's answer to C-STORE.

    ``codes`` are four hexadecimal digits, where ``x`` is any, or words; ``note`` is
    kept with the delivery. ``is_refusal``: the instance is not taken as it is,
    however often it is sent.
    """

    codes: str
    meaning: str
    behaviour: str
    is_delivered: bool
    note: str
    is_refusal: bool = False

    def holds(self, status: int) -> bool:
        """Whether the row is about this status."""
        return all(
            one in {"x", digit}
            for one, digit in zip(self.codes, f"{status:04X}", strict=False)
        )


_NOTED = "delivered, with a note"
_AGAIN = "sent again later, growing delay"
_REFUSED = f"{_AGAIN}; given up when there is a newer version"

SEND_STATUSES: tuple[SendStatus, ...] = (
    SendStatus("0000", "Success", "delivered", True, ""),
    SendStatus(
        "B000",
        "Coercion of data elements",
        _NOTED,
        True,
        "stored, data elements were coerced",
    ),
    SendStatus(
        "B006", "Elements discarded", _NOTED, True, "stored, elements were discarded"
    ),
    SendStatus(
        "B007",
        "Does not match SOP class",
        _NOTED,
        True,
        "stored, though the data set does not match its SOP class",
    ),
    SendStatus(
        "0111", "Duplicate SOP instance", _NOTED, True, "it has this instance already"
    ),
    SendStatus("A7xx", "Out of resources", _AGAIN, False, "out of resources"),
    SendStatus(
        "A9xx",
        "Data set does not match SOP class",
        _REFUSED,
        False,
        "data set does not match SOP class",
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
        "0122",
        "SOP class not supported",
        _REFUSED,
        False,
        "SOP class not supported",
        is_refusal=True,
    ),
    SendStatus("0124", "Not authorized", _AGAIN, False, "not authorized"),
    SendStatus(
        "0117",
        "Invalid SOP instance",
        _REFUSED,
        False,
        "invalid SOP Instance UID",
        is_refusal=True,
    ),
    SendStatus("0110", "Processing failure", _AGAIN, False, "processing failure"),
    SendStatus("any other", "Refused or failed", _AGAIN, False, "refused"),
    SendStatus(
        "none",
        "No answer in time, or an abort",
        _AGAIN,
        False,
        "it did not answer in time, or aborted",
    ),
)
"""What the Storage SCU does with each status, PS3.4 Table B.2-1 and PS3.7 C."""


def judge_send_status(status: int | None) -> SendStatus:
    """Return the row about a destination's answer; None: there was no answer."""
    if status is None:
        return SEND_STATUSES[-1]
    return next(
        (one for one in SEND_STATUSES[:-2] if one.holds(status)), SEND_STATUSES[-2]
    )
