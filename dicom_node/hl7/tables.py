"""The codes of HL7 tables that reports use, and what they say here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dicom_node.records import ReportStatus

__all__ = [
    "OBSERVATION_STATUS",
    "REPORT_SEGMENTS",
    "REPORT_STATUS",
    "SECTION_OF_CODE",
    "STUDY_UID_CODES",
    "WITHDRAWN",
]

_P, _F = ReportStatus.PRELIMINARY, ReportStatus.FINAL
_C, _X = ReportStatus.CORRECTED, ReportStatus.CANCELLED

REPORT_STATUS: Mapping[str, ReportStatus] = MappingProxyType(
    {
        "A": _P,
        "I": _P,
        "M": _P,
        "N": _P,
        "O": _P,
        "P": _P,
        "R": _P,
        "S": _P,
        "F": _F,
        "C": _C,
        "X": _X,
        "Y": _X,
        "Z": _X,
    }
)
"""OBR-25, table 0123."""

OBSERVATION_STATUS: Mapping[str, ReportStatus] = MappingProxyType(
    {
        "B": _P,
        "I": _P,
        "N": _P,
        "O": _P,
        "P": _P,
        "R": _P,
        "S": _P,
        "F": _F,
        "U": _F,
        "V": _F,
        "A": _C,
        "C": _C,
        "D": _X,
        "W": _X,
        "X": _X,
    }
)
"""OBX-11, table 0085."""

WITHDRAWN = frozenset(
    code for code, status in OBSERVATION_STATUS.items() if status is _X
)
"""OBX-11 of a row that does not count: deleted, wrong, not to be had."""

REPORT_SEGMENTS = frozenset(
    [
        "MSH",
        "SFT",
        "UAC",
        "ARV",
        "PID",
        "PD1",
        "PRT",
        "NK1",
        "OH1",
        "OH2",
        "OH3",
        "OH4",
        "PV1",
        "PV2",
        "ROL",
        "DB1",
        "ORC",
        "OBR",
        "OBX",
        "NTE",
        "TQ1",
        "TQ2",
        "CTD",
        "CTI",
        "FT1",
        "SPM",
        "SAC",
        "SID",
        "IPC",
        "DEV",
        "PRB",
        "AL1",
        "IAM",
        "DG1",
        "DRG",
        "PR1",
        "GT1",
        "ACC",
        "IN1",
        "IN2",
        "IN3",
        "BLG",
        "RXE",
        "EVN",
        "MRG",
        "PEO",
        "PCR",
        "PSH",
        "PDC",
        "CSR",
        "CSP",
        "CSS",
        "DSC",
        "BTS",
        "FTS",
        "MSA",
        "ERR",
    ]
)
"""Names that begin a segment of an ORU in versions 2.1 to 2.8.2, or in what senders
add to it; so does Z with two more. Another name after a text is text."""

STUDY_UID_CODES = frozenset(
    {"STUDY INSTANCE UID", "STUDYINSTANCEUID", "STUDY UID", "110180", "113014"}
)
"""OBX-3 of a row that holds the Study Instance UID: 110180 and 113014 are DCM, the
latter in IHE RAD-128."""

SECTION_OF_CODE: Mapping[str, str] = MappingProxyType(
    {
        # Suffixes of OBX-3 (chapter 7.1.4).
        "GDT": "FINDINGS",
        "IMP": "IMPRESSION",
        "ADT": "ADDENDUM",
        "REC": "RECOMMENDATION",
        # LOINC.
        "11329-0": "HISTORY",
        "18782-3": "FINDINGS",
        "18783-1": "RECOMMENDATION",
        "18785-6": "INDICATION",
        "18834-2": "COMPARISON",
        "19005-8": "IMPRESSION",
        "55107-7": "ADDENDUM",
        "55109-3": "COMPLICATIONS",
        "55110-1": "CONCLUSIONS",
        "55111-9": "TECHNIQUE",
        "55114-3": "COMPARISON",
        "55115-0": "REQUEST",
        "55752-0": "CLINICAL INFORMATION",
        "59768-2": "INDICATION",
        "59776-5": "FINDINGS",
        # DCM, CID 7001.
        "121060": "HISTORY",
        "121062": "REQUEST",
        "121064": "TECHNIQUE",
        "121066": "COMPARISON",
        "121068": "PREVIOUS FINDINGS",
        "121070": "FINDINGS",
        "121072": "IMPRESSION",
        "121074": "RECOMMENDATION",
        "121076": "CONCLUSIONS",
        "121078": "ADDENDUM",
        "121109": "INDICATION",
        "121110": "PATIENT PRESENTATION",
        "121111": "SUMMARY",
    }
)
"""OBX-3 to the heading that the section splitter knows (`reports.sections`)."""
