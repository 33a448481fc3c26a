"""The requests (OBR) of a message, each with its patient and its observations."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.hl7.message import Message, Segment

__all__ = ["Request", "read_requests"]

_MAX_IDENTIFIERS = 20
"""Of one patient."""

_BEST_FIRST = {"MR": 0, "PI": 1}
"""Table 0203: the medical record number, the institution's own number."""


@dataclass
class Request:
    """An OBR with what belongs to it."""

    request: Segment
    common: Segment | None
    patient: Segment | None
    """The PID before it."""
    observations: list[Segment] = field(default_factory=list)
    others: dict[str, Segment] = field(default_factory=dict)

    def segment(self, name: str) -> Segment | None:
        """Return a segment of it by its name."""
        if name == "OBR":
            return self.request
        return self.common if name == "ORC" else self.others.get(name)

    def value(self, place: str) -> str:
        """Return a field's first component, by its name such as ``OBR-18``."""
        name, _, number = place.partition("-")
        segment = self.segment(name)
        return "" if segment is None else segment.component(int(number))

    @property
    def procedure(self) -> str:
        """What is examined (OBR-4), in words where it has some."""
        text = self.request.component(4, 2) or self.request.component(4)
        return " ".join(text.split())

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """PID-3, the medical record number first; version 2.2 has it in PID-2."""
        if self.patient is None:
            return ()
        found: list[tuple[int, str]] = []
        for one in self.patient.each(3):
            parts = [*one, *[""] * 5]
            value = parts[0].partition(self.patient.delimiters.subcomponent)[0]
            if value and value != '""':
                found.append((_BEST_FIRST.get(parts[4].upper(), 2), value))
        ordered = [value for _, value in sorted(found, key=lambda one: one[0])]
        ordered = ordered or [self.patient.component(2)]
        return tuple(dict.fromkeys(filter(None, ordered)))[:_MAX_IDENTIFIERS]


def read_requests(message: Message) -> list[Request]:
    """Return the requests of a message, in its order.

    Each is of the patient in the PID before it: the group PATIENT_RESULT of ORU_R01
    may come several times, each with a patient of its own.
    """
    requests: list[Request] = []
    common: Segment | None = None
    patient: Segment | None = None
    current: Request | None = None
    for segment in message.segments:
        if segment.name == "PID":
            patient, common, current = segment, None, None
        elif segment.name == "ORC":
            common = segment
        elif segment.name == "OBR":
            current = Request(segment, common, patient)
            requests.append(current)
            common = None
        elif current is not None and segment.name == "OBX":
            current.observations.append(segment)
        elif current is not None:
            current.others.setdefault(segment.name, segment)
    return requests
