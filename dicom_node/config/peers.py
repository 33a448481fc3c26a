"""Who the node talks with: callers, destinations, archives, report senders, people."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.config.sections import (
    AETitle,
    ModelSettings,
    Name,
    Network,
    Port,
    ProfileName,
    Seconds,
    Section,
)
from dicom_node.config.security import PeerTls

__all__ = [
    "ArchiveSettings",
    "CallerSettings",
    "DestinationSettings",
    "DicomPeer",
    "Hl7Settings",
    "NamedModelSettings",
    "OidcSettings",
    "Role",
    "RuleSettings",
    "UpsSettings",
]

Role = Literal["viewer", "sender", "editor", "admin"]
"""``viewer`` sees; ``sender`` (a machine) stores instances and reports; ``editor``
sees, corrects and asks for studies again; ``admin`` may do everything."""


def _check_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        msg = "a URL begins with http:// or https://"
        raise ValueError(msg)
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_check_url)]
"""An address of a web service, without the slash at its end."""


Hl7Field = Annotated[str, Field(pattern=r"^(OBR|ORC|IPC)-[1-9]\d?$")]
"""A field of an HL7 segment."""


@dataclass(frozen=True, slots=True)
class DicomPeer:
    """An application entity that the node calls."""

    name: str
    ae_title: str
    host: str
    port: int
    tls: PeerTls | None = None
    """How TLS is spoken to it; None: plain TCP."""


class CallerSettings(Section):
    """``[[callers]]``: who may associate. None listed: loopback only."""

    ae_title: AETitle
    """Calling AE title."""
    address: Network
    """Address or network (CIDR) that the caller's connection comes from."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The caller's own DICOM port, where it is told what the node has committed to;
    None: it is told on the association that it asked on."""
    certificate_sha256: (
        Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$")] | None
    ) = None
    """Fingerprint of the certificate that the caller must show over TLS, as
    ``openssl x509 -fingerprint -sha256`` prints it; None: any that ``client_ca``
    signed, or none on the plain port."""
    tls: PeerTls | None = None
    """How TLS is spoken when it is called back on `port`; None: plain TCP."""

    @model_validator(mode="after")
    def _check_port(self) -> Self:
        network = ipaddress.ip_network(self.address, strict=False)
        if self.port is not None and network.num_addresses != 1:
            msg = "port: only a caller with one address can be called back"
            raise ValueError(msg)
        return self


class DestinationSettings(Section):
    """``[[destinations]]``: where results are sent. None listed: they stay here."""

    name: Name
    """What logs, status and metrics call it."""
    kind: Literal["dimse", "stow", "folder"] = "dimse"
    """C-STORE, STOW-RS, or files in a folder."""
    ae_title: AETitle | None = None
    """Called AE title (dimse)."""
    host: str | None = None
    """Host name or address (dimse)."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """DICOM port (dimse)."""
    url: HttpUrl | None = None
    """DICOMweb service root; ``/studies`` is added (stow)."""
    token_file: Path | None = None
    """File with a bearer token, or with ``user:password`` for Basic (stow)."""
    tls: PeerTls | None = None
    """TLS of a destination of kind dimse, None: plain TCP; or whose certificate an
    ``https`` address of kind stow must show, None: one that the system trusts."""
    folder: Path | None = None
    """Existing folder; each version gets a folder of its own in it (folder)."""
    profile: ProfileName = "default"
    """Which objects are sent, encoded how (see ``objects/profiles.py``)."""
    commitment: Literal["auto", "required", "off"] = "auto"
    """Storage commitment (dimse): a result is delivered only when the destination
    has committed to it; ``auto``: if it accepts the service. One that accepts it and
    then refuses or aborts the request is asked again for seven days: Orthanc does so
    until the node is among its modalities; where it cannot be, set ``off``."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        needs = {
            "dimse": ("ae_title", "host", "port"),
            "stow": ("url",),
            "folder": ("folder",),
        }
        for kind, keys in needs.items():
            for key in keys:
                is_given = getattr(self, key) is not None
                if kind == self.kind and not is_given:
                    msg = f"{key}: a destination of kind {kind} needs it"
                    raise ValueError(msg)
                if kind != self.kind and is_given:
                    msg = f"{key}: a destination of kind {self.kind} has none"
                    raise ValueError(msg)
        if self.token_file is not None and self.kind != "stow":
            msg = f"token_file: a destination of kind {self.kind} has none"
            raise ValueError(msg)
        return self

    @property
    def peer(self) -> DicomPeer:
        """The application entity behind a destination of kind ``dimse``."""
        return _peer_of(self)


class ArchiveSettings(Section):
    """``[[archives]]``: where what a study lacks is fetched before it is processed."""

    name: Name
    """What logs, status and metrics call it."""
    kind: Literal["c-get", "c-move", "dicomweb"] = "c-get"
    """How instances come; they are looked for by C-FIND, or by QIDO-RS."""
    ae_title: AETitle | None = None
    """Called AE title (c-get, c-move)."""
    host: str | None = None
    """Host name or address (c-get, c-move)."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """DICOM port (c-get, c-move)."""
    url: HttpUrl | None = None
    """DICOMweb service root (dicomweb)."""
    token_file: Path | None = None
    """File with a bearer token, or with ``user:password`` for Basic (dicomweb)."""
    tls: PeerTls | None = None
    """As for a destination."""
    fetch: tuple[Literal["series", "reports", "priors"], ...] = ("reports",)
    """``series``: images of the study that did not come; ``reports``: its report
    documents; ``priors``: the patient's last earlier study of the same modality and
    body part, with its report."""
    timeout_s: Seconds = 600.0
    """Fetching for one study is given up after this long; it is then processed with
    what is here."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        is_web = self.kind == "dicomweb"
        for key in ("ae_title", "host", "port"):
            if (getattr(self, key) is None) != is_web:
                what = "has none" if is_web else "needs it"
                msg = f"{key}: an archive of kind {self.kind} {what}"
                raise ValueError(msg)
        if (self.url is None) == is_web:
            what = "needs it" if is_web else "has none"
            msg = f"url: an archive of kind {self.kind} {what}"
            raise ValueError(msg)
        return self

    @property
    def peer(self) -> DicomPeer:
        """The application entity behind an archive of kind c-get or c-move."""
        return _peer_of(self)


def _peer_of(one: DestinationSettings | ArchiveSettings) -> DicomPeer:
    if one.ae_title is None or one.host is None or one.port is None:
        msg = f"{one.name} is not a DICOM application entity"
        raise ValueError(msg)
    return DicomPeer(one.name, one.ae_title, one.host, one.port, one.tls)


class Hl7Settings(Section):
    """``[hl7]``: reports that come as HL7 v2 ORU^R01 over MLLP."""

    enabled: bool = False
    """True: listen."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 2575
    """MLLP port; 0 picks a free one."""
    callers: tuple[Network, ...] = ()
    """Addresses or networks that may send; none listed: this machine only."""
    certificate: Path | None = None
    """Certificate chain (PEM): connections then speak TLS."""
    private_key: Path | None = None
    """Its private key (PEM)."""
    client_ca: Path | None = None
    """Certificates (PEM) of those who may sign a sender's: senders must show one."""
    idle_timeout_s: Seconds = 3600.0
    """A silent connection is closed after this long; senders keep theirs open."""
    message_timeout_s: Seconds = 60.0
    """A message that has begun must be complete after this long."""
    processing_ids: tuple[Literal["P", "T", "D"], ...] = ("P",)
    """Messages that are taken, by MSH-11: production, training, debugging. The others
    are rejected; a message that says nothing is of production."""
    accession_fields: tuple[Hl7Field, ...] = (
        "IPC-1",
        "OBR-18",
        "OBR-3",
        "OBR-20",
        "ORC-3",
    )
    """Fields of an order in which the accession number is looked for; the first that
    is not empty counts."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            msg = "certificate and private_key belong together"
            raise ValueError(msg)
        if self.client_ca is not None and self.certificate is None:
            msg = "client_ca: without a certificate there is no TLS"
            raise ValueError(msg)
        return self


class UpsSettings(Section):
    """``[ups]``: work that is claimed from a UPS-RS worklist (IHE AI Workflow)."""

    url: HttpUrl | None = None
    """DICOMweb service root of the worklist manager; None: no worklist."""
    token_file: Path | None = None
    """File with a bearer token, or with ``user:password`` for Basic."""
    procedure: str | None = None
    """Code value of Scheduled Workitem Code Sequence that is claimed; None: any that
    names this node's AE title as station."""
    poll_s: Seconds = 10.0
    """How often it is asked for work."""
    output_url: HttpUrl | None = None
    """DICOMweb root at which others find this node's results; None: work is complete
    when the first destination has them, and its name is told."""


class OidcSettings(Section):
    """``[oidc]``: people sign in at an OpenID provider."""

    issuer: HttpUrl | None = None
    """The provider; None: people sign in with a password of this node."""
    client_id: str = "dicom-node"
    """How the provider knows this node."""
    client_secret_file: Path | None = None
    """File with the client's secret."""
    role_claim: str = "roles"
    """Claim of the ID token that lists roles: viewer, sender, editor, admin."""
    default_role: Role | None = None
    """Role of who has none in the claim; None: such people are refused."""
    session_s: Seconds = 3600.0
    """They sign in again after this long, so that a role that the provider took away
    ends; ``web.session_s`` where that is shorter."""


class RuleSettings(Section):
    """``[[rules]]``: which studies are processed, how; the first that fits counts."""

    name: Name
    """What status and page call it."""
    when: str = "true"
    """Expression over DICOM keywords, such as
    ``Modality == "CT" and StudyDescription =~ "(?i).*chest.*"``."""
    action: Literal["process", "ignore"] = "process"
    """``ignore``: the study is kept and not processed."""
    model: Name | None = None
    """A name of ``[[models]]`` or ``[[remotes]]``; None: ``[model]``."""
    priority: Literal["urgent", "normal", "low"] = "normal"
    """Urgent studies go before normal ones, normal before low."""
    off_peak: bool = False
    """True: processed in the hours of ``[schedule]`` only."""


class NamedModelSettings(ModelSettings):
    """``[[models]]``: further models, for rules to name."""

    name: Name
    """What rules and status call it."""
