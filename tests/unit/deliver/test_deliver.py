from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dicom_node.config import DicomPeer
from dicom_node.deliver import (
    Sendable,
    SendOutcome,
    Timeouts,
    echo,
    parse_destination,
    send_objects,
)
from dicom_node.errors import AssociationRefusedError, StoreRefusedError
from dicom_node.instance_file import file_meta
from tests.builders.process import free_port

QUICK = Timeouts(connect_s=2.0, associate_s=2.0, response_s=1.0)


@dataclass
class Peer:
    destination: DicomPeer
    stored: dict[str, bytes] = field(default_factory=dict)
    syntaxes: list[str] = field(default_factory=list)
    associations: list[int] = field(default_factory=list)


@contextmanager
def peer(
    answer: Callable[[evt.Event], int] = lambda _event: 0x0000,
    *,
    contexts: dict[str, list[str]] | None = None,
    require_calling: str | None = None,
    echo_status: int = 0x0000,
) -> Iterator[Peer]:
    entity = AE("PEER")
    entity.require_calling_aet = [require_calling] if require_calling else []
    for sop_class, syntaxes in (
        contexts or {CTImageStorage: [ExplicitVRLittleEndian, JPEG2000]}
    ).items():
        # One context per proposal: the peer takes whichever syntax is in it.
        entity.add_supported_context(sop_class, syntaxes)
    entity.add_supported_context(Verification)
    destination = DicomPeer(
        name="peer", ae_title="PEER", host="127.0.0.1", port=free_port()
    )
    running = Peer(destination)

    def store(event: evt.Event) -> int:
        status = answer(event)
        if status in {0x0000, 0x0111, 0xB000, 0xB006, 0xB007}:
            uid = str(event.request.AffectedSOPInstanceUID)
            running.stored[uid] = event.request.DataSet.getvalue()
            running.syntaxes.append(str(event.context.transfer_syntax))
        return status

    def accepted(event: evt.Event) -> None:
        running.associations.append(len(event.assoc.accepted_contexts))

    server = entity.start_server(
        ("127.0.0.1", destination.port),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, store),
            (evt.EVT_C_ECHO, lambda _event: echo_status),
            (evt.EVT_ESTABLISHED, accepted),
        ],
    )
    try:
        yield running
    finally:
        server.shutdown()


def write(
    folder: Path,
    number: int = 1,
    *,
    sop_class: str = CTImageStorage,
    syntax: str = ExplicitVRLittleEndian,
    data_set: bytes = b"\x08\x00\x60\x00CS\x02\x00CT",
) -> Path:
    meta = file_meta(
        sop_class_uid=sop_class,
        sop_instance_uid=f"1.2.3.{number}",
        transfer_syntax_uid=syntax,
    )
    path = folder / f"{number}.dcm"
    path.write_bytes(meta + data_set)
    return path


def test_files_arrive_byte_for_byte(tmp_path: Path) -> None:
    # Not the encoding that any library would choose: odd order, trailing padding.
    odd = b"\x10\x00\x20\x00LO\x04\x00x   \x08\x00\x60\x00CS\x02\x00CT"
    with peer() as pacs:
        outcomes = send_objects(
            [write(tmp_path, data_set=odd)], pacs.destination, ae_title="NODE"
        )

    assert [(one.is_delivered, one.status, one.reason) for one in outcomes] == [
        (True, 0, "")
    ]
    assert pacs.stored == {"1.2.3.1": odd}


def test_compressed_files_are_sent_compressed(tmp_path: Path) -> None:
    pixels = b"\x08\x00\x60\x00CS\x02\x00CT" + b"\xff" * 64
    paths = [
        write(tmp_path, 1, syntax=JPEG2000, data_set=pixels),
        write(tmp_path, 2),
    ]
    with peer() as pacs:
        outcomes = send_objects(paths, pacs.destination, ae_title="NODE")

    assert all(one.is_delivered for one in outcomes)
    assert pacs.stored["1.2.3.1"] == pixels
    assert pacs.syntaxes == [JPEG2000, ExplicitVRLittleEndian]


@pytest.mark.parametrize(
    ("status", "is_delivered", "reason"),
    [
        (0x0000, True, ""),
        (0xB000, True, "stored, data elements were coerced"),
        (0xB006, True, "stored, elements were discarded"),
        (0xB007, True, "stored, though"),
        (0x0111, True, "it has this instance already"),
        (0xA700, False, "out of resources (0xA700)"),
        (0xA7FF, False, "out of resources (0xA7FF)"),
        (0xA900, False, "data set does not match SOP class (0xA900)"),
        (0xC123, False, "cannot understand (0xC123)"),
        (0x0122, False, "SOP class not supported (0x0122)"),
        (0x0124, False, "not authorized (0x0124)"),
    ],
)
def test_every_status_is_judged(
    tmp_path: Path, status: int, is_delivered: bool, reason: str
) -> None:
    with peer(lambda _event: status) as pacs:
        (outcome,) = send_objects([write(tmp_path)], pacs.destination, ae_title="NODE")

    assert (outcome.is_delivered, outcome.status) == (is_delivered, status)
    assert outcome.reason.startswith(reason)
    # Busy, or not set up for us yet, passes; the others are about the instance.
    assert outcome.is_refused == (status in {0xA900, 0xC123, 0x0122})


def test_one_refusal_does_not_stop_the_others(tmp_path: Path) -> None:
    def answer(event: evt.Event) -> int:
        return 0xA700 if event.request.AffectedSOPInstanceUID == "1.2.3.2" else 0

    seen: list[SendOutcome] = []
    with peer(answer) as pacs:
        outcomes = send_objects(
            [write(tmp_path, number) for number in (1, 2, 3)],
            pacs.destination,
            ae_title="NODE",
            on_outcome=seen.append,
        )

    assert [one.is_delivered for one in outcomes] == [True, False, True]
    assert tuple(seen) == outcomes


def test_more_than_128_contexts_take_several_associations(tmp_path: Path) -> None:
    classes = [str(one.abstract_syntax) for one in AllStoragePresentationContexts][:130]
    paths = [
        write(tmp_path, number, sop_class=uid) for number, uid in enumerate(classes, 1)
    ]
    with peer(contexts={uid: [ExplicitVRLittleEndian] for uid in classes}) as pacs:
        outcomes = send_objects(paths, pacs.destination, ae_title="NODE")

    assert all(one.is_delivered for one in outcomes)
    assert pacs.associations == [128, 2]


def test_what_a_peer_does_not_accept_is_named(tmp_path: Path) -> None:
    paths = [write(tmp_path, 1), write(tmp_path, 2, syntax=JPEG2000)]
    with peer(contexts={CTImageStorage: [ExplicitVRLittleEndian]}) as pacs:
        outcomes = send_objects(paths, pacs.destination, ae_title="NODE")
        none = send_objects(paths[1:], pacs.destination, ae_title="NODE")

    assert [one.is_delivered for one in outcomes] == [True, False]
    assert outcomes[1].reason == (
        "it does not accept CT Image Storage as JPEG 2000 Image Compression"
    )
    assert none[0].reason == "it accepts none of the presentation contexts"
    assert [one.is_refused for one in (*outcomes, *none)] == [False, True, True]


def test_a_destination_that_is_not_there_cannot_be_reached(tmp_path: Path) -> None:
    nobody = DicomPeer(name="x", ae_title="X", host="127.0.0.1", port=free_port())

    outcomes = send_objects(
        [write(tmp_path, 1), write(tmp_path, 2)], nobody, ae_title="NODE"
    )

    assert [one.reason for one in outcomes] == ["it cannot be reached"] * 2
    assert not any(one.is_refused for one in outcomes)
    with pytest.raises(AssociationRefusedError, match="cannot be reached"):
        echo(nobody, ae_title="NODE")


def test_a_rejection_gives_its_reason(tmp_path: Path) -> None:
    with peer(require_calling="OTHER") as pacs:
        (outcome,) = send_objects([write(tmp_path)], pacs.destination, ae_title="NODE")

    assert outcome.reason.startswith("it rejected the association: Calling AE title")


def test_an_abort_leaves_the_rest_undelivered(tmp_path: Path) -> None:
    def answer(event: evt.Event) -> int:
        if event.request.AffectedSOPInstanceUID == "1.2.3.2":
            event.assoc.abort()
        return 0x0000

    with peer(answer) as pacs:
        began = time.monotonic()
        outcomes = send_objects(
            [write(tmp_path, number) for number in (1, 2, 3)],
            pacs.destination,
            ae_title="NODE",
        )
        took_s = time.monotonic() - began

    # Not after the time limit of an answer, two minutes.
    assert took_s < 5

    assert [one.is_delivered for one in outcomes] == [True, False, False]
    assert outcomes[2].status is None


def test_an_answer_that_does_not_come_is_a_failure(tmp_path: Path) -> None:
    def answer(_event: evt.Event) -> int:
        time.sleep(2.0)
        return 0x0000

    with peer(answer) as pacs:
        (outcome,) = send_objects(
            [write(tmp_path)], pacs.destination, ae_title="NODE", timeouts=QUICK
        )

    assert (outcome.is_delivered, outcome.status) == (False, None)
    assert outcome.reason == "it did not answer in time, or aborted"


def test_a_file_that_is_no_dicom_file_is_an_outcome(tmp_path: Path) -> None:
    text = tmp_path / "readme.txt"
    text.write_text("hello")
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(bytes(128) + b"DICM")
    gone = Sendable(tmp_path / "gone.dcm", CTImageStorage, "1.2", "1.2.840.10008.1.2.1")

    with peer() as pacs:
        outcomes = send_objects(
            [text, bare, gone, write(tmp_path)], pacs.destination, ae_title="NODE"
        )

    assert [one.is_delivered for one in outcomes] == [False, False, False, True]
    assert outcomes[0].reason == "it is not a DICOM file"
    assert outcomes[2].reason == "the file cannot be read"


def test_echo_is_quiet_when_the_peer_answers() -> None:
    with peer() as pacs:
        echo(pacs.destination, ae_title="NODE")


def test_echo_tells_a_status_that_is_not_success() -> None:
    with (
        peer(echo_status=0x0110) as pacs,
        pytest.raises(StoreRefusedError, match="0x0110"),
    ):
        echo(pacs.destination, ae_title="NODE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PACS@10.0.0.1:104", ("PACS", "10.0.0.1", 104)),
        ("MY PACS@pacs.example:11112", ("MY PACS", "pacs.example", 11112)),
        ("A@B@host:1", ("A@B", "host", 1)),
        ("PACS@[::1]:104", ("PACS", "::1", 104)),
    ],
)
def test_a_destination_is_ae_title_host_and_port(
    text: str, expected: tuple[str, str, int]
) -> None:
    found = parse_destination(text)

    assert (found.ae_title, found.host, found.port) == expected


@pytest.mark.parametrize(
    "text",
    ["PACS", "PACS@host", "@host:1", "PACS@host:0", "PACS@host:x", "A" * 17 + "@h:1"],
)
def test_other_destinations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_destination(text)
