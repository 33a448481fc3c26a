"""The ports that a node needs, looked at before it lets anybody in."""

from __future__ import annotations

from dicom_node.config import NodeSettings
from dicom_node.errors import SettingsError
from dicom_node.tcp import listen_on

__all__ = ["check_ports"]


def check_ports(settings: NodeSettings) -> None:
    """Refuse ports that are taken before a PACS is let in by a node that must end.

    The plain DICOM port is the first to be opened, and looks for itself.

    Raises
    ------
    SettingsError
        One cannot be listened on.

    """
    secure, web, hl7 = settings.dicom_tls, settings.web, settings.hl7
    for is_used, host, port in (
        (secure.enabled, settings.node.host, secure.port),
        (web.enabled, web.host, web.port),
        (hl7.enabled, hl7.host, hl7.port),
    ):
        if not is_used:
            continue
        try:
            listen_on(host, port).close()
        except OSError as error:
            msg = f"cannot listen on {host}:{port}: {error.strerror}"
            raise SettingsError(msg) from error
