"""What the web application is made of: the node's parts that its routes use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.scratch import scratch_folder
from dicom_node.store import Store
from dicom_node.web.access import Access
from dicom_node.web.changes import Changes
from dicom_node.web.corrected import CorrectedResults
from dicom_node.web.frames import FrameCache
from dicom_node.web.health import HealthReport
from dicom_node.web.results import Results
from dicom_node.web.segments import SegmentReader
from dicom_node.web.sessions import Sessions, read_secret
from dicom_node.web.shown import SeriesFinder
from dicom_node.web.study_detail import ReportTexts
from dicom_node.web.warm_up import WarmUp

if TYPE_CHECKING:
    from dicom_node.grounding.grounder import ModelIdentity
    from dicom_node.web.oidc import Provider

__all__ = ["NodeNumbers", "Parts", "WebParts", "make_parts"]


@dataclass(frozen=True, slots=True)
class NodeNumbers:
    """What the running node knows of itself and no table holds."""

    started_at: datetime
    model: ModelIdentity | None
    """The default model; None: it is not loaded."""
    model_trouble: str | None
    """Why it is not loaded."""
    associations_open: int
    associations_accepted: int
    associations_rejected: int


@dataclass(frozen=True, eq=False)
class WebParts:
    """The node as its web routes see it."""

    settings: NodeSettings
    store: Store
    data_dir: Path
    access: Access
    examine: Callable[[], HealthReport]
    """Looks at the node's health."""
    registry: CollectorRegistry
    """What ``/metrics`` tells."""
    node: Callable[[], NodeNumbers]
    now: Callable[[], datetime]
    results: Results
    report_texts: ReportTexts
    frames: FrameCache
    series: SeriesFinder
    segments: SegmentReader
    corrected: CorrectedResults
    changes: Changes
    warm_up: WarmUp
    dicomweb: DicomwebService | None = None
    counters: Counters | None = None
    """Counts reports that come in; None: nobody counts."""
    read_pdf: Callable[[bytes], str] | None = None
    """Returns the text of a PDF; None: none is read."""
    provider: Provider | None = None
    """Where people sign in; None: with a password of this node."""

    def start(self) -> None:
        """Get ready in the background for the first page and its first frame."""
        self.frames.start()
        self.warm_up.start()

    def close(self) -> None:
        """End what answers for long, so that the server can stop."""
        self.changes.close()
        self.frames.close()
        self.warm_up.close()


def make_parts(
    settings: NodeSettings,
    store: Store,
    *,
    examine: Callable[[], HealthReport],
    registry: CollectorRegistry,
    node: Callable[[], NodeNumbers],
    dicomweb: DicomwebService | None = None,
    counters: Counters | None = None,
    read_pdf: Callable[[bytes], str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> WebParts:
    """Put the parts together.

    Parameters
    ----------
    settings : NodeSettings
        Everything the operator decides.
    store : Store
        The node's memory.
    examine : callable
        Looks at the node's health.
    registry : prometheus_client.CollectorRegistry
        What ``/metrics`` tells.
    node : callable
        Returns what the node knows of itself.
    dicomweb : DicomwebService, optional
        Answers below ``/dicom-web``; without it nothing does.
    counters : Counters, optional
        Counts what comes in.
    read_pdf : callable, optional
        Returns the text of a PDF, or raises ReportError.
    now : callable
        Returns the moment.

    Raises
    ------
    SettingsError
        The data folder keeps no secret.

    """
    data_dir = settings.node.data_dir.resolve()
    secret = read_secret(data_dir)
    sessions = Sessions(
        secret,
        store.users,
        lifetime_s=settings.web.session_s,
        provider_s=settings.oidc.session_s,
    )
    provider = None
    if settings.oidc.issuer is not None:
        # Imported here: few nodes have one.
        from dicom_node.web.oidc import Provider

        provider = Provider(settings.oidc, secret)
    return WebParts(
        settings=settings,
        store=store,
        data_dir=data_dir,
        access=Access(
            store.users,
            sessions,
            has_provider=provider is not None,
            monitoring=settings.web.monitoring,
        ),
        provider=provider,
        examine=examine,
        registry=registry,
        node=node,
        now=now,
        results=Results(data_dir),
        report_texts=ReportTexts(),
        frames=FrameCache(
            settings.limits, scratch_dir=scratch_folder(settings.node.data_dir)
        ),
        series=SeriesFinder(),
        segments=SegmentReader(),
        corrected=CorrectedResults(),
        changes=Changes(store.details),
        warm_up=WarmUp(store),
        dicomweb=dicomweb,
        counters=counters,
        read_pdf=read_pdf,
    )


async def _parts(request: Request) -> WebParts:
    # What is no coroutine is called in a thread of its own.
    parts: WebParts = request.app.state.parts
    return parts


Parts = Annotated[WebParts, Depends(_parts)]
"""What a route takes to get at the node."""
