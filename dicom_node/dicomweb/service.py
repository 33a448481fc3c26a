"""DICOMweb as one object: what its routes ask, from searches to stored instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node.dicomweb.bulk import PIXEL_PATHS, read_bulk
from dicom_node.dicomweb.frames import PixelLayout, read_layout, stored_frame
from dicom_node.dicomweb.library import Library, Place
from dicom_node.dicomweb.media import DICOM, Form
from dicom_node.dicomweb.metadata import MetadataCache
from dicom_node.dicomweb.multipart import Part
from dicom_node.dicomweb.receiving import StowOutcome, StowRequest, receive_instances
from dicom_node.dicomweb.render import RenderOptions, render_frame
from dicom_node.dicomweb.search import Searcher
from dicom_node.errors import DicomwebError, PixelDecodingError
from dicom_node.imaging import PixelReader
from dicom_node.receive import InstanceLedger, InstanceReceiver
from dicom_node.records import StoredInstance
from dicom_node.scratch import scratch_folder
from dicom_node.spool import Spool
from dicom_node.store import CatalogueInstance, CatalogueStore

if TYPE_CHECKING:
    from dicom_node.config import NodeSettings

__all__ = ["DicomwebService"]

_BLOCK_BYTES = 1 << 18
_JSON_BATCH = 32
"""Instances whose metadata go out in one block."""

_DECODERS = 2

log = structlog.get_logger(__name__)


class DicomwebService:
    """Searches, retrieves and stores.

    Parameters
    ----------
    settings : NodeSettings
        Profile and limits.
    catalogue : CatalogueStore
        What there is.
    spool : Spool
        Where instances go.
    ledger : InstanceLedger
        Where they are written down.
    on_release : callable
        Told, in the thread that received them, when a request's instances are in:
        an association's end.
    is_draining : callable
        Returns whether nothing new is taken for now.

    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        catalogue: CatalogueStore,
        spool: Spool,
        ledger: InstanceLedger,
        on_release: Callable[[], None],
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self.library = Library(
            catalogue, spool.data_dir, profile=settings.shown_profile
        )
        self.metadata = MetadataCache(spool.data_dir)
        self.searcher = Searcher(self.library, self.metadata)
        self._reader = PixelReader(
            settings.limits,
            processes=_DECODERS,
            scratch_dir=scratch_folder(spool.data_dir),
        )
        self._spool = spool
        self._ledger = ledger
        self._on_release = on_release
        self._is_draining = is_draining

    def close(self) -> None:
        """End the decoding processes."""
        self._reader.close()

    def metadata_blocks(
        self, instances: Sequence[CatalogueInstance], *, root: str
    ) -> Iterator[tuple[bytes, int]]:
        """Yield the metadata of instances as a JSON array.

        Yields
        ------
        tuple of bytes, int
            The next bytes, and how many instances they leave out: what cannot be read
            must not take the rest away.

        Raises
        ------
        DicomwebError
            None of them can be read.

        """
        start, left_out = b"[", 0
        for first in range(0, len(instances), _JSON_BATCH):
            batch = instances[first : first + _JSON_BATCH]
            made, errors = self._metadata_of(batch, root=root)
            left_out += len(errors)
            if left_out == len(instances):
                raise errors[0]
            if made:
                yield start + b",".join(made), left_out
                start, left_out = b",", 0
        yield b"]", left_out

    def _metadata_of(
        self, batch: Sequence[CatalogueInstance], *, root: str
    ) -> tuple[list[bytes], list[DicomwebError]]:
        made, errors = [], []
        for one in batch:
            try:
                made.append(self.metadata.read(one, url=root + _place(one).path))
            except DicomwebError as error:
                log.warning(
                    "metadata_left_out",
                    sop_instance_uid=one.sop_instance_uid,
                    status=error.status,
                )
                errors.append(error)
        return made, errors

    def dicom_parts(
        self, instances: Iterable[CatalogueInstance], *, root: str
    ) -> Iterator[Part]:
        """Yield instances as the parts of an answer, their bytes as stored."""
        for one in instances:
            kind = f"{DICOM}; transfer-syntax={one.transfer_syntax_uid}"
            yield Part(kind, self.file_blocks(one), root + _place(one).path)

    def file_blocks(self, instance: CatalogueInstance) -> Iterator[bytes]:
        """Yield an instance's file."""
        return _file_blocks(self.library.path(instance))

    def layout(self, instance: CatalogueInstance) -> PixelLayout:
        """Return where an instance's pixels are; errors as `read_layout`."""
        return read_layout(
            self.library.path(instance), sop_instance_uid=instance.sop_instance_uid
        )

    def frame(self, layout: PixelLayout, number: int, *, form: Form) -> bytes:
        """Return a frame, stored or decoded as its form says.

        Raises
        ------
        DicomwebError
            There is no such frame, or it cannot be decoded (``status`` 406: its
            stored bytes may still be asked for).

        """
        if form.is_stored:
            return stored_frame(layout, number)
        try:
            return self._reader.read_stored(
                layout.path,
                sop_instance_uid=layout.sop_instance_uid,
                frame_number=number,
            )
        except PixelDecodingError as error:
            msg = "the frame cannot be decoded; ask for transfer-syntax=*"
            raise DicomwebError(msg, status=406) from error

    def bulk_parts(
        self, instance: CatalogueInstance, place: str, *, url: str
    ) -> Iterator[Part]:
        """Yield a large value: pixels frame by frame where they are encapsulated.

        Raises
        ------
        DicomwebError
            There is no such value.

        """
        octets = "application/octet-stream"
        path = self.library.path(instance)
        if place.upper() not in PIXEL_PATHS:
            yield Part(octets, [read_bulk(path, place)], url)
            return
        layout = self.layout(instance)
        if not layout.is_encapsulated:
            yield Part(octets, layout.blocks(), url)
            return
        kind = f"{octets}; transfer-syntax={layout.transfer_syntax_uid}"
        for number in range(1, layout.frames + 1):
            yield Part(kind, [stored_frame(layout, number)], url)

    def picture(
        self,
        instance: CatalogueInstance,
        number: int,
        *,
        options: RenderOptions,
        media_type: str,
    ) -> bytes:
        """Return a frame as a picture; errors as `render_frame`."""
        return render_frame(
            StoredInstance(
                sop_instance_uid=instance.sop_instance_uid,
                sop_class_uid=instance.sop_class_uid,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                series_instance_uid=instance.series_instance_uid,
                path=self.library.path(instance),
                sha256=instance.sha256,
            ),
            number,
            reader=self._reader,
            options=options,
            media_type=media_type,
        )

    def store(self, blocks: Iterable[bytes], request: StowRequest) -> StowOutcome:
        """Receive a body's instances in the calling thread, as one association would.

        Raises
        ------
        DicomwebError
            The body cannot be read; what came whole before is kept. Or the node
            takes nothing now (``status`` 503).

        """
        if self._is_draining():
            raise DicomwebError("the node takes nothing new now", status=503)
        try:
            return receive_instances(
                blocks,
                request,
                make_receiver=lambda check: InstanceReceiver(
                    self._spool, self._ledger, check=check
                ),
                max_instance_bytes=self.settings.limits.max_instance_bytes,
            )
        finally:
            self._on_release()


def _place(instance: CatalogueInstance) -> Place:
    return Place(
        instance.study_instance_uid,
        instance.series_instance_uid,
        instance.sop_instance_uid,
    )


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
