"""Answers to HL7 messages: MSH, MSA and ERR (HL7 v2 chapter 2.9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.hl7.message import Message
from dicom_node.identity import MODEL_NAME

__all__ = ["Acknowledgement", "Kind", "codes_to_send", "make_acknowledgement"]

_MAX_ECHO = 250
"""Characters of a field of the sender that are given back."""


class Kind(StrEnum):
    """How a message went: the second letter of MSA-1 (table 0008)."""

    ACCEPT = "A"
    ERROR = "E"
    """Something is wrong with its content, or with the node: it may be sent again."""
    REJECT = "R"
    """The node does not take such messages."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What is said about a message; the text never quotes it."""

    kind: Kind
    text: str = ""
    code: int = 0
    """Table 0357."""
    field: str = ""
    """Where it is, such as ``OBR-18``."""


def codes_to_send(header: Message | None, kind: Kind) -> tuple[str, ...]:
    """Return the codes (MSA-1) of the answers that the sender asks for, in order.

    Without MSH-15 and MSH-16 (original mode) it is one application answer. With
    either (enhanced mode) ``AL``, ``SU``, ``ER`` and ``NE`` say when it wants a commit
    and an application answer. A message that is not accepted is answered once: after
    a commit that failed there is nothing for an application to answer.
    """
    commit = application = ""
    if header is not None:
        commit = header.header.component(15).upper()
        application = header.header.component(16).upper()
    if not commit and not application:
        return (f"A{kind}",)
    is_good = kind is Kind.ACCEPT
    wanted = {"AL", "SU" if is_good else "ER"}
    answers = []
    if commit in wanted:
        answers.append(f"C{kind}")
    if application in wanted:
        answers.append(f"A{kind}")
    return tuple(answers if is_good else answers[:1])


def make_acknowledgement(
    message: Message | None,
    answer: Acknowledgement,
    *,
    code: str,
    control_id: str,
    moment: datetime,
) -> str:
    """Write an ACK.

    Parameters
    ----------
    message : Message, optional
        What is answered: its delimiters, applications, version, processing id,
        character set and control id are given back.
    answer : Acknowledgement
        What is said.
    code : str
        MSA-1.
    control_id : str
        MSH-10 of the answer.
    moment : datetime
        MSH-7.

    """
    header = _Echo(message)
    encoding = header(2) or "^~\\&"
    sep, component, sub = _delimiters(message)
    version = header(12) or "2.5"
    event = "" if message is None else message.kind[1]
    kind = component.join(filter(None, ("ACK", event)))
    if event and not _is_old(version):
        kind = component.join((kind, "ACK"))
    msh = [
        "MSH",
        encoding,
        header(5) or MODEL_NAME,
        header(6),
        header(3),
        header(4),
        moment.strftime("%Y%m%d%H%M%S%z"),
        "",
        kind,
        control_id,
        header(11) or "P",
        version,
        *("",) * 5,
        header(18),
    ]
    segments = [
        sep.join(msh).rstrip(sep),
        sep.join(("MSA", code, header(10), answer.text)).rstrip(sep),
    ]
    if answer.kind is not Kind.ACCEPT:
        segments.append(_error(answer, version, sep, component, sub))
    return "\r".join(segments) + "\r"


class _Echo:
    """Gives fields of a header back as they stand, unless they are very long."""

    def __init__(self, message: Message | None) -> None:
        self._message = message

    def __call__(self, number: int) -> str:
        if self._message is None:
            return ""
        raw = self._message.header.raw(number)
        return raw if len(raw) <= _MAX_ECHO else ""


def _is_old(version: str) -> bool:
    """Whether a version is before 2.5, where ERR changed."""
    return version[:3] in {"2", "2.0", "2.1", "2.2", "2.3", "2.4"}


def _error(
    answer: Acknowledgement, version: str, sep: str, component: str, sub: str
) -> str:
    segment, _, number = answer.field.partition("-")
    code = str(answer.code or 207)
    if _is_old(version):
        # ELD: segment, sequence, field, code of the error.
        place = component.join((segment, "1" if segment else "", number))
        coded = sub.join((code, answer.text, "HL70357"))
        return sep.join(("ERR", component.join((place, coded))))
    place = component.join((segment, "1", number)) if segment else ""
    coded = component.join((code, answer.text, "HL70357"))
    place = place.rstrip(component)
    return sep.join(("ERR", "", place, coded, "E", "", "", "", answer.text))


def _delimiters(message: Message | None) -> tuple[str, str, str]:
    """Return the delimiters of field, component and sub-component to answer with."""
    if message is None:
        return "|", "^", "&"
    one = message.delimiters
    return one.field, one.component, one.subcomponent
