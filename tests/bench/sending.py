"""A lean sender in a process of its own: all is encoded before the clock starts.

``python -m tests.bench.sending PORT WHAT [options]`` prints one line of JSON. Each call
draws its own study, so that the same receiver never gets an instance twice.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from pydicom.dataset import Dataset

from tests.bench.ceiling import LENGTH
from tests.bench.usage import cpu_seconds
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    associate_request,
    command_set,
    encode_data_set,
    p_data,
)

__all__ = ["CALLED", "Answers"]

CALLED = "GROUNDING"
"""AE title of whoever receives."""

Answers = dict[str, float]

_VERIFICATION = "1.2.840.10008.1.1"
_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"
_MAX_PDU_BYTES = 131_072
_SUCCESS = struct.pack("<HHLH", 0, 0x0900, 2, 0)
_GROUP_LENGTH_BYTES = 12
_RELEASE = bytes.fromhex("05000000000400000000")
_ROWS_OF_A_FRAME = 512


class _Connection:
    """An association with one context, and how long it took to open."""

    def __init__(self, port: int, sop_class: str, *, holds_back: bool = False) -> None:
        syntax = IMPLICIT_LITTLE if sop_class == _VERIFICATION else EXPLICIT_LITTLE
        request = associate_request([(1, sop_class, [syntax])], called=CALLED)
        began = time.perf_counter()
        self.socket = _connect(port, holds_back=holds_back)
        self.socket.sendall(request)
        kind, accepted = self.receive()
        self.seconds = time.perf_counter() - began
        if kind != 2:
            msg = f"the association was answered by a PDU of type {kind}"
            raise ConnectionRefusedError(msg)
        self.pdu_bytes = min(_peer_limit(accepted) or _MAX_PDU_BYTES, _MAX_PDU_BYTES)

    def receive(self) -> tuple[int, bytes]:
        """Return the type and body of the next PDU."""
        head = _receive(self.socket, 6)
        return head[0], _receive(self.socket, int.from_bytes(head[2:], "big"))

    def release(self) -> None:
        self.socket.sendall(_RELEASE)
        self.receive()
        self.socket.close()


def main() -> None:
    """Send what is asked for and tell how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument(
        "what", choices=("store", "ceiling", "echo", "associate", "idle")
    )
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--pixel-bytes", type=int, default=0)
    parser.add_argument(
        "--holds-back",
        type=int,
        default=0,
        help="1: with Nagle's algorithm, and command and data set written apart",
    )
    parser.add_argument("--pid", type=int, help="whose CPU time is told (idle)")
    asked = parser.parse_args()
    told: Answers
    if asked.what == "echo":
        told = _echo(asked.port, asked.count)
    elif asked.what == "associate":
        told = _associate(asked.port, asked.count)
    elif asked.what == "idle":
        told = _idle(asked.port, asked.associations, pid=asked.pid, seconds=asked.count)
    else:
        told = _store(asked, is_dicom=asked.what == "store")
    print(json.dumps(told))


def _store(asked: argparse.Namespace, *, is_dicom: bool) -> Answers:
    make, sop_class = _make_instances(asked.pixel_bytes)
    pdu_bytes = _MAX_PDU_BYTES
    if is_dicom:
        probe = _Connection(asked.port, sop_class)
        pdu_bytes = probe.pdu_bytes
        probe.release()
    messages: list[tuple[bytes, ...]] = []
    for number in range(asked.count):
        uid, data = make(number)
        if not is_dicom:
            messages.append((LENGTH.pack(len(data)) + data,))
            continue
        command = p_data(
            _store_request(sop_class, uid, number % 65535 + 1), is_command=True
        )
        encoded = p_data(data, pdu_bytes=pdu_bytes)
        messages.append(
            (command, encoded) if asked.holds_back else (command + encoded,)
        )
    spans: list[tuple[float, float]] = []
    waits: list[float] = []
    together = threading.Barrier(asked.associations)
    failures: list[Exception] = []

    holds_back = bool(asked.holds_back)

    def send(part: Sequence[tuple[bytes, ...]]) -> None:
        try:
            one = None
            if is_dicom:
                one = _Connection(asked.port, sop_class, holds_back=holds_back)
            plain = one.socket if one else _connect(asked.port)
            responses = []
            together.wait()
            began = before = time.perf_counter()
            for message in part:
                for piece in message:
                    plain.sendall(piece)
                responses.append(one.receive()[1] if one else _receive(plain, 1))
                now = time.perf_counter()
                waits.append(now - before)
                before = now
            spans.append((began, before))
            if one is not None:
                one.release()
                _check(responses)
        except Exception as error:  # noqa: BLE001 - raised by who waits
            failures.append(error)
            together.abort()

    threads = [
        threading.Thread(target=send, args=(messages[first :: asked.associations],))
        for first in range(asked.associations)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {
        "seconds": max(end for _, end in spans) - min(begin for begin, _ in spans),
        "bytes": sum(len(piece) for message in messages for piece in message),
        "count": len(waits),
        "median_ms": statistics.median(waits) * 1e3,
        "p95_ms": sorted(waits)[int(0.95 * len(waits))] * 1e3,
    }


def _store_request(sop_class: str, sop_instance: str, message_id: int) -> bytes:
    """Encode a C-STORE-RQ, PS3.7 9.3.1.1, with the priority that some insist on."""
    plain = command_set(
        1, sop_class=sop_class, sop_instance=sop_instance, message_id=message_id
    )[_GROUP_LENGTH_BYTES:]
    at = plain.rindex(struct.pack("<HHL", 0, 0x0800, 2))
    body = plain[:at] + struct.pack("<HHLH", 0, 0x0700, 2, 0) + plain[at:]
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _check(responses: Sequence[bytes]) -> None:
    refused = sum(_SUCCESS not in response for response in responses)
    if refused:
        msg = f"{refused} of {len(responses)} instances were refused"
        raise AssertionError(msg)


def _make_instances(
    pixel_bytes: int,
) -> tuple[Callable[[int], tuple[str, bytes]], str]:
    """Return what makes the UID and the data set of an instance, and their class.

    A CT image of a file's size; more than 64 MiB of pixels are frames of one instance.
    """
    root = f"1.2.826.0.1.3680043.10.511.{10**14 + secrets.randbelow(10**14)}"
    is_large = pixel_bytes > 1 << 26
    columns = _ROWS_OF_A_FRAME if pixel_bytes >= 1 << 19 else 100
    sop_class = _MULTI_FRAME if is_large else CT_IMAGE_STORAGE
    first = f"{root}.3.{10**6}"
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, first
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{root}.1", f"{root}.2"
    ds.FrameOfReferenceUID = f"{root}.4"
    ds.PatientName, ds.PatientID, ds.PatientSex = "Bench^Phantom", "BENCH1", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20260101", "120000", ""
    ds.Modality, ds.Manufacturer = "OT" if is_large else "CT", "bench"
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-180, -180, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    rows = pixel_bytes // 2 // columns
    ds.Rows, ds.Columns = (_ROWS_OF_A_FRAME if is_large else rows), columns
    if is_large:
        ds.NumberOfFrames = rows // _ROWS_OF_A_FRAME
        rows = ds.NumberOfFrames * _ROWS_OF_A_FRAME
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 4096, size=(rows, columns), dtype=np.uint16)
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    encoded = encode_data_set(ds)
    at = encoded.index(first.encode())

    def make(number: int) -> tuple[str, bytes]:
        uid = f"{root}.3.{10**6 + number}"
        return uid, encoded[:at] + uid.encode() + encoded[at + len(uid) :]

    return make, sop_class


def _echo(port: int, count: int) -> Answers:
    one = _Connection(port, _VERIFICATION)
    waits = []
    for number in range(count):
        command = command_set(
            0x30, sop_class=_VERIFICATION, message_id=number + 1, has_data_set=False
        )
        message = p_data(command, is_command=True)
        began = time.perf_counter()
        one.socket.sendall(message)
        one.receive()
        waits.append(time.perf_counter() - began)
    one.release()
    return {"seconds": statistics.median(waits)}


def _associate(port: int, count: int) -> Answers:
    waits = []
    for _ in range(count):
        one = _Connection(port, CT_IMAGE_STORAGE)
        waits.append(one.seconds)
        one.release()
    return {"seconds": statistics.median(waits)}


def _idle(port: int, associations: int, *, pid: int, seconds: float) -> Answers:
    """Tell the CPU time of a process without and with open associations."""
    told = {}
    for name, count in (("none_percent", 0), ("open_percent", associations)):
        opened = [_Connection(port, CT_IMAGE_STORAGE) for _ in range(count)]
        time.sleep(0.5)
        before, began = cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        used = cpu_seconds(pid) - before
        told[name] = 100 * used / (time.monotonic() - began)
        for one in opened:
            one.release()
    return told


def _connect(port: int, *, holds_back: bool = False) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port))
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not holds_back)
    return one


def _receive(connection: socket.socket, count: int) -> bytes:
    data = connection.recv(count, socket.MSG_WAITALL)
    if len(data) != count:
        raise ConnectionResetError("the receiver hung up")
    return data


def _peer_limit(accepted: bytes) -> int:
    """Return the maximum length (PS3.8 D.1.1) that an A-ASSOCIATE-AC names."""
    position = 68
    while position < len(accepted):
        kind, length = struct.unpack_from(">BxH", accepted, position)
        position += 4
        if kind == 0x50:
            end = position + length
            while position < end:
                kind, length = struct.unpack_from(">BxH", accepted, position)
                if kind == 0x51:
                    return int.from_bytes(accepted[position + 4 :][:4], "big")
                position += 4 + length
        position += length
    return 0


if __name__ == "__main__":
    main()
