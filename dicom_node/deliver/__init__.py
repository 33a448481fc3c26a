"""Results on their way out: C-STORE, STOW-RS, or files in a folder."""

from dicom_node.deliver.commitment import CommitmentAsked, ask_for_commitment
from dicom_node.deliver.dimse import echo, parse_destination, send_objects
from dicom_node.deliver.records import Sendable, SendOutcome, read_sendable
from dicom_node.deliver.send import check, send
from dicom_node.scu import Timeouts

__all__ = [
    "CommitmentAsked",
    "SendOutcome",
    "Sendable",
    "Timeouts",
    "ask_for_commitment",
    "check",
    "echo",
    "parse_destination",
    "read_sendable",
    "send",
    "send_objects",
]
