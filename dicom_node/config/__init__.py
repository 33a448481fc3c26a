"""The settings: frozen, read once (TOML and environment), handed down.

Every key of a table is also an environment variable that wins over the file:
``DICOM_NODE_<TABLE>_<KEY>``, for example ``DICOM_NODE_NODE_PORT=11113`` or
``DICOM_NODE_MODEL_DEVICE=cpu``. The lists are JSON, for example ``DICOM_NODE_CALLERS``.
What Kubernetes says of a Service named ``dicom-node`` is left alone.
"""

from dicom_node.config.load import ENVIRONMENT_PREFIX, load_settings
from dicom_node.config.peers import (
    ArchiveSettings,
    CallerSettings,
    DestinationSettings,
    DicomPeer,
    Hl7Settings,
    NamedModelSettings,
    OidcSettings,
    Role,
    RuleSettings,
    UpsSettings,
)
from dicom_node.config.remotes import RemoteSettings
from dicom_node.config.sections import (
    ENGINES,
    PROFILE_NAMES,
    AETitle,
    Engine,
    LimitSettings,
    ModelSettings,
    NodeSection,
    ProfileName,
    ReportSettings,
    ScheduleSettings,
    WebSettings,
    check_ae_title,
)
from dicom_node.config.security import (
    AuditSettings,
    DicomTlsSettings,
    PeerTls,
    RetentionSettings,
)
from dicom_node.config.settings import NodeSettings
from dicom_node.config.workers import WorkersSettings

__all__ = [
    "ENGINES",
    "ENVIRONMENT_PREFIX",
    "PROFILE_NAMES",
    "AETitle",
    "ArchiveSettings",
    "AuditSettings",
    "CallerSettings",
    "DestinationSettings",
    "DicomPeer",
    "DicomTlsSettings",
    "Engine",
    "Hl7Settings",
    "LimitSettings",
    "ModelSettings",
    "NamedModelSettings",
    "NodeSection",
    "NodeSettings",
    "OidcSettings",
    "PeerTls",
    "ProfileName",
    "RemoteSettings",
    "ReportSettings",
    "RetentionSettings",
    "Role",
    "RuleSettings",
    "ScheduleSettings",
    "UpsSettings",
    "WebSettings",
    "WorkersSettings",
    "check_ae_title",
    "load_settings",
]
