"""A study that went the whole way in the store: received, grounded, its files kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.config import LimitSettings
from dicom_node.grounding.grounder import GroundedPrompt, ModelIdentity
from dicom_node.header import read_header
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import Rooms, process_study
from dicom_node.records import ReceivedInstance
from dicom_node.store import Store
from tests.builders.dicom_series import make_ct_series
from tests.builders.stores import NOON

__all__ = ["REPORT", "FinishedStudy", "finish_study", "store_series"]

REPORT = "FINDINGS:\nThe liver is enlarged. No ascites.\n"


@dataclass(frozen=True)
class FinishedStudy:
    """What the store holds of it."""

    uid: str
    version_id: int
    content_version: str
    images: tuple[Path, ...]


class _Corner:
    """Finds everything in an L-shaped corner of the second frame and the third."""

    identity = ModelIdentity("corner", "1", "c0ffee")

    def ground(
        self,
        series: Any,
        pixels: Any,
        prompts: Any,
        *,
        progress: Any = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        mask = np.zeros((2, 5, 4), np.bool_)
        mask[0, :, :2] = mask[0, 4, :] = mask[1, 0, 0] = True
        return tuple(
            GroundedPrompt(
                prompt=one,
                score=0.9,
                is_present=True,
                uncertainty=0.2,
                mask=mask,
                mask_origin=(1, 2, 3),
                boxes=(),
            )
            for one in prompts
        )


def store_series(store: Store, data_dir: Path, **series: Any) -> tuple[Path, ...]:
    """Write a CT series into the data folder and record it as received."""
    folder = data_dir / "spool"
    made = make_ct_series(folder, **series)
    for path in made.paths:
        header = read_header(path)
        data = path.read_bytes()
        store.record_instance(
            ReceivedInstance(
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                study_instance_uid=header.study_instance_uid,
                series_instance_uid=header.series_instance_uid,
                path=path.relative_to(data_dir),
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
                calling_ae_title="PACS",
                peer_address="127.0.0.1",
                received_at=NOON,
                study=header.study,
                series=header.series,
                image=header.image,
            )
        )
    return tuple(made.paths)


def finish_study(
    store: Store, data_dir: Path, *, profile: str = "ohif", **series: Any
) -> FinishedStudy:
    """Receive a CT with the report `REPORT`, process it and keep its results."""
    images = store_series(store, data_dir, **series)
    (study,) = [
        one
        for one in store.collecting_studies()
        if one.study_instance_uid == read_header(images[0]).study_instance_uid
    ]
    now = NOON + timedelta(minutes=1)
    key = store.open_version(
        study.study_id,
        now=now,
        version_of=lambda hashes: hashlib.sha256("".join(hashes).encode()).hexdigest(),
    )
    assert key is not None
    work = store.work.start_version(
        key.version_id, run=key.run, fingerprint="f", data_dir=data_dir, now=now
    )
    assert work is not None
    out_dir = data_dir / "results" / key.content_version[:16]
    out_dir.mkdir(parents=True)
    with PixelReader(LimitSettings(), processes=1) as reader:
        done = process_study(
            work.ready,
            rooms=Rooms(reader, _Corner()),
            out_dir=out_dir,
            profiles=(profile,),
            report_text=REPORT,
        )
    store.work.finish_version(
        key.version_id,
        run=key.run,
        fingerprint="f",
        objects=done.objects,
        result_dir=out_dir,
        data_dir=data_dir,
        destinations={"archive": profile},
        now=now,
    )
    return FinishedStudy(
        study.study_instance_uid, key.version_id, key.content_version, images
    )
