"""Reports that come as HL7 v2 ORU^R01 over MLLP."""

from dicom_node.hl7.answering import Answering, MessageOutcome
from dicom_node.hl7.listener import Hl7Listener, Hl7Statistics

__all__ = ["Answering", "Hl7Listener", "Hl7Statistics", "MessageOutcome"]
