"""Audit messages of PS3.15 A.5, made from the audit trail and sent in its order.

events -> reading (batches) -> table (which message) -> message (XML)
       -> syslog (RFC 5424) -> file | repository (TLS, RFC 5425)
"""

from dicom_node.atna.repository import check_repository
from dicom_node.atna.service import AuditService
from dicom_node.atna.table import MESSAGES, NotAudited

__all__ = ["MESSAGES", "AuditService", "NotAudited", "check_repository"]
