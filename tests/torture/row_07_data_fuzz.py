"""Broken data sets by every door: in process, C-STORE, STOW-RS and files."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from dicom_node.commands.study_files import gather_studies
from dicom_node.errors import ReceiveError
from dicom_node.header import is_uid, read_header
from dicom_node.instance_file import file_meta
from dicom_node.receive import StoreRequest
from tests.torture.data_attacks import PREAMBLES, Attack, attacks
from tests.torture.data_doors import (
    Answer,
    Web,
    is_allowed,
    is_kept_as_sent,
    store_all,
)
from tests.torture.data_fuzz import Source, make_case, read_sources
from tests.torture.in_process import InProcessHost, silence
from tests.torture.nodes import WatchedNode, run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen

__all__ = ["run"]

_IN_PROCESS = {Scale.SHORT: 400, Scale.FULL: 100_000, Scale.SOAK: 1_000_000}
_BY_DOORS = {Scale.SHORT: 40, Scale.FULL: 4_000, Scale.SOAK: 20_000}
_SHOWN = {Scale.SHORT: 6, Scale.FULL: 500, Scale.SOAK: 2_000}
_MOST_S = 900.0
"""So long the part in process goes on; fewer than all by then is told."""
_CONFLICT = 0x0111
"""STOW-RS: kept, but its UID leads to the bytes that came first (PS3.7 C.4)."""
_BY_DICOM, _BY_STOW = frozenset({0}), frozenset({0, _CONFLICT})
"""The statuses by which each door says that something is kept."""
_PARTS = 50
"""Files of a STOW-RS request."""


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send broken data sets from fixed seeds, and those that were made to do harm."""
    sources = read_sources()
    tell("in process")
    with closing(InProcessHost()) as host:
        figures = list(_in_process(host, sources, _IN_PROCESS[scale]))
    count = _BY_DOORS[scale]
    mutated = [make_case(sources, seed) for seed in range(count)]
    known = list(attacks())
    with run_watched(work / "node") as node, closing(Web(node)) as web:
        tell("C-STORE")
        answers = store_all(node.dicom_port, [*known, *mutated])
        figures += _judge("C-STORE", node, answers, told=_BY_DICOM)
        wrong = [one for one in answers if _is_wrong(one, _BY_DICOM)]
        tell("STOW-RS")
        others = [make_case(sources, 10**6 + seed) for seed in range(count // 2)]
        answers = _store_by_web(web, [*_renamed(known), *others])
        figures += _judge("STOW-RS", node, answers, told=_BY_STOW)
        wrong += [one for one in answers if _is_wrong(one, _BY_STOW)]
        figures.append(_polyglots(web, node))
        tell("pages and DICOMweb")
        figures += _shown(node, web, _SHOWN[scale])
        unexpected = node.unexpected()
        figures.append(at_most("exits", 0 if node.is_alive() else 1, 0))
        figures.append(at_most("uncaught errors logged", unexpected.total(), 0))
    tell("files")
    figures += _by_files([*known, *mutated], work / "files")
    notes = ["STOW-RS names conflicts too, by 0111, and keeps them"]
    notes += [f"uncaught: {name} ({n})" for name, n in unexpected.most_common(5)]
    notes += [f"server error: {path}" for path in web.failures[:5]]
    notes += [
        f"answered 0x{one.status & 0xFFFF:04X}: {one.attack.name}" for one in wrong[:10]
    ]
    if scale is not Scale.SHORT:
        notes.append(
            f"of the 100,000 asked for by each door, {count:,} came by C-STORE,"
            f" {count // 2:,} by STOW-RS and {count:,} as files, beside the made"
            f" attacks; {_IN_PROCESS[scale]:,} went through the receiver in process"
        )
    return Outcome(tuple(figures), notes=tuple(notes))


def _is_wrong(one: Answer, told: Collection[int]) -> bool:
    kept = one.attack.is_kept
    is_kept = one.status in told
    is_told = is_kept or is_allowed(one.status)
    return not is_told or (kept is not None and kept != is_kept)


def _judge(
    door: str, node: WatchedNode, answers: Sequence[Answer], *, told: Collection[int]
) -> tuple[Figure, ...]:
    """Judge the answers of a door that says by ``told`` that it keeps something."""
    stored = [one.attack for one in answers if one.status in told]
    strange = [
        one for one in answers if one.status not in told and not is_allowed(one.status)
    ]
    changed = sum(not is_kept_as_sent(node.data_dir, one) for one in stored)
    return (
        at_least(f"{door}: data sets", len(answers), 1),
        at_least(f"{door}: of them stored", len(stored), 1),
        at_most(
            f"{door}: other statuses than 0000, A7xx, A9xx, Cxxx",
            len(strange),
            0,
        ),
        at_most(
            f"{door}: attacks stored, or harmless ones refused",
            sum(_is_wrong(one, told) for one in answers) - len(strange),
            0,
        ),
        at_most(f"{door}: stored otherwise than sent", changed, 0),
    )


def _in_process(
    host: InProcessHost, sources: Sequence[Source], count: int
) -> tuple[Figure, ...]:
    statuses: Counter[int] = Counter()
    uncaught: Counter[str] = Counter()
    changed = 0
    with silence():
        end = time.monotonic() + _MOST_S
        done = 0
        while done < count and time.monotonic() < end:
            case = make_case(sources, done)
            done += 1
            head = _meta(case)
            try:
                read_header(head + case.data)
            except ReceiveError:
                pass
            except Exception as error:  # noqa: BLE001 - what this looks for
                uncaught[type(error).__name__] += 1
            reception = host.receiver.begin(
                StoreRequest(
                    case.sop_class_uid,
                    case.sop_instance_uid,
                    case.transfer_syntax_uid,
                    "FUZZ",
                    "127.0.0.1",
                )
            )
            for start in range(0, len(case.data), 16_384):
                reception.write(memoryview(case.data)[start : start + 16_384])
            answer = reception.finish()
            statuses[int(answer.status)] += 1
            if answer.instance is not None:
                path = host.folder / answer.instance.path
                kept = path.read_bytes()
                changed += kept[128:] != head[128:] + case.data
                changed += kept[:128].strip(b"\0") != (
                    f"dicom-node sha256:{answer.instance.sha256}".encode()
                )
                path.unlink()
    return (
        at_least("in process: data sets", done, count),
        at_least("in process: of them stored", statuses[0], done // 20),
        at_least("in process: of them refused", done - statuses[0], done // 20),
        at_most("in process: uncaught errors", uncaught.total(), 0),
        at_most(
            "in process: other statuses",
            sum(n for one, n in statuses.items() if not is_allowed(one)),
            0,
        ),
        at_most("in process: stored otherwise than sent", changed, 0),
    )


def _meta(case: Attack) -> bytes:
    return file_meta(
        sop_class_uid=case.sop_class_uid,
        sop_instance_uid=case.sop_instance_uid,
        transfer_syntax_uid=case.transfer_syntax_uid,
    )


def _renamed(known: Iterable[Attack]) -> list[Attack]:
    """Return the attacks that a file can hold: they came by C-STORE already."""
    return [one for one in known if is_uid(one.sop_instance_uid)]


def _store_by_web(web: Web, cases: Sequence[Attack]) -> list[Answer]:
    answers = []
    seen_uids: set[str] = set()
    request: list[Attack] = []
    for one in cases:
        # The answer names instances by their UID: one of each in a request.
        if one.sop_instance_uid in seen_uids or len(request) == _PARTS:
            answers += web.store(request)
            request, seen_uids = [], set()
        request.append(one)
        seen_uids.add(one.sop_instance_uid)
    return answers + web.store(request)


def _polyglots(web: Web, node: WatchedNode) -> Figure:
    wrong = 0
    for number, preamble in enumerate(PREAMBLES.values()):
        (case,) = _plain_case(f"1.2.7.9.{number}")
        (answer,) = web.store([case], preamble=preamble)
        wrong += answer.status != 0 or not is_kept_as_sent(node.data_dir, case)
    return at_most("files that are something else as well, kept so", wrong, 0)


def _plain_case(uid: str) -> tuple[Attack]:
    (found,) = (one for one in attacks() if one.sop_instance_uid == "1.2.7.2.1.0")
    old, new = b"1.2.7.2.1.0", uid.encode()
    data = found.data.replace(old.ljust(12, b"\0"), new.ljust(12, b"\0"))
    data = data.replace(b"UI\x0b\0", b"UI\x0c\0")
    return (Attack("polyglot", data, uid, is_kept=True),)


def _shown(node: WatchedNode, web: Web, most: int) -> tuple[Figure, ...]:
    uids = _studies(web)
    random.Random(0).shuffle(uids)
    for path in ("/studies", "/dicom-web/studies?includefield=all", "/", "/metrics"):
        web.get(path)
    for uid in uids[:most]:
        web.show(uid)
    return (
        at_least("studies shown", min(len(uids), most), 1),
        at_most("server errors by HTTP", len(web.failures), 0),
        seen("studies there are", len(uids)),
    )


def _studies(web: Web) -> list[str]:
    found = json.loads(web.get("/dicom-web/studies?limit=5000"))
    return [one["0020000D"]["Value"][0] for one in found]


def _by_files(cases: Sequence[Attack], folder: Path) -> tuple[Figure, ...]:
    folder.mkdir()
    preambles = list(PREAMBLES.values())
    names = {}
    for number, one in enumerate(cases):
        if not is_uid(one.sop_instance_uid):
            continue
        path = folder / f"{number}.dcm"
        preamble = preambles[number % len(preambles)].ljust(128, b"\0")
        path.write_bytes(preamble + _meta(one)[128:] + one.data)
        names[path] = one
    gathered = gather_studies([folder])
    left_out = {one.path for one in gathered.left_out if not one.study_instance_uid}
    wrong = sum(
        one.is_kept is not None and one.is_kept == (path in left_out)
        for path, one in names.items()
        # A file can be read that the network door refuses: its own UID is another.
        if not one.name.startswith("its own UID")
    )
    return (
        at_least("files: data sets", len(names), 1),
        at_least("files: studies read", len(gathered.studies), 1),
        at_most("files: attacks read, or harmless ones left out", wrong, 0),
    )
