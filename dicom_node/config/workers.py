"""The table about worker processes that do the node's heavy work."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dicom_node.config.sections import Section

__all__ = ["WorkersSettings"]


class WorkersSettings(Section):
    """``[workers]``: processes that do the heavy work, on this host or on others.

    The node receives, keeps and delivers; ``dicom-node work`` with the same settings
    reads the images, asks the model and makes the objects. On PostgreSQL only.
    """

    enabled: bool = False
    """True: studies are processed by workers, and by nobody when none runs; the node
    itself asks remote models only."""
    at_once: Annotated[int, Field(ge=1, le=64)] = 8
    """Studies that are with workers at the same time; as many as there are workers, and
    some more, whose images are brought meanwhile."""
    files_url: str = ""
    """Where node and workers leave each other files, as fsspec knows it:
    ``s3://bucket/node``, ``file:///mnt/shared``. Empty: ``node.data_dir`` is one folder
    that all of them mount, and nothing is copied."""
    lease_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 30.0
    """A worker that gives no sign of life for so long loses its study to another."""
    cache_bytes: Annotated[int, Field(gt=0)] = 20 << 30
    """Images that workers keep below their ``node.data_dir`` for the next version of a
    study, together where they share it; a twentieth more for each of them may lie there
    for a while. Those that were not used for longest go first."""

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if self.files_url and "://" not in self.files_url:
            msg = "files_url: it names a protocol, as in s3://bucket/folder"
            raise ValueError(msg)
        return self
