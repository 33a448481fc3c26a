"""Everything the operator decides, checked as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import quote

from pydantic import model_validator

from dicom_node.config.peers import (
    ArchiveSettings,
    CallerSettings,
    DestinationSettings,
    Hl7Settings,
    NamedModelSettings,
    OidcSettings,
    RuleSettings,
    UpsSettings,
)
from dicom_node.config.remotes import RemoteSettings
from dicom_node.config.sections import (
    ENGINES,
    LimitSettings,
    ModelSettings,
    NodeSection,
    ReportSettings,
    ScheduleSettings,
    Section,
    WebSettings,
)
from dicom_node.config.security import (
    AuditSettings,
    DicomTlsSettings,
    RetentionSettings,
)
from dicom_node.config.workers import WorkersSettings
from dicom_node.errors import SettingsError

__all__ = ["NodeSettings"]


class NodeSettings(Section):
    """Everything the operator decides."""

    node: NodeSection = NodeSection()
    dicom_tls: DicomTlsSettings = DicomTlsSettings()
    model: ModelSettings = ModelSettings()
    web: WebSettings = WebSettings()
    oidc: OidcSettings = OidcSettings()
    reports: ReportSettings = ReportSettings()
    hl7: Hl7Settings = Hl7Settings()
    ups: UpsSettings = UpsSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    limits: LimitSettings = LimitSettings()
    workers: WorkersSettings = WorkersSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    callers: tuple[CallerSettings, ...] = ()
    destinations: tuple[DestinationSettings, ...] = ()
    archives: tuple[ArchiveSettings, ...] = ()
    rules: tuple[RuleSettings, ...] = ()
    models: tuple[NamedModelSettings, ...] = ()
    remotes: tuple[RemoteSettings, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for table in ("destinations", "archives", "rules", "models"):
            names = [one.name for one in getattr(self, table)]
            if len(names) != len(set(names)):
                msg = f"{table}: two {table} have the same name"
                raise ValueError(msg)
        known = {one.name for one in self.models}
        known |= self._check_remotes(known)
        for rule in self.rules:
            if rule.model is not None and rule.model not in known:
                msg = f"rules.{rule.name}.model: there is no model {rule.model!r}"
                raise ValueError(msg)
        return self

    def _check_remotes(self, models: set[str]) -> set[str]:
        names = [one.name for one in self.remotes]
        if len({*names, *models}) != len(names) + len(models):
            msg = "remotes: every remote needs a name of its own, which no model has"
            raise ValueError(msg)
        titles = [one.ae_title for one in self.remotes]
        if len(titles) != len(set(titles)):
            msg = "remotes: two remotes have the same ae_title"
            raise ValueError(msg)
        callers = {one.ae_title for one in self.callers}
        for one in self.remotes:
            if one.ae_title not in callers:
                msg = f"remotes.{one.name}: its ae_title must be one of [[callers]]"
                raise ValueError(msg)
        return set(names)

    @model_validator(mode="after")
    def _check_profile(self) -> Self:
        if self.web.profile == "pacs":
            msg = "web.profile: the profile pacs has no segmentations to show"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_node(self) -> Self:
        if not self.node.plain and not self.dicom_tls.enabled:
            msg = "node.plain: without dicom_tls.enabled nobody could call the node"
            raise ValueError(msg)
        if self.node.standby and not (self.node.database_url or "").startswith(
            "postgresql"
        ):
            msg = "node.standby: only nodes on PostgreSQL can take over"
            raise ValueError(msg)
        if self.workers.enabled and not (self.node.database_url or "").startswith(
            "postgresql"
        ):
            msg = "workers.enabled: workers take their work from PostgreSQL"
            raise ValueError(msg)
        _check_password(self.node)
        if not self.dicom_tls.enabled and any(
            one.certificate_sha256 for one in self.callers
        ):
            msg = "callers.certificate_sha256: it is shown over TLS (dicom_tls) only"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_engines(self) -> Self:
        _check_engine("model", self.model)
        for one in self.models:
            _check_engine(f"models.{one.name}", one)
        return self

    @property
    def shown_profile(self) -> str:
        """The set of result objects that the page and DICOMweb show.

        Pictures have no regions to draw, and probabilities no outline.
        """
        hidden = {"pacs", "fractional"}
        sent = (one.profile for one in self.destinations if one.profile not in hidden)
        return self.web.profile or next(sent, "ohif")

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the node's own tables; it may hold a password.

        Raises
        ------
        SettingsError
            ``node.database_password_file`` cannot be read.

        """
        if self.node.database_url:
            return _with_password(
                self.node.database_url, self.node.database_password_file
            )
        return f"sqlite:///{(self.node.data_dir / 'node.sqlite').resolve()}"


def _check_password(node: NodeSection) -> None:
    if node.database_password_file is None:
        return
    account, _, place = (node.database_url or "").partition("://")[2].rpartition("@")
    if not account or not place or ":" in account:
        msg = (
            "node.database_password_file: it needs a database_url that names a user "
            "and no password, as in postgresql://node@host/name"
        )
        raise ValueError(msg)


def _with_password(url: str, path: Path | None) -> str:
    if path is None:
        return url
    where = f"node.database_password_file {path}"
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: it cannot be read") from error
    if not password:
        raise SettingsError(f"{where}: it holds no password")
    scheme, _, rest = url.partition("://")
    account, _, place = rest.rpartition("@")
    # What an URL gives a meaning is written as its number (RFC 3986 2.1).
    return f"{scheme}://{account}:{quote(password, safe='')}@{place}"


def _check_engine(where: str, model: ModelSettings) -> None:
    if model.engine not in ENGINES:
        known = ", ".join(sorted(ENGINES))
        msg = f"{where}.engine: {model.engine!r} is none of: {known}"
        raise ValueError(msg)
    if model.checkpoint and model.hub_id:
        msg = f"{where}: checkpoint and hub_id name two models"
        raise ValueError(msg)
    if (model.hub_id is None) != (model.hub_revision is None):
        msg = f"{where}: hub_id and hub_revision belong together"
        raise ValueError(msg)
    if not (model.checkpoint or model.hub_id or ENGINES[model.engine].bundled):
        msg = f"{where}.checkpoint: the engine {model.engine} brings no weights"
        raise ValueError(msg)
