"""Says whether a FHIR resource is valid, and of which release."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from dicom_node.errors import ReportRefusedError

__all__ = ["release_of", "validated"]

Resource = dict[str, Any]

_PACKAGES = {"R5": "fhir.resources", "R4": "fhir.resources.R4B"}
"""R4B differs from R4 in nothing that a DiagnosticReport or its parts have."""

_R5_ONLY = frozenset({"study", "note", "supportingInfo"})
_R4_ONLY = frozenset({"imagingStudy"})

_VERSIONS = {"4": "R4", "5": "R5"}


def release_of(content_type: str) -> str | None:
    """Return the release that a content type names: R4, R5, or None.

    ``application/fhir+json; fhirVersion=5.0`` (FHIR R5, HTTP 3.2.0.1).

    Raises
    ------
    ReportRefusedError
        It names another release.

    """
    named = re.search(r";\s*fhirVersion\s*=\s*\"?([0-9.]+)", content_type)
    if named is None:
        return None
    release = _VERSIONS.get(named[1].split(".")[0])
    if release is None:
        msg = "only FHIR R4 and R5 are taken"
        raise ReportRefusedError(msg, code="not-supported")
    return release


def validated(data: bytes, *, kinds: Sequence[str], release: str | None) -> Resource:
    """Return a resource as JSON values, once it is known to be valid.

    Parameters
    ----------
    data : bytes
        JSON, in UTF-8.
    kinds : sequence of str
        The resource types that are taken.
    release : {"R4", "R5"}, optional
        What it must be valid for; None: either.

    Raises
    ------
    ReportRefusedError
        It is no such resource. ``at`` is the first element that is wrong; nothing
        of its value is told.

    """
    try:
        resource = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        msg = "the body is not JSON in UTF-8"
        raise ReportRefusedError(msg, code="structure") from error
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        msg = f"only these resources are taken: {', '.join(kinds)}"
        raise ReportRefusedError(msg, code="not-supported", at="resourceType")
    first: ValidationError | None = None
    for one in [release] if release else _candidates(resource):
        model = getattr(
            importlib.import_module(f"{_PACKAGES[one]}.{kind.lower()}"), kind
        )
        try:
            model.model_validate(resource)
        except ValidationError as error:
            first = first or error
        except (RecursionError, ValueError, TypeError, AssertionError) as error:
            # What the models of contained resources let through.
            msg = f"the resource is not a valid {kind}"
            raise ReportRefusedError(msg, code="structure", at=kind) from error
        else:
            return dict(resource)
    if first is None:
        raise AssertionError
    where = first.errors(include_input=False, include_url=False)[0]
    # The last step to an element that is none is the sender's own word.
    steps = where["loc"][: -1 if where["type"] == "extra_forbidden" else None]
    path = ".".join(str(part) for part in steps if _is_name(part))
    msg = f"the resource is not a valid {kind}: {where['type']}"
    raise ReportRefusedError(
        msg, code="structure", at=f"{kind}.{path}".rstrip(".")
    ) from first


def _candidates(resource: dict[str, Any]) -> list[str]:
    """Return the releases to try, the likely one first."""
    entries = resource.get("entry")
    reports: list[object] = [resource]
    for one in entries if isinstance(entries, list) else ():
        reports += [one.get("resource")] if isinstance(one, dict) else []
    names = {name for one in reports if isinstance(one, dict) for name in one}
    if names & _R4_ONLY:
        return ["R4"]
    return ["R5"] if names & _R5_ONLY else ["R5", "R4"]


def _is_name(part: object) -> bool:
    """Whether a step of a path is an element's name or index, not a sender's word."""
    return (
        isinstance(part, int) or re.fullmatch(r"[A-Za-z]{1,40}", str(part)) is not None
    )
