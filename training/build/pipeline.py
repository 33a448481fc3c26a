"""Build training shards, on one page.

registry -> ingest -> [normalise, regions, phrases: per image] -> dedupe -> split ->
shards -> records -> data card. Every stage can be run again: what is done stays done.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from training.build.blocks import SPLITS, process_block, write_whole
from training.build.card import write_card
from training.build.clusters import Clusters, find_clusters
from training.build.execute import Execution, run_stage
from training.build.ingest import Ingested, Source, ingest
from training.build.licences import attribution_text, check_licences, is_free
from training.build.settings import BUILD_VERSION, BuildSettings
from training.build.shards import SampleSource, ShardTask, read_done, write_shard
from training.build.table import SampleTable
from training.errors import ConfigError, DatasetError
from training.layout import (
    ATTRIBUTION_FILE,
    BUILD_FILE,
    INDEX_FILE,
    RECORDS_FILE,
    SHARDS_FILE,
    SHARDS_FOLDER,
    Shard,
)

__all__ = ["WORK_FOLDER", "build"]

WORK_FOLDER = ".work"
"""What is kept between runs; it may be deleted once a build is done."""


def build(
    sources: Sequence[Source],
    out: Path,
    *,
    settings: BuildSettings | None = None,
    allowed_licences: frozenset[str] = frozenset(),
    execution: Execution | None = None,
    clean: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Make the shards, records and card of datasets in the folder `out`.

    Parameters
    ----------
    allowed_licences
        Identifiers of restrictive licences that somebody has accepted.
    clean
        Delete what is kept to go on from, once all is done.

    Returns
    -------
    What ``build.json`` says.

    Raises
    ------
    ConfigError
        A licence is not accepted, a dataset comes twice or is not where it should be.
    DatasetError
        Files of a dataset contradict its layout, or not a single image is left.
    """
    settings = settings or BuildSettings()
    execution = execution or Execution()
    specs = [source.spec for source in sources]
    if len({spec.id for spec in specs}) != len(specs) or not specs:
        raise ConfigError("a build needs datasets, and each of them once")
    check_licences(specs, allowed=allowed_licences)

    work = out / WORK_FOLDER
    ordered = sorted(sources, key=lambda source: source.spec.id)
    datasets = [
        ingest(source, work / "images", settings=settings, progress=progress)
        for source in ordered
    ]
    tasks = [task for dataset in datasets for task in dataset.tasks]
    run_stage(
        process_block,
        tasks,
        execution=execution,
        title="images",
        progress=progress,
    )

    table = SampleTable(tasks)
    if not len(table):
        reasons = json.dumps([table.drops(dataset.spec.id) for dataset in datasets])
        raise DatasetError(f"not a single image is left: {reasons}")
    clusters = find_clusters(table.rows, settings=settings, thumbnail=table.thumbnail)

    plan = _plan(table, clusters, out, settings=settings)
    _forget_other_build(out, plan)
    run_stage(write_shard, plan, execution=execution, title="shards", progress=progress)
    shards = _finish_shards(out, plan)
    _join_records(out, plan)

    told = _tell(datasets, table, clusters, settings=settings)
    _write_text(out / ATTRIBUTION_FILE, attribution_text(specs))
    _write_json(out / SHARDS_FILE, {"shards": [asdict(shard) for shard in shards]})
    write_card(out, told)
    _write_json(out / BUILD_FILE, told)
    if clean:
        shutil.rmtree(work)
    return told


def _plan(
    table: SampleTable, clusters: Clusters, out: Path, *, settings: BuildSettings
) -> list[ShardTask]:
    """Cut the samples of each split into shards, in the order of a hash."""
    tasks: list[ShardTask] = []
    first = 0
    for number, split in enumerate(SPLITS):
        chosen = np.flatnonzero(clusters.split == number)
        ordered = chosen[np.argsort(table.rows["order"][chosen], kind="stable")]
        for group in _cut(ordered.tolist(), table, settings=settings):
            samples = tuple(
                SampleSource(
                    chunks=str(table.chunks(one)),
                    at=int(table.rows["at"][one]),
                    bytes=int(table.rows["bytes"][one]),
                    cluster=clusters.names[clusters.cluster[one]],
                )
                for one in group
            )
            tasks.append(
                ShardTask(
                    name=f"shard-{len(tasks):06d}.tar",
                    split=split,
                    first=first,
                    samples=samples,
                    shards=str(out / SHARDS_FOLDER),
                    work=str(out / WORK_FOLDER / "shards"),
                )
            )
            first += len(samples)
    return tasks


def _cut(
    samples: list[int], table: SampleTable, *, settings: BuildSettings
) -> list[list[int]]:
    groups: list[list[int]] = []
    size = 0
    for one in samples:
        length = int(table.rows["bytes"][one])
        is_full = groups and len(groups[-1]) >= settings.shard_samples
        if not groups or is_full or size + length > settings.shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += length
    return groups


def _forget_other_build(out: Path, plan: Sequence[ShardTask]) -> None:
    """Take away what says that the folder is finished, unless nothing will change."""
    if not all(read_done(task) for task in plan):
        for name in (BUILD_FILE, SHARDS_FILE, RECORDS_FILE, INDEX_FILE):
            (out / name).unlink(missing_ok=True)


def _finish_shards(out: Path, plan: Sequence[ShardTask]) -> list[Shard]:
    """Return what was written, and remove shards of an earlier build."""
    shards = []
    for task in plan:
        done = read_done(task)
        if done is None:
            raise DatasetError(f"{task.name} was not written")
        shards.append(done)
    names = {Path(shard.name).stem for shard in shards}
    for path in (out / SHARDS_FOLDER).iterdir():
        if path.name.split(".")[0] not in names or path.suffix == ".part":
            path.unlink()
    return shards


def _join_records(out: Path, plan: Sequence[ShardTask]) -> None:
    """Write ``records.jsonl`` and its index from the lines of the shards."""
    offsets = [0]
    part = out / f"{RECORDS_FILE}.part"
    with part.open("wb") as records:
        for task in plan:
            with (Path(task.work) / f"{task.digest}.jsonl").open("rb") as lines:
                for line in lines:
                    records.write(line)
                    offsets.append(offsets[-1] + len(line))
    part.replace(out / RECORDS_FILE)
    write_whole(out / INDEX_FILE, np.asarray(offsets, "<i8").tobytes())


def _tell(
    datasets: Sequence[Ingested],
    table: SampleTable,
    clusters: Clusters,
    *,
    settings: BuildSettings,
) -> dict[str, Any]:
    """Return what ``build.json`` says; nothing in it depends on who did the work."""
    told: dict[str, Any] = {
        "schema": "medglip-build/1",
        "build_version": BUILD_VERSION,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pillow", "scipy")},
        },
        "settings": asdict(settings),
        "datasets": {},
        "clusters": len(clusters.names),
        "joined_patients": clusters.links,
    }
    for dataset in datasets:
        spec = dataset.spec
        mine = table.samples_of(spec.id)
        dropped = {
            reason: sum(clusters.reasons.get(one) == reason for one in mine)
            for reason in sorted(set(clusters.reasons.values()))
        }
        told["datasets"][spec.id] = {
            "title": spec.title,
            "licence": spec.licence.model_dump(),
            "tier": spec.tier,
            "patients_unknown": spec.patient_unknown,
            **table.counts(spec.id),
            "samples_dropped": {key: value for key, value in dropped.items() if value},
            "splits": {
                split: int((clusters.split[mine] == number).sum())
                for number, split in enumerate(SPLITS)
            },
            "dropped": table.drops(spec.id),
        }
    told["is_free"] = all(is_free(dataset.spec.licence) for dataset in datasets)
    told["licences"] = sorted({dataset.spec.licence.id for dataset in datasets})
    return told


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    write_whole(path, text.encode("utf-8"))
