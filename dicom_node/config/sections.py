"""The tables that stand once: who the node is, its model, its pages, its limits."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ENGINES",
    "PROFILE_NAMES",
    "AETitle",
    "Engine",
    "LimitSettings",
    "ModelSettings",
    "Name",
    "Network",
    "NodeSection",
    "Port",
    "ProfileName",
    "ReportSettings",
    "ScheduleSettings",
    "Seconds",
    "Section",
    "WebSettings",
    "check_ae_title",
]


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the worker process finds a model, as ``module:attribute`` names.

    ``loader`` is called with the checkpoint's folder and ``device=``; ``bundled``
    without arguments, and returns the folder of the checkpoint that is used when the
    settings name none; None: they must name one.
    """

    loader: str
    bundled: str | None = None


ENGINES = {
    "medglip": Engine(
        "model:GroundingModel.from_pretrained", "model:bundled_checkpoint"
    ),
    "zero-shot-detection": Engine("model.engines.zero_shot:ZeroShotEngine"),
    "sam3": Engine("model.engines.sam3:Sam3Engine"),
    "grounded-generation": Engine("model.engines.generative:GenerativeEngine"),
}
"""The engines that ``[model] engine`` can name."""


def check_ae_title(value: str) -> str:
    """Return an AE title without the spaces around it.

    PS3.5 6.2, VR AE: 16 bytes, no backslash or control characters, not blank.

    Raises
    ------
    ValueError
        It is none.

    """
    title = value.strip(" ")
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", title):
        msg = "an AE title has 1 to 16 printable ASCII characters and no backslash"
        raise ValueError(msg)
    return title


AETitle = Annotated[str, AfterValidator(check_ae_title)]
"""An application entity title, PS3.5 6.2."""

Port = Annotated[int, Field(ge=0, le=65535)]

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
"""At most a day."""


TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
"""HH:MM, local time."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""What logs, status, metrics and file names call a thing that the operator named."""

ProfileName = Literal[
    "default", "ohif", "slicer", "weasis", "labelmap", "fractional", "pacs"
]
"""Which objects are made, encoded how: `objects/profiles.py` describes each."""

PROFILE_NAMES: tuple[str, ...] = ProfileName.__args__  # type: ignore[attr-defined]
"""The names, as values."""


class Section(BaseModel):
    """A table of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSection(Section):
    """``[node]``: who the node is and where it keeps things."""

    ae_title: AETitle = "GROUNDING"
    """The node's own AE title; callers must call it by this name."""
    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` listens on every interface."""
    port: Port = 11112
    """DICOM port; 0 picks a free one (the log says which)."""
    data_dir: Path = Path("node-data")
    """Folder for images, results and, by default, the database."""
    database_url: str | None = None
    """SQLAlchemy URL; None: SQLite in ``data_dir``."""
    database_password_file: Path | None = None
    """File with the password of ``database_url``, which then holds none."""
    quiet_time_s: Seconds = 10.0
    """A study is complete when nothing arrived for this long and no association
    that brought some of it is open; one that brings no more holds it for ten times
    this long, at least a minute."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level of the node's own events that is logged; libraries are heard from
    WARNING on. No level writes patient data."""
    plain: bool = True
    """False: DICOM is spoken over TLS only (``[dicom_tls]``), `port` is not used."""
    standby: bool = False
    """True, on PostgreSQL: while another node works on the same database, this one
    waits, and takes its place when it is gone. Both share one data folder."""


class ModelSettings(Section):
    """``[model]``: what grounds the phrases."""

    engine: str = "medglip"
    """``medglip``; or, with a checkpoint in the layout of transformers:
    ``zero-shot-detection`` (Grounding DINO, MM-Grounding-DINO, OWL-ViT, OWLv2,
    OmDet-Turbo), ``sam3``, ``grounded-generation`` (Florence-2, LLaVA as MAIRA-2)."""
    checkpoint: Path | None = None
    """Folder of the weights; None: the bundled checkpoint, which only medglip has."""
    hub_id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    """Model on the Hugging Face hub, ``owner/name``, fetched once; None: nothing is
    ever fetched."""
    hub_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """Commit of `hub_id`, 40 hexadecimal digits: a name alone may mean another model
    tomorrow."""
    presence_threshold: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """A phrase is present from this score on; None: as the engine is calibrated."""
    device: str = "auto"
    """``auto``: cuda when there, else cpu; or ``cpu``, ``cuda``, ``cuda:1``."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of medglip's image trunk. ``bfloat16`` is faster on GPUs and on processors with
    AMX, slower on others; it is used only if it answers a built-in probe as float32
    does, else the log says ``model_fell_back``. Results name what they came from."""
    compiled: bool = False
    """True: medglip's image trunk is compiled by torch (this takes minutes at the start
    and a C++ compiler), behind the same probe."""
    timeout_s: Seconds = 1800.0
    """Grounding one series is given up after this long."""
    memory_limit_mb: Annotated[int, Field(gt=0)] = 12_288
    """Private memory that the worker process may use beside the model's device."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the model as `dicom-node doctor` shows it: no other one is loaded;
    None: whatever lies in `checkpoint`."""

    @model_validator(mode="after")
    def _check_arithmetic(self) -> Self:
        is_other = self.precision != "float32" or self.compiled
        if is_other and self.engine in ENGINES.keys() - {"medglip"}:
            msg = "precision and compiled are medglip's alone"
            raise ValueError(msg)
        return self


def _check_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


Network = Annotated[str, AfterValidator(_check_network)]
"""An address, or a network as CIDR."""


class WebSettings(Section):
    """``[web]``: the pages, REST, FHIR, DICOMweb, /health and /metrics.

    Without a user (`dicom-node user add`) and without ``[oidc]`` everything can be
    read from this machine and nothing changed; from elsewhere nothing is shown but
    ``/health/live``.
    """

    enabled: bool = True
    """False: no web server."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8042
    """HTTP port; 0 picks a free one."""
    profile: ProfileName | None = None
    """Which set of result objects the page and DICOMweb show; None: what the first
    destination gets, unless that is ``pacs``, which has no segmentations."""
    session_s: Seconds = 43_200.0
    """A person signs in again after this long."""
    certificate: Path | None = None
    """Certificate chain (PEM): the pages then speak HTTPS; read when it changes."""
    private_key: Path | None = None
    """Its private key (PEM)."""
    behind_tls: bool = False
    """True: a proxy in front speaks HTTPS; cookies are then sent over HTTPS only."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses or networks of proxies that say in X-Forwarded-For who asks; nobody
    else is believed. Without it all who come by a proxy count as one address."""
    monitoring: tuple[Network, ...] = ()
    """Addresses or networks that may read /health and /metrics without signing in;
    neither tells anything of patients."""
    viewer_dir: Path | None = None
    """Folder of a built OHIF (its ``dist``), served below ``/viewer``; None: none."""
    max_upload_bytes: Annotated[int, Field(gt=0)] = 4 << 30
    """Largest request body that is accepted."""
    max_connections: Annotated[int, Field(gt=0)] = 256
    """Open connections; for one more, one is closed of the address that has most."""
    read_timeout_s: Seconds = 20.0
    """The head of a request must be complete after this long, and body and answer
    must move on, or the connection is cut."""
    organisation: Annotated[str, Field(max_length=64)] = ""
    """Whom people act for who verify a corrected report; without it none can be
    verified, since DICOM asks for it."""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            msg = "certificate and private_key belong together"
            raise ValueError(msg)
        return self

    @property
    def is_https(self) -> bool:
        """Whether browsers see HTTPS, of this node or of a proxy."""
        return self.behind_tls or self.certificate is not None


class ReportSettings(Section):
    """``[reports]``: which report text counts."""

    preliminary: bool = True
    """Preliminary reports are processed too; the final one makes a new version."""
    tags: bool = True
    """Without a report, the reason for the study in the images' tags is asked about;
    the model alone decides what of it is there."""
    vocabulary: bool = True
    """Without a report, and without a reason, a list of structures and findings is
    asked about that fits modality and body part."""
    hold_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0
    """A complete study without a report waits this long for one."""


class ScheduleSettings(Section):
    """``[schedule]``: the order of work, and when off-peak work is done."""

    off_peak_begins: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = (
        "20:00"
    )
    """Local time of day, HH:MM."""
    off_peak_ends: TimeOfDay = "06:00"
    """Local time of day; the next day where it is earlier than the begin."""
    order: Literal["cost", "arrival"] = "cost"
    """Which study of one priority goes first: by ``cost`` a small one goes before a
    large one that came up to two seconds earlier for each of its images, and one of
    up to eight images passes a large one that is under way; by ``arrival`` whoever
    came first."""


class LimitSettings(Section):
    """``[limits]``: what a peer may ask of the node."""

    max_associations: Annotated[int, Field(gt=0)] = 128
    """Open associations; one more is refused as a transient condition."""
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 24)] = 131_072
    """Largest P-DATA PDU that is accepted (PS3.8 D.1)."""
    refusals_per_minute: Annotated[int, Field(gt=0)] = 60
    """An address whose associations were rejected, or whose TLS failed, this often
    within a minute is turned away until the minute is over, unless somebody there was
    let in within the last ten minutes."""
    max_instance_bytes: Annotated[int, Field(gt=0)] = 4 << 30
    """Largest instance that is accepted."""
    pdu_timeout_s: Seconds = 30.0
    """A PDU that has begun must be complete after this long."""
    idle_timeout_s: Seconds = 120.0
    """A silent association is aborted after this long."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 1 << 30
    """Instances are refused with 0xA700 when less disk than this is free."""
    decode_timeout_s: Seconds = 120.0
    """Decoding one instance's pixels is given up after this long."""
    decode_memory_mb: Annotated[int, Field(gt=0)] = 4096
    """Address space of the decoding process; each core takes some 75 MiB of it where
    frames of JPEG 2000 are shared by threads."""
    max_pixels_bytes: Annotated[int, Field(gt=0)] = 2 << 30
    """Largest decoded size of one instance."""
    commitment_timeout_s: Seconds = 3600.0
    """A storage commitment that is not answered after this long is asked for again."""
    max_message_bytes: Annotated[int, Field(gt=0, le=1 << 28)] = 16 << 20
    """Largest HL7 message or FHIR resource that is accepted."""
