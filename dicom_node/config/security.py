"""The tables about safety: TLS, audit messages, and what is deleted when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dicom_node.config.sections import Port, Section

__all__ = [
    "AuditSettings",
    "DicomTlsSettings",
    "PeerTls",
    "RetentionSettings",
]


class DicomTlsSettings(Section):
    """``[dicom_tls]``: DICOM over TLS, as PS3.15 B.12 and B.13 ask (BCP 195)."""

    enabled: bool = False
    """True: listen for TLS, beside the plain port unless ``node.plain`` is off."""
    port: Port = 2762
    """TLS port, on the address ``node.host``; 0 picks a free one."""
    certificate: Path | None = None
    """Certificate chain (PEM) that callers are shown; read again when it changes."""
    private_key: Path | None = None
    """Its private key (PEM)."""
    client_ca: Path | None = None
    """Certificates (PEM) of those who may sign a caller's. With ``require_client``
    it must be named."""
    require_client: bool = True
    """Callers must show a certificate (IHE ATNA node authentication)."""
    revoked: Path | None = None
    """Certificates (PEM, CRL) that are no longer good."""
    profile: Literal["bcp195", "bcp195-modified"] = "bcp195"
    """PS3.15 B.12, or B.13, whose cipher suites are fewer."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if self.enabled and (self.certificate is None or self.private_key is None):
            msg = "enabled: TLS needs certificate and private_key"
            raise ValueError(msg)
        if self.enabled and self.require_client and self.client_ca is None:
            msg = "require_client: client_ca says whose certificates are good"
            raise ValueError(msg)
        return self


class AuditSettings(Section):
    """``[audit]``: audit messages (PS3.15 A.5) for an audit record repository."""

    file: Path | None = None
    """Messages are appended here, one a line as RFC 5424; None: to no file."""
    host: str | None = None
    """Audit record repository (SYSLOG-TLS, PS3.15 A.6); None: none."""
    port: Annotated[int, Field(ge=1, le=65535)] = 6514
    """Its TLS port (RFC 5425)."""
    ca: Path | None = None
    """Certificates (PEM) of those who may sign the repository's; None: the system's."""
    certificate: Path | None = None
    """Certificate chain (PEM) that the repository is shown."""
    private_key: Path | None = None
    """Its private key (PEM)."""
    source_id: Annotated[str, Field(max_length=64)] = ""
    """AuditSourceID; the AE title when empty."""
    enterprise_site_id: Annotated[str, Field(max_length=64)] = ""
    """AuditEnterpriseSiteID."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            msg = "certificate and private_key belong together"
            raise ValueError(msg)
        return self


class RetentionSettings(Section):
    """``[retention]``: what is deleted, and when; nothing that is still to be done.

    A study is finished when it is processed, or a rule leaves it out, and every
    destination has its results. Only finished studies are touched, but for what
    failed_days and waiting_reports_days name.
    """

    images_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Images and reports of a finished study are deleted so long after the last of
    them came; None: never for their age."""
    results_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Its results too, so long after the last was delivered; None: never."""
    max_bytes: Annotated[int, Field(gt=0)] | None = None
    """The images and results that are kept at most: the studies that were finished
    first go first; None: no limit."""
    high_water: Annotated[float, Field(gt=0, lt=1)] | None = None
    """From this share of the disk on finished studies are deleted, oldest first."""
    low_water: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Until no more than this share is used; nothing goes where even all that is kept
    would not free that much: other files fill the disk."""
    space_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.04
    """What came, was made or was delivered in this time stays, however little space
    there is; the default is about an hour."""
    failed_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Studies that failed, or that a destination never took, are given up and deleted
    after this long; None: never."""
    waiting_reports_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = (
        None
    )
    """The text of a report whose study never came, or is gone, is deleted so long after
    the report came; None: it waits."""
    events_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Rows of the audit trail are deleted after this long, once they were sent to the
    audit record repository where there is one, and with them the rows of the workflow
    engine about work that ended; None: never."""

    @model_validator(mode="after")
    def _check_water(self) -> Self:
        if self.high_water is not None and self.low_water >= self.high_water:
            msg = "low_water: it must be below high_water"
            raise ValueError(msg)
        return self


class PeerTls(Section):
    """``tls`` of a destination or archive: how the node speaks TLS to it."""

    ca: Path | None = None
    """Certificates (PEM) of those who may sign the peer's; None: the system's."""
    certificate: Path | None = None
    """Certificate chain (PEM) that the peer is shown; None: none."""
    private_key: Path | None = None
    """Its private key (PEM)."""
    server_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The name that the peer's certificate must be for; None: its host."""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            msg = "certificate and private_key belong together"
            raise ValueError(msg)
        return self
