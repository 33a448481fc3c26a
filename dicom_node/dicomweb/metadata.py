"""The metadata of instances as DICOM JSON, made once from each file and kept.

What is kept names no server: the address of the instance is put in when it is given
out, in the place of a byte that JSON cannot hold.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import zlib
from pathlib import Path
from typing import Literal

import pydicom
import structlog

from dicom_node.dicomweb.model import Json, dataset_to_json, describe
from dicom_node.errors import DicomwebError, ImagingError
from dicom_node.imaging.dataset import is_deflated, quiet_reading
from dicom_node.store import CatalogueInstance

__all__ = ["MetadataCache"]

_PLACE = "\x7f\x7finstance\x7f\x7f"
_MARK = b"\0"
"""Stands for the instance's address; JSON escapes it in every text."""

_DEFERRED_BYTES = 1 << 16
_FOLDER_MODE = 0o700
_PIXELS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}

log = structlog.get_logger(__name__)


class MetadataCache:
    """Reads and keeps metadata; any number of threads may use it.

    Parameters
    ----------
    data_dir : pathlib.Path
        The data folder. What is kept lies below ``cache/metadata`` and may be
        deleted at any time.

    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "cache" / "metadata"

    def read(self, instance: CatalogueInstance, *, url: str) -> bytes:
        """Return an instance's metadata as UTF-8 JSON.

        Parameters
        ----------
        instance : CatalogueInstance
            Which one.
        url : str
            The instance's own address, which those of its bulk data begin with.

        Raises
        ------
        DicomwebError
            The file is gone or cannot be read.

        """
        kept = self._folder / instance.sha256[:2] / f"{instance.sha256}.json.z"
        try:
            return _place(zlib.decompress(kept.read_bytes()), url)
        except (OSError, zlib.error):
            made = self._make(instance)
        with contextlib.suppress(OSError):  # a full disk must not end reading
            _keep(kept, made)
        return _place(made, url)

    def read_json(self, instance: CatalogueInstance, *, url: str) -> Json:
        """Return an instance's metadata; parameters and errors as `read`."""
        found: Json = json.loads(self.read(instance, url=url))
        return found

    def _make(self, instance: CatalogueInstance) -> bytes:
        try:
            with quiet_reading():
                found = _read(self._data_dir / instance.path)
        except FileNotFoundError as error:
            raise DicomwebError("the instance's file is gone", status=404) from error
        except Exception as error:  # hostile bytes raise nearly anything in pydicom
            log.warning(
                "metadata_unreadable",
                sop_instance_uid=instance.sop_instance_uid,
                error=type(error).__name__,
            )
            msg = "the instance cannot be read"
            raise DicomwebError(msg, status=500) from error
        # What the file lacks, the node has given it.
        found |= describe(
            {
                "StudyInstanceUID": instance.study_instance_uid,
                "SeriesInstanceUID": instance.series_instance_uid,
                "SOPInstanceUID": instance.sop_instance_uid,
                "SOPClassUID": instance.sop_class_uid,
                "AvailableTransferSyntaxUID": instance.transfer_syntax_uid,
            }
        )
        text = json.dumps(
            dict(sorted(found.items())), ensure_ascii=False, separators=(",", ":")
        )
        quoted = json.dumps(_PLACE, ensure_ascii=False)[1:-1]
        return text.encode("utf-8", "replace").replace(quoted.encode(), _MARK)


def _read(path: Path) -> Json:
    if is_deflated(path):
        raise ImagingError("deflated data sets are not processed")
    with path.open("rb") as file:
        ds = pydicom.dcmread(
            file, force=True, stop_before_pixels=True, defer_size=_DEFERRED_BYTES
        )
        found = dataset_to_json(ds, bulk_uri=lambda place: f"{_PLACE}/bulkdata/{place}")
        # Reading ended before the pixels, or at the end of the file.
        is_little = ds.original_encoding[1] is not False
        head = file.read(6)
    order: Literal["little", "big"] = "little" if is_little else "big"
    if len(head) == 6:
        group = int.from_bytes(head[:2], order)
        tag = group << 16 | int.from_bytes(head[2:4], order)
        if tag in _PIXELS:
            said = head[4:6].decode("latin-1")
            vr = said if said in {"OB", "OW", "OF", "OD"} else _PIXELS[tag]
            name = f"{tag:08X}"
            found[name] = {"vr": vr, "BulkDataURI": f"{_PLACE}/bulkdata/{name}"}
    return found


def _place(kept: bytes, url: str) -> bytes:
    return kept.replace(_MARK, url.encode("ascii", "replace"))


def _keep(path: Path, made: bytes) -> None:
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Not synced: after a power cut it is made again.
        part.write_bytes(zlib.compress(made, 1))
        part.chmod(0o600)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
