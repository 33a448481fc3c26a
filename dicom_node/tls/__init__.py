"""TLS as BCP 195 has it: contexts for who calls and who is called, and renewal."""

from dicom_node.tls.certificates import (
    NamedCertificate,
    certificates_of,
    fingerprint,
    is_readable_by_others,
    valid_until,
)
from dicom_node.tls.contexts import ServerFiles, client_context, server_context
from dicom_node.tls.renewal import ServerTls

__all__ = [
    "NamedCertificate",
    "ServerFiles",
    "ServerTls",
    "certificates_of",
    "client_context",
    "fingerprint",
    "is_readable_by_others",
    "server_context",
    "valid_until",
]
