"""OperationOutcome: how FHIR says that something went wrong."""

from __future__ import annotations

from typing import Any

from dicom_node.errors import NodeError

__all__ = ["operation_outcome"]


def operation_outcome(
    error: NodeError | str, *, code: str = "invalid"
) -> dict[str, Any]:
    """Return an OperationOutcome (FHIR R4 and R5) with one issue.

    Parameters
    ----------
    error : NodeError or str
        What happened; it quotes nothing of the request. Its facts ``code`` and ``at``
        say the kind of the issue and the element.
    code : str
        Kind of the issue (value set ``issue-type``) when the error does not say.

    """
    issue: dict[str, Any] = {
        "severity": "error",
        "code": code,
        "diagnostics": str(error),
    }
    if isinstance(error, NodeError):
        issue["code"] = str(error.facts.get("code", code))
        if at := error.facts.get("at"):
            issue["expression"] = [str(at)]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
