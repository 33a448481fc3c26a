"""The model's process: without memory, device or sense, killed, hung, or replaced."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.config import DicomPeer, ModelSettings
from dicom_node.deliver import send_objects
from dicom_node.errors import ModelLoadError
from dicom_node.grounding.worker import GroundingWorker
from model import bundled_checkpoint
from tests.builders.archive import Archive
from tests.builders.dicom_series import make_dx_image
from tests.builders.node import RunningNode, write_settings
from tests.builders.process import Program, free_port, wait_until
from tests.torture.acknowledging import Acknowledgements, Window, acknowledging, p99
from tests.torture.disorder_study import data_set_sha256
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen

__all__ = ["run"]

_HANG_S = 2.0
"""Stands for ten minutes: what ``model.timeout_s`` is set to."""

_RETRY_S = {Scale.SHORT: 0.2, Scale.FULL: 1.0, Scale.SOAK: 1.0}
_CALM_S = {Scale.SHORT: 1.0, Scale.FULL: 10.0, Scale.SOAK: 60.0}
_EACH = {Scale.SHORT: 8, Scale.FULL: 1, Scale.SOAK: 1}
"""One of so many faults is tried."""

_LIMIT = 1.2
"""How much later instances may be acknowledged, 99 of 100, while the model fails."""

_PATIENCE_S = 120.0
_TRIES = 3


@dataclass(frozen=True)
class _Fault:
    """What the model does, and whether the study is answered all the same."""

    name: str
    prompt: str
    computed_on: str | None = None
    """None: nothing can be answered, and the result says why"""


_FAULTS = (
    _Fault("memory for two pictures", "fits cuda:7/2", "cuda:7, 2 at once"),
    _Fault("memory on the CPU alone", "fits cpu/1", "cpu, 1 at once"),
    _Fault("memory nowhere", "fits nowhere/1"),
    _Fault("host memory", "allocate 60000"),
    _Fault("the device is gone", "device-fails", "cpu, 1 at once"),
    _Fault("SIGKILL each time", "die"),
    _Fault("a hang", "sleep 600"),
    _Fault("NaN", "answer nan"),
    _Fault("infinite", "answer infinite"),
    _Fault("a flat mask", "answer flat"),
    _Fault("a mask outside", "answer outside"),
    _Fault("an exception", "fail it"),
)


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Break the model in each way; then its files."""
    figures: list[Figure] = []
    with (
        Archive("pacs") as archive,
        _faulty_node(work / "node", archive, retry_s=_RETRY_S[scale]) as faulty,
    ):
        node, checkpoint = faulty
        _store(node, work, modality="DX", number=0)
        _wait(node, _study(0))
        with acknowledging(node.dicom_port, work) as told:
            tell("receiving alone")
            idle = [told.rest(_CALM_S[scale])]
            wrong, slowest, calm, faulty = _break(
                node,
                work,
                checkpoint,
                faults=_FAULTS[:: _EACH[scale]],
                is_compared=scale is not Scale.SHORT,
                tell=tell,
            )
            fair = _poison(node, work, checkpoint)
        figures += [
            at_most("faults that came out otherwise than expected", len(wrong), 0),
            at_most(
                "tries of one study", max(_tries(node).values(), default=0), _TRIES
            ),
            seen("slowest study with a fault", round(slowest, 1), "s"),
            at_least("studies done before a poisonous one's second try", fair, 1),
            *_judge_objects(node, archive),
            at_most("instances not acknowledged", told.failures(), 0),
            *_compare(told, idle=idle, calm=calm, faulty=faulty),
        ]
    tell("checkpoints")
    figures += _break_files(work / "files", tell, each=_EACH[scale])
    notes = [f"otherwise than expected: {one}" for one in wrong]
    notes.append("without faults: as many seconds in between, and the model works")
    notes.append("a hang of ten minutes is 600 s against model.timeout_s = 2")
    notes.append("the device is one that the stub believes in: there is no GPU here")
    return Outcome(tuple(figures), notes=tuple(notes))


def _break(
    node: RunningNode,
    work: Path,
    checkpoint: Path,
    *,
    faults: tuple[_Fault, ...],
    is_compared: bool,
    tell: Tell,
) -> tuple[list[str], float, list[Window], list[Window]]:
    """Try each fault; in between, let the model work for as long as the fault took."""
    wrong: list[str] = []
    calm: list[Window] = []
    faulty: list[Window] = []
    healthy = iter(range(2_000, 10**6))
    for number, fault in enumerate(faults, start=1):
        tell(fault.name)
        (checkpoint / "fault-DX").write_text(fault.prompt)
        began = time.monotonic()
        _store(node, work, modality="DX", number=number)
        document = _wait(node, _study(number))
        faulty.append((began, time.monotonic()))
        if not _is_right(fault, document):
            reasons = [one["reason"] for one in document["not_processed"]]
            wrong.append(f"{fault.name}: {reasons or document['model']['computed_on']}")
        (checkpoint / "fault-DX").unlink()
        if is_compared:
            calm.append(_work(node, work, healthy, window=faulty[-1]))
    slowest = max(end - begin for begin, end in faulty)
    return wrong, slowest, calm, faulty


def _is_right(fault: _Fault, document: dict[str, Any]) -> bool:
    failed = bool(document["not_processed"])
    if fault.computed_on is None:
        return failed and not any(one["regions"] for one in document["phrases"])
    return not failed and document["model"]["computed_on"] == [fault.computed_on]


def _work(
    node: RunningNode, work: Path, numbers: Iterator[int], *, window: Window
) -> Window:
    """Have studies processed by a model that works, for as long as a window."""
    # The first loads the model anew where the fault ended its process: not compared.
    _process(node, work, next(numbers))
    begin, end = window
    began = time.monotonic()
    while time.monotonic() - began < end - begin:
        _process(node, work, next(numbers))
    return began, time.monotonic()


def _process(node: RunningNode, work: Path, number: int) -> None:
    _store(node, work, modality="DX", number=number)
    assert not _wait(node, _study(number))["not_processed"], "the model has a fault"


def _poison(node: RunningNode, work: Path, checkpoint: Path) -> int:
    """Send a study that kills each time, then others; return how many overtook it."""
    (checkpoint / "fault-MG").write_text("die")
    _store(node, work, modality="MG", number=500)
    for number in (501, 502):
        _store(node, work, modality="DX", number=number)
    for number in (500, 501, 502):
        _wait(node, _study(number))
    order = [one["study_instance_uid"] for one in node.results()]
    last = order.index(_study(500))
    return sum(order.index(_study(number)) < last for number in (501, 502))


def _tries(node: RunningNode) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in node.program.log_path.read_text(encoding="utf-8").splitlines():
        if '"grounding_lost"' in line:
            found[json.loads(line)["series_instance_uid"]] += 1
    return found


def _judge_objects(node: RunningNode, archive: Archive) -> tuple[Figure, ...]:
    """Read every object of every result where it was sent to."""
    named = node.object_paths()
    with suppress(AssertionError):
        wait_until(
            lambda: named.keys() <= set(archive.uids),
            timeout_s=_PATIENCE_S,
            what="the results at the destination",
        )
    arrived = {uid: data for _, uid, data in archive.arrivals}
    whole = sum(
        hashlib.sha256(arrived.get(uid, b"")).hexdigest() == data_set_sha256(path)
        and _is_readable(path)
        for uid, path in named.items()
    )
    return (
        at_least("objects of results", len(named), 1),
        at_most("of them not whole at the destination", len(named) - whole, 0),
        at_most("objects there that no result names", len(arrived.keys() - named), 0),
    )


def _is_readable(path: Path) -> bool:
    """Return whether an object can be read to its end: pixels, or a content tree."""
    try:
        ds = dcmread(path)
        if "PixelData" in ds:
            return bool(ds.pixel_array.size)
        return len(ds.ContentSequence) > 0
    except (AttributeError, ValueError, OSError, InvalidDicomError):
        return False


def _compare(
    told: Acknowledgements,
    *,
    idle: list[Window],
    calm: list[Window],
    faulty: list[Window],
) -> tuple[Figure, ...]:
    """Compare how soon instances are acknowledged while the model works and fails."""
    beside = told.within(faulty)
    figures = [
        seen("acknowledgements beside faults", len(beside)),
        seen("p99 acknowledgement, nothing else to do", _ms(told.within(idle)), "ms"),
        seen("p99 acknowledgement beside faults", _ms(beside), "ms"),
    ]
    if calm:
        without = told.within(calm)
        figures += [
            seen("p99 acknowledgement beside a model that works", _ms(without), "ms"),
            at_most(
                "p99 acknowledgement beside faults, times that without",
                round(p99(beside) / p99(without), 2),
                _LIMIT,
            ),
        ]
    return tuple(figures)


def _ms(seconds: list[float]) -> int:
    return round(p99(seconds) * 1000)


def _break_files(work: Path, tell: Tell, *, each: int) -> list[Figure]:
    """Damage a copy of the real checkpoint; return whether each is refused."""
    whole = bundled_checkpoint()
    taken, weights = [], (whole / "model.safetensors").read_bytes()
    damages: dict[str, dict[str, bytes]] = {
        "truncated": {"model.safetensors": weights[: len(weights) // 2]},
        "damaged": {"model.safetensors": weights[:8] + b"\0" * 64 + weights[72:]},
        "empty": {"model.safetensors": b""},
        "renamed": {"model.bin": weights},
        "huge": {
            "model.safetensors": weights,
            "config.json": json.dumps(
                {
                    **json.loads((whole / "config.json").read_text(encoding="utf-8")),
                    "core_ffn": 10**9,
                }
            ).encode(),
        },
    }
    for name, files in list(damages.items())[::each]:
        tell(name)
        folder = work / name
        folder.mkdir(parents=True)
        shutil.copy(whole / "config.json", folder)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        settings = ModelSettings(checkpoint=folder, device="cpu", memory_limit_mb=4096)
        with GroundingWorker(settings, scratch_dir=work) as worker:
            try:
                worker.load()
            except ModelLoadError:
                continue
        taken.append(name)
    with GroundingWorker(ModelSettings(device="cpu"), scratch_dir=work) as worker:
        worker.load()
        devices = Path(f"/proc/{worker.pid}/net/dev").read_text(encoding="utf-8")
    return [
        at_most("damaged checkpoints that were loaded", len(taken), 0),
        at_most("network interfaces of the model but loopback", _others(devices), 0),
    ]


def _others(devices: str) -> int:
    names = [line.split(":")[0].strip() for line in devices.splitlines() if ":" in line]
    return sum(name != "lo" for name in names)


def _study(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.511.18.{number}"


def _store(node: RunningNode, work: Path, *, modality: str, number: int) -> float:
    """Send a study of one image; return how long its acknowledgement took, seconds."""
    folder = work / modality
    made = make_dx_image(
        folder,
        study_uid=_study(number),
        name=f"{modality}{number}",
        changes={"Modality": modality},
    )
    told: list[bool] = []
    peer = DicomPeer(
        name="node", ae_title=node.ae_title, host="127.0.0.1", port=node.dicom_port
    )
    began = time.monotonic()
    send_objects(
        [made.instances[0].path],
        peer,
        ae_title="PACS",
        on_outcome=lambda one: told.append(one.is_delivered),
    )
    took = time.monotonic() - began
    made.instances[0].path.unlink()
    assert told == [True], "it was not acknowledged"
    return took


def _wait(node: RunningNode, study: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def is_done() -> bool:
        node.program.check_alive()
        found[:] = [one for one in node.results() if one["study_instance_uid"] == study]
        return bool(found)

    wait_until(
        is_done, timeout_s=_PATIENCE_S, what=f"the result\n{node.program.tail()}"
    )
    return found[-1]


@contextmanager
def _faulty_node(
    folder: Path, archive: Archive, *, retry_s: float
) -> Iterator[tuple[RunningNode, Path]]:
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    dicom_port, web_port = free_port(), free_port()
    config = write_settings(
        folder,
        dicom_port=dicom_port,
        web_port=web_port,
        destinations=[archive.destination],
        quiet_time_s=0.2,
    )
    text = config.read_text(encoding="utf-8").replace(
        'device = "cpu"',
        f'device = "cuda:7"\ntimeout_s = {_HANG_S}\nmemory_limit_mb = 2048\n'
        f"checkpoint = {json.dumps(str(checkpoint))}",
    )
    # The instances of the comparison are received and not processed.
    text += '\n[[rules]]\nname = "received"\nwhen = "Modality == \'US\'"\n'
    text += 'action = "ignore"\n'
    config.write_text(text, encoding="utf-8")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.torture.faulty_node", str(config)]
    with Program(
        [*command, str(retry_s)],
        log_path=folder / "node.log",
        environment={"PYTHONPATH": str(root)},
        cwd=root,
    ) as program:
        program.wait_for_port(dicom_port, timeout_s=_PATIENCE_S)
        yield (
            RunningNode(
                program,
                data_dir=folder / "data",
                config=config,
                dicom_port=dicom_port,
                web_port=web_port,
            ),
            checkpoint,
        )
