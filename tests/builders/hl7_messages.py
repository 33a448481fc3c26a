"""HL7 messages for tests, as radiology systems send them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["CONTROL_ID", "escaped", "make_oru", "obx"]

CONTROL_ID = "MSG0001"


def escaped(text: str) -> str:
    """Escape a text for a field, by the letter of chapter 2.7."""
    table = {
        "|": "\\F\\",
        "^": "\\S\\",
        "&": "\\T\\",
        "~": "\\R\\",
        "\\": "\\E\\",
        "\n": "\\.br\\",
    }
    return "".join(table.get(one, one) for one in text)


def obx(value: str, *, code: str = "", kind: str = "TX", status: str = "F") -> str:
    """Write an observation; its value is put in as it stands."""
    return f"OBX|1|{kind}|{code}|1|{value}||||||{status}"


def make_oru(
    *rows: str,
    msh: dict[int, str] | None = None,
    pid3: str = "4711^^^HOSP^MR",
    obr: dict[int, str] | None = None,
    orc: dict[int, str] | None = None,
    extra: Sequence[str] = (),
    end: str = "\r",
) -> str:
    """Write an ORU^R01 with one order; dictionaries give fields by their number."""
    header = {
        3: "RIS",
        4: "HOSPITAL",
        5: "NODE",
        6: "RADIOLOGY",
        7: "20260101120000",
        9: "ORU^R01^ORU_R01",
        10: CONTROL_ID,
        11: "P",
        12: "2.5.1",
    } | (msh or {})
    segments = [
        "MSH|^~\\&|" + "|".join(header.get(n, "") for n in range(3, max(header) + 1)),
        f"PID|1||{pid3}||DOE^JANE||19700101|F",
    ]
    if orc:
        segments.append(_segment("ORC", orc))
    request = {1: "1", 3: "ACC1", 4: "CTCH^CT CHEST", 25: "F"} | (obr or {})
    segments.append(_segment("OBR", request))
    segments += [*rows, *extra]
    return end.join(segments) + end


def _segment(name: str, fields: dict[int, str]) -> str:
    return f"{name}|" + "|".join(fields.get(n, "") for n in range(1, max(fields) + 1))
