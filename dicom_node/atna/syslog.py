"""Syslog: an audit message as RFC 5424 says, one of many on a stream as RFC 5425 says.

References
----------
.. [1] PS3.15 A.6, SYSLOG-TLS; IHE ITI TF-2 3.20.
.. [2] RFC 5424 6, the format; RFC 5425 4.3, octet counting.
"""

from __future__ import annotations

from datetime import UTC

from dicom_node.atna.batch import NodeIdentity
from dicom_node.atna.message import AuditMessage, Outcome

__all__ = ["APP_NAME", "MSG_ID", "SEVERITIES", "format_message", "frame"]

APP_NAME = "dicom-node"

MSG_ID = "DICOM+RFC3881"
"""PS3.15 A.6; receivers file by it."""

_FACILITY = 10
"""Security and authorization messages."""

SEVERITIES = {
    Outcome.SUCCESS: 5,
    Outcome.MINOR_FAILURE: 4,
    Outcome.SERIOUS_FAILURE: 3,
    Outcome.MAJOR_FAILURE: 2,
}
"""RFC 5424 severity by outcome: notice, warning, error, critical."""

_BOM = b"\xef\xbb\xbf"
"""RFC 5424 6.4: how a receiver knows that the text is UTF-8."""

_MAX_HOST = 255


def format_message(message: AuditMessage, node: NodeIdentity) -> bytes:
    """Return a message in RFC 5424 format; it holds no line end.

    The same event gives the same bytes, so that a receiver can tell that it was sent
    again.
    """
    priority = _FACILITY * 8 + SEVERITIES[message.outcome]
    at = message.at.astimezone(UTC).isoformat(timespec="microseconds")
    host = "".join(one if "!" <= one <= "~" else "?" for one in node.host)
    header = (
        f"<{priority}>1 {at.replace('+00:00', 'Z')} {host[:_MAX_HOST] or '-'} "
        f"{APP_NAME} - {MSG_ID} - "
    )
    return header.encode("ascii") + _BOM + message.to_xml()


def frame(line: bytes) -> bytes:
    """Return a message with its length before it, RFC 5425 4.3."""
    return b"%d %s" % (len(line), line)
