"""The settings: frozen, read once (TOML and environment), handed down.

Every key of a table is also an environment variable that wins over the file:
``DICOM_NODE_<TABLE>_<KEY>``, for example ``DICOM_NODE_NODE_PORT=11113`` or
``DICOM_NODE_MODEL_DEVICE=cpu``. The lists are JSON: ``DICOM_NODE_CALLERS`` and
``DICOM_NODE_DESTINATIONS``. What Kubernetes says of a Service named ``dicom-node``
is left alone.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dicom_node.errors import SettingsError

__all__ = [
    "ENGINES",
    "ENVIRONMENT_PREFIX",
    "AETitle",
    "CallerSettings",
    "DestinationSettings",
    "Engine",
    "LimitSettings",
    "ModelSettings",
    "NodeSection",
    "NodeSettings",
    "WebSettings",
    "check_ae_title",
    "load_settings",
]

ENVIRONMENT_PREFIX = "DICOM_NODE_"
"""What every environment variable of the node starts with."""

_TABLES = ("node", "model", "web", "limits")
_LISTS = ("callers", "destinations")


_KUBERNETES = re.compile(
    r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
"""Variables of a Service named ``dicom-node``, after the prefix; and ``PORT``, which
is one of them when its value is a URL."""

_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


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


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class NodeSection(_Section):
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
    quiet_time_s: Seconds = 10.0
    """A study is complete when nothing arrived for this long and no association
    that brought some of it is open; one that brings no more holds it for ten times
    this long, at least a minute."""


class ModelSettings(_Section):
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
    timeout_s: Seconds = 1800.0
    """Grounding one series is given up after this long."""
    memory_limit_mb: Annotated[int, Field(gt=0)] = 12_288
    """Private memory that the worker process may use beside the model's device."""


class WebSettings(_Section):
    """``[web]``: /health and /metrics."""

    enabled: bool = True
    """False: no web server."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8042
    """HTTP port; 0 picks a free one."""


class LimitSettings(_Section):
    """``[limits]``: what a peer may ask of the node."""

    max_associations: Annotated[int, Field(gt=0)] = 128
    """Open associations; one more is refused as a transient condition."""
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 24)] = 131_072
    """Largest P-DATA PDU that is accepted (PS3.8 D.1)."""
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
    """Address space of the decoding process."""
    max_pixels_bytes: Annotated[int, Field(gt=0)] = 2 << 30
    """Largest decoded size of one instance."""


class CallerSettings(_Section):
    """``[[callers]]``: who may associate. None listed: loopback only."""

    ae_title: AETitle
    """Calling AE title."""
    address: str
    """Address or network (CIDR) that the caller's connection comes from."""

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        ipaddress.ip_network(value, strict=False)
        return value


class DestinationSettings(_Section):
    """``[[destinations]]``: where results are sent. None listed: they stay here."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """What logs, status and metrics call it."""
    ae_title: AETitle
    """Called AE title."""
    host: str
    """Host name or address."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """DICOM port."""
    profile: Literal["default", "ohif", "labelmap"] = "default"
    """Which objects are sent, encoded how (see ``objects/profiles.py``)."""


class NodeSettings(_Section):
    """Everything the operator decides."""

    node: NodeSection = NodeSection()
    model: ModelSettings = ModelSettings()
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    callers: tuple[CallerSettings, ...] = ()
    destinations: tuple[DestinationSettings, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> NodeSettings:
        names = [destination.name for destination in self.destinations]
        if len(names) != len(set(names)):
            msg = "destinations: two destinations have the same name"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_engine(self) -> NodeSettings:
        model = self.model
        if model.engine not in ENGINES:
            known = ", ".join(sorted(ENGINES))
            msg = f"model.engine: {model.engine!r} is none of: {known}"
            raise ValueError(msg)
        if model.checkpoint and model.hub_id:
            msg = "model: checkpoint and hub_id name two models"
            raise ValueError(msg)
        if (model.hub_id is None) != (model.hub_revision is None):
            msg = "model: hub_id and hub_revision belong together"
            raise ValueError(msg)
        if not (model.checkpoint or model.hub_id or ENGINES[model.engine].bundled):
            msg = f"model.checkpoint: the engine {model.engine} brings no weights"
            raise ValueError(msg)
        return self

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the node's own tables."""
        if self.node.database_url:
            return self.node.database_url
        return f"sqlite:///{(self.node.data_dir / 'node.sqlite').resolve()}"


def load_settings(
    path: Path | None = None, environment: Mapping[str, str] | None = None
) -> NodeSettings:
    """Read the settings from a TOML file and the environment.

    Parameters
    ----------
    path : pathlib.Path, optional
        The settings file; None: defaults and environment only.
    environment : mapping, optional
        Variables to read; the process environment when absent.

    Raises
    ------
    SettingsError
        The file cannot be read, a key is unknown, or a value is out of range;
        the message names the key.

    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise SettingsError(msg) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{path} is not a TOML file: {error}"
            raise SettingsError(msg) from error
    _merge_environment(values, os.environ if environment is None else environment)
    try:
        return NodeSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_describe(error)) from error


def _merge_environment(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key in {"cache", "config"}:  # read by opendata.py and cli.py
            continue
        if _is_kubernetes(name.removeprefix(ENVIRONMENT_PREFIX), text):
            continue
        if key in _LISTS:
            try:
                values[key] = json.loads(text)
            except json.JSONDecodeError as error:
                msg = f"{name} is not a JSON list: {error}"
                raise SettingsError(msg) from error
            continue
        table, _, item = key.partition("_")
        if table not in _TABLES or not item:
            msg = f"{name} is not a setting"
            raise SettingsError(msg)
        section = values.setdefault(table, {})
        if not isinstance(section, dict):
            msg = f"{table}: must be a table"
            raise SettingsError(msg)
        section[item] = text


def _is_kubernetes(key: str, text: str) -> bool:
    if key == "PORT":
        return _KUBERNETES_PORT.fullmatch(text) is not None
    return _KUBERNETES.fullmatch(key) is not None


def _describe(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        what = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        lines.append(f"{key}: {what}" if key else what)
    return "; ".join(lines)
