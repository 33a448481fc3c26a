"""Where instances lie: made durable under the hash of what they hold."""

from dicom_node.spool.spool import Spool, SpoolWriter, proven_sha256

__all__ = ["Spool", "SpoolWriter", "proven_sha256"]
