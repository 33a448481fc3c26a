"""What the web application is made of: the node's parts that its routes use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from dicom_node.config import NodeSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.store import Store
from dicom_node.web.access import Access
from dicom_node.web.health import HealthReport
from dicom_node.web.results import Results
from dicom_node.web.sessions import Sessions, read_secret

__all__ = ["Parts", "WebParts", "make_parts"]


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
    results: Results
    now: Callable[[], datetime]
    dicomweb: DicomwebService | None = None


def make_parts(
    settings: NodeSettings,
    store: Store,
    *,
    examine: Callable[[], HealthReport],
    registry: CollectorRegistry,
    dicomweb: DicomwebService | None = None,
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
    dicomweb : DicomwebService, optional
        Answers below ``/dicom-web``; without it nothing does.
    now : callable
        Returns the moment.

    Raises
    ------
    SettingsError
        The data folder keeps no secret.

    """
    data_dir = settings.node.data_dir.resolve()
    sessions = Sessions(
        read_secret(data_dir), store.users, lifetime_s=settings.web.session_s
    )
    return WebParts(
        settings=settings,
        store=store,
        data_dir=data_dir,
        access=Access(
            store.users, sessions, has_provider=settings.oidc.issuer is not None
        ),
        examine=examine,
        registry=registry,
        results=Results(data_dir),
        now=now,
        dicomweb=dicomweb,
    )


def _parts(request: Request) -> WebParts:
    parts: WebParts = request.app.state.parts
    return parts


Parts = Annotated[WebParts, Depends(_parts)]
"""What a route takes to get at the node."""
