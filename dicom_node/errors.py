"""Everything that can go wrong in the node.

NodeError
├── SettingsError
├── ProcessLostError
├── ReceiveError
│   ├── OutOfResourcesError
│   ├── DatasetMismatchError
│   └── CannotUnderstandError
├── TransportError
│   ├── ConnectionLostError
│   ├── PeerTooSlowError
│   ├── ProtocolViolationError
│   └── TlsError
├── ImagingError
│   ├── NotAnImageError
│   ├── PixelDecodingError
│   └── GeometryError
├── ReportError
│   ├── ReportRefusedError
│   └── PatientMismatchError
├── RuleError
├── RetrieveError
├── WorklistError
├── CorrectionError
├── AccessError
├── DicomwebError
├── GroundingError
│   ├── ModelLoadError
│   └── WorkerLostError
│       └── DeviceLostError
├── ObjectError
│   └── InvalidObjectError
├── DeliveryError
│   ├── AssociationRefusedError
│   └── StoreRefusedError
├── OpenDataError
├── AuditError
├── BackupError
├── DeidentificationError
├── RemoteModelError
│   └── RemoteWaitsError
├── JobError
│   ├── JobFailedError
│   └── LeaseLostError
└── StoreError
    ├── FileAreaError
    └── TakenOverError
"""

from __future__ import annotations

__all__ = [
    "AccessError",
    "AssociationRefusedError",
    "AuditError",
    "BackupError",
    "CannotUnderstandError",
    "ConnectionLostError",
    "CorrectionError",
    "DatasetMismatchError",
    "DeidentificationError",
    "DeliveryError",
    "DeviceLostError",
    "DicomwebError",
    "FileAreaError",
    "FileDamagedError",
    "GeometryError",
    "GroundingError",
    "ImagingError",
    "InvalidObjectError",
    "JobError",
    "JobFailedError",
    "LeaseLostError",
    "ModelLoadError",
    "NodeError",
    "NotAnImageError",
    "ObjectError",
    "OpenDataError",
    "OutOfResourcesError",
    "PatientMismatchError",
    "PeerTooSlowError",
    "PixelDecodingError",
    "ProcessLostError",
    "ProtocolViolationError",
    "ReceiveError",
    "RemoteModelError",
    "RemoteWaitsError",
    "ReportError",
    "ReportRefusedError",
    "RetrieveError",
    "RuleError",
    "SettingsError",
    "StoreError",
    "StoreRefusedError",
    "TakenOverError",
    "TlsError",
    "TransportError",
    "WorkerLostError",
    "WorklistError",
]


class NodeError(Exception):
    """The node could not do what it was asked.

    Parameters
    ----------
    message : str, optional
        What happened, free of patient data; the class docstring's first line
        when absent.
    **facts : object
        What a caller or a log line may want to know (``uid``, ``status`` ...);
        kept as attributes.

    """

    def __init__(self, message: str | None = None, **facts: object) -> None:
        summary = (type(self).__doc__ or type(self).__name__).splitlines()[0]
        super().__init__(message or summary)
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)


class SettingsError(NodeError):
    """The settings cannot be used."""


class ProcessLostError(NodeError):
    """A child process ended before it answered."""

    timed_out: bool = False
    had_turn: bool = True


class ReceiveError(NodeError):
    """An incoming instance could not be kept."""


class OutOfResourcesError(ReceiveError):
    """There is no room, or no database, to keep the instance."""


class DatasetMismatchError(ReceiveError):
    """The data set is not of the command's SOP class or instance."""


class CannotUnderstandError(ReceiveError):
    """The data set cannot be understood."""


class TransportError(NodeError):
    """The connection to a peer cannot go on."""


class ConnectionLostError(TransportError):
    """The peer closed the connection."""


class PeerTooSlowError(TransportError):
    """The peer did not send or take its bytes in time."""


class ProtocolViolationError(TransportError):
    """The peer broke a rule of PS3.7 or PS3.8, or one of our limits."""


class TlsError(TransportError):
    """The peer's TLS handshake did not succeed."""


class ImagingError(NodeError):
    """The images cannot be processed."""


class NotAnImageError(ImagingError):
    """The instance carries no image pixels."""


class PixelDecodingError(ImagingError):
    """The pixel data cannot be decoded."""


class GeometryError(ImagingError):
    """The images do not form the grid they claim."""


class ReportError(NodeError):
    """The report cannot be read."""


class ReportRefusedError(ReportError):
    """The report names no study, or nothing that can be read."""


class PatientMismatchError(ReportError):
    """The report and the study that it names are of different patients."""


class RuleError(NodeError):
    """A rule cannot be understood."""


class RetrieveError(NodeError):
    """An archive could not be asked, or did not send what it has."""


class WorklistError(NodeError):
    """The worklist manager could not be asked."""


class CorrectionError(NodeError):
    """The correction does not fit what it corrects."""


class DicomwebError(NodeError):
    """A DICOMweb request cannot be answered; ``status`` is the HTTP status."""

    status: int = 400


class AccessError(NodeError):
    """The caller may not do that."""


class GroundingError(NodeError):
    """The model could not ground the phrases."""


class ModelLoadError(GroundingError):
    """The model cannot be loaded."""


class WorkerLostError(GroundingError):
    """The worker process ended before it answered."""


class DeviceLostError(WorkerLostError):
    """The model's device failed: no process that used it can use it any more."""


class ObjectError(NodeError):
    """A result object could not be made."""


class InvalidObjectError(ObjectError):
    """A result object breaks a rule of the standard."""


class DeliveryError(NodeError):
    """A result could not be delivered."""


class AssociationRefusedError(DeliveryError):
    """The destination cannot be reached or refused the association."""


class StoreRefusedError(DeliveryError):
    """The destination refused an object."""


class OpenDataError(NodeError):
    """A public data package could not be fetched or verified."""


class StoreError(NodeError):
    """The database could not answer."""

    is_away: bool = False
    """Whether the same would happen to any other question at the moment."""


class TakenOverError(StoreError):
    """Another node has taken over: this one may write no more."""

    is_away: bool = True


class AuditError(NodeError):
    """The audit record repository did not take a message."""


class BackupError(NodeError):
    """A backup could not be made, or is not what it was."""


class DeidentificationError(NodeError):
    """A data set cannot be de-identified, so it does not leave."""


class RemoteModelError(NodeError):
    """A remote model did not give what it was asked for."""


class RemoteWaitsError(RemoteModelError):
    """The results of a remote model have not come yet."""


class FileAreaError(StoreError):
    """The files shared with workers are out of reach or not whole."""


class FileDamagedError(FileAreaError):
    """A file shared with workers is not what it was."""


class JobError(NodeError):
    """A worker process could not do its job."""


class JobFailedError(JobError):
    """A worker process failed over a study, and would again."""


class LeaseLostError(JobError):
    """The job is no longer this worker's: its lease lapsed, or nobody wants it."""
