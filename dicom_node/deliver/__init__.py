"""Results on their way out: C-STORE to application entities."""

from dicom_node.deliver.dimse import (
    Sendable,
    SendOutcome,
    Timeouts,
    echo,
    parse_destination,
    read_sendable,
    send_objects,
)

__all__ = [
    "SendOutcome",
    "Sendable",
    "Timeouts",
    "echo",
    "parse_destination",
    "read_sendable",
    "send_objects",
]
