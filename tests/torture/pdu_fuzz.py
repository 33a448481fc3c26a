"""Broken associations, from a seed: valid PDUs that are mutated with their structure.

Half of the strength lies in what stays right: a mutation deep inside a request is
reached only when everything before it is well formed.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

from conformance.commitment import STORAGE_COMMITMENT_SOP_CLASS_UID
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    VERIFICATION,
    command_set,
    encode_data_set,
    item,
    make_instance,
    p_data,
)

__all__ = [
    "make_command",
    "make_request_body",
    "make_script",
    "mutate",
    "mutate_list",
]

_UIDS = (
    CT_IMAGE_STORAGE,
    VERIFICATION,
    STORAGE_COMMITMENT_SOP_CLASS_UID,
    "1.2.840.10008.5.1.4.1.1.4",
    IMPLICIT_LITTLE,
    EXPLICIT_LITTLE,
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.3.1.1.1",
    "",
    "1.2." + "3" * 70,
    "../../etc/passwd",
    "1.2\n3",
    "\xff\xfe",
)
_NUMBERS = (0, 1, 2, 3, 5, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
_LONG_NUMBERS = (*_NUMBERS, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, 0xFFFFFFFF)
_FIELDS = (0x0001, 0x0030, 0x0100, 0x0130, 0x0FFF, 0x8001, 0x8100, 0x0020, 0xFFFF)
_DATA_SET = encode_data_set(make_instance("1.2.3.4"))
_RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"
_ABORT = b"\x07\0\0\0\0\x04\0\0\0\0"


def make_request_body(rng: random.Random) -> bytes:
    """Make the body of an A-ASSOCIATE-RQ whose items are odd (PS3.8 9.3.2)."""
    body = struct.pack(">HH", rng.choice((1, 1, 1, 0, 3, 0xFFFF)), 0)
    body += _title(rng, b"GROUNDING") + _title(rng, b"FUZZ") + bytes(32)
    items = [item(0x10, b"1.2.840.10008.3.1.1.1")]
    count = 130 if rng.random() < 0.02 else rng.choice((1, 1, 2, 3, 8))
    items += [_context(rng, number) for number in range(count)]
    items.append(item(0x50, b"".join(_user_items(rng))))
    if rng.random() < 0.3:
        items = mutate_list(rng, items)
    body += b"".join(items)
    return mutate(rng, body) if rng.random() < 0.5 else body


def make_command(rng: random.Random) -> bytes:
    """Make a command set whose elements are odd (PS3.7 6.3)."""
    command = command_set(
        rng.choice(_FIELDS),
        sop_class=rng.choice(_UIDS),
        sop_instance=rng.choice(_UIDS),
        message_id=rng.choice(_NUMBERS),
        has_data_set=rng.random() < 0.7,
    )
    return mutate(rng, command) if rng.random() < 0.7 else command


def make_script(rng: random.Random) -> list[bytes]:
    """Make what a hostile caller sends in one connection, piece by piece."""
    if rng.random() < 0.25:
        body = make_request_body(rng)
        script = [_pdu(1, body)]
    else:
        script = [_good_request()]
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        script.append(_step(rng))
    if rng.random() < 0.4:
        script.append(rng.choice((_RELEASE, _ABORT)))
    if rng.random() < 0.6:
        script = mutate_list(rng, script)
    if script and rng.random() < 0.6:
        at = rng.randrange(len(script))
        script[at] = mutate(rng, script[at])
    return script


def _good_request() -> bytes:
    contexts = b"".join(
        item(
            0x20,
            bytes((number, 0, 0, 0))
            + item(0x30, abstract.encode())
            + item(0x40, EXPLICIT_LITTLE.encode())
            + item(0x40, IMPLICIT_LITTLE.encode()),
        )
        for number, abstract in ((1, CT_IMAGE_STORAGE), (3, VERIFICATION))
    )
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3")
    body = struct.pack(">HH", 1, 0) + b"GROUNDING".ljust(16) + b"FUZZ".ljust(16)
    body += bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts
    return _pdu(1, body + item(0x50, user))


def _step(rng: random.Random) -> bytes:
    """One request, or something else in its place."""
    kind = rng.randrange(8)
    if kind == 0:
        return _pdu(
            rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0xFF)), rng.randbytes(9)
        )
    if kind == 1:
        echo = command_set(0x30, sop_class=VERIFICATION, has_data_set=False)
        return p_data(echo, is_command=True, context_id=3)
    context_id = rng.choice((1, 1, 1, 1, 3, 5, 0, 255))
    command = make_command(rng) if kind < 5 else command_set(1, sop_instance="1.2.3.4")
    data = _DATA_SET if kind < 7 else mutate(rng, _DATA_SET)
    size = rng.choice((16384, 16384, 64, 7))
    return p_data(
        command,
        is_command=True,
        context_id=context_id,
        pdu_bytes=size,
        is_last=rng.random() < 0.95,
    ) + p_data(data, context_id=context_id, pdu_bytes=size, is_last=rng.random() < 0.9)


def _context(rng: random.Random, number: int) -> bytes:
    context_id = 2 * number + 1 if rng.random() < 0.9 else rng.randrange(256)
    inner = [item(0x30, _uid(rng))]
    inner += [
        item(0x40, _uid(rng))
        for _ in range(70 if rng.random() < 0.02 else rng.choice((0, 1, 1, 3)))
    ]
    if rng.random() < 0.1:
        inner = mutate_list(rng, inner)
    return item(0x20, bytes((context_id & 0xFF, 0, 0, 0)) + b"".join(inner))


def _user_items(rng: random.Random) -> list[bytes]:
    uid = _uid(rng)
    role = struct.pack(">H", len(uid)) + uid + rng.randbytes(2)
    made: list[bytes] = [
        item(0x51, struct.pack(">L", rng.choice(_LONG_NUMBERS))),
        item(0x52, uid),
        item(0x53, rng.randbytes(4)),
        item(0x54, role),
        item(0x54, role[: rng.choice((None, None, rng.randrange(len(role))))]),
        item(0x55, rng.randbytes(rng.randrange(20))),
        item(0x56, rng.randbytes(rng.randrange(60))),
        item(0x57, role),
        item(0x58, b"\x02\x01" + struct.pack(">H", 9999) + rng.randbytes(50)),
        item(rng.randrange(256), rng.randbytes(rng.randrange(40))),
    ]
    return rng.sample(made, rng.randrange(len(made)))


def _uid(rng: random.Random) -> bytes:
    return rng.choice(_UIDS).encode("latin-1")


def _title(rng: random.Random, usual: bytes) -> bytes:
    odd = (b"", b"\0" * 16, b"A\x1b[31m", b"\xff" * 16, b"<script>", b"A\nB", b"\\")
    return (usual if rng.random() < 0.9 else rng.choice(odd)).ljust(16)[:16]


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def mutate_list(rng: random.Random, pieces: Sequence[bytes]) -> list[bytes]:
    """Leave out, double, swap, join or cut pieces."""
    changed = list(pieces)
    if not changed:
        return changed
    at, other = rng.randrange(len(changed)), rng.randrange(len(changed))
    kind = rng.randrange(5)
    if kind == 0:
        del changed[at]
    elif kind == 1:
        changed.insert(other, changed[at])
    elif kind == 2:
        changed[at], changed[other] = changed[other], changed[at]
    elif kind == 3:
        changed[at] = changed[at][: rng.randrange(len(changed[at]) + 1)]
    else:
        changed.insert(at, rng.randbytes(rng.randrange(30)))
    return changed


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Change bytes in one to four ways."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if changed:
            rng.choice(_WAYS)(rng, changed)
    return bytes(changed)


def _flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at : at + 4] = rng.randbytes(min(4, len(data) - at))


def _lie_short(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    if at + 2 <= len(data):
        order = rng.choice((">H", "<H"))
        data[at : at + 2] = struct.pack(order, rng.choice(_NUMBERS))


def _lie_long(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    if at + 4 <= len(data):
        order = rng.choice((">L", "<L"))
        data[at : at + 4] = struct.pack(order, rng.choice(_LONG_NUMBERS))


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 16))]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def _double(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 64)]


_WAYS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip,
    _overwrite,
    _lie_short,
    _lie_long,
    _cut,
    _remove,
    _insert,
    _double,
)
