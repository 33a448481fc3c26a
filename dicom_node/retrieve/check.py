"""Ask an archive for a sign of life, in the way in which it will be used."""

from __future__ import annotations

from pynetdicom.presentation import build_context

from conformance.profile import (
    QUERY_RETRIEVE_CONTEXTS,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from dicom_node.config import ArchiveSettings
from dicom_node.errors import AssociationRefusedError, RetrieveError
from dicom_node.http_peer import http_client
from dicom_node.retrieve.archive import Deadline
from dicom_node.retrieve.web import WebArchive
from dicom_node.scu import Timeouts, associate

__all__ = ["check_archive"]

_PATIENCE_S = 30.0


def check_archive(settings: ArchiveSettings, *, ae_title: str) -> str:
    """Return what an archive shows of itself, such as "accepts C-FIND and C-GET".

    Raises
    ------
    RetrieveError
        It cannot be reached, or does not offer what it is configured for.
    SettingsError
        Its token cannot be read.

    """
    if settings.url is not None:
        client = http_client(
            settings.url,
            token_file=settings.token_file,
            tls=settings.tls,
            timeout_s=_PATIENCE_S,
        )
        with client:
            WebArchive(client, deadline=Deadline(_PATIENCE_S)).ping()
        return "answers QIDO-RS"
    name, model = ("C-GET", STUDY_ROOT_GET)
    if settings.kind == "c-move":
        name, model = ("C-MOVE", STUDY_ROOT_MOVE)
    syntaxes = list(QUERY_RETRIEVE_CONTEXTS[0].transfer_syntaxes)
    contexts = [build_context(one, syntaxes) for one in (STUDY_ROOT_FIND, model)]
    try:
        with associate(
            contexts, settings.peer, ae_title=ae_title, timeouts=Timeouts()
        ) as link:
            accepted = {
                str(one.abstract_syntax) for one in link.association.accepted_contexts
            }
    except AssociationRefusedError as error:
        raise RetrieveError(str(error)) from error
    for uid, service in ((STUDY_ROOT_FIND, "C-FIND"), (model, name)):
        if uid not in accepted:
            msg = f"it does not accept {service} (Study Root)"
            raise RetrieveError(msg)
    return f"accepts C-FIND and {name}"
