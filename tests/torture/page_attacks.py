"""Puts scripts where patients, peers and people write, and opens the pages."""

from __future__ import annotations

import re

import httpx

from tests.builders.page import drive_page
from tests.torture.canary import PATIENT
from tests.torture.canary_node import PASSWORD, CanaryNode
from tests.torture.canary_patient import make_study
from tests.torture.outcome import Figure, at_least, at_most

__all__ = ["attack_pages"]

_PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)>",
    '"><script>alert(4)</script>',
    "'><img src=x onerror=alert(5)>",
    "<body onload=alert(6)>",
    "<iframe src=javascript:alert(7)>",
    "<a href=javascript:alert(8)>x</a>",
    "<details open ontoggle=alert(9)>",
    "<input autofocus onfocus=alert(10)>",
    "</title><script>alert(11)</script>",
    "</script><script>alert(12)</script>",
    "<math><mi xlink:href=javascript:alert(13)>",
    "<iframe srcdoc='<script>alert(14)</script>'>",
    "<marquee onstart=alert(15)>",
    "<object data=javascript:alert(16)>",
    "javascript:alert(17)//",
    "<base href=//evil.example/><!--18-->",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "{{constructor.constructor('alert(20)')()}}${alert(20)}`",
)

_ELEMENTS = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyDescription",
    "SeriesDescription",
    "StudyID",
    "InstitutionName",
    "ReferringPhysicianName",
    "StationName",
    "PatientComments",
    "ProtocolName",
    "WindowCenterWidthExplanation",
)

_AE_TITLE = "<svg onload=a()>"
"""16 characters: as many as an AE title has."""

_POLICY = {
    "content-security-policy": ("default-src 'self'", "frame-ancestors 'none'"),
    "x-content-type-options": ("nosniff",),
    "referrer-policy": ("same-origin",),
    "x-frame-options": ("DENY",),
    "cross-origin-opener-policy": ("same-origin",),
}


def attack_pages(node: CanaryNode, *, studies: int) -> list[Figure]:
    """Send studies, each with a payload of its own everywhere, and open their pages."""
    uids = []
    for number, payload in enumerate(_payloads(studies)):
        study = make_study(
            node.folder / f"attack-{number}",
            100 + number,
            texts=dict.fromkeys(_ELEMENTS, payload)
            | {"WindowCenter": "40", "WindowWidth": "400"},
            report=f"The liver {payload} is enlarged. The spleen \u202e is {payload}.",
        )
        assert all(node.send(*study.files, ae_title=_AE_TITLE))
        uids.append(study.uid)
    for uid in uids:
        node.wait_for(uid, "done")
        _comment(node, uid)
    seen = drive_page(
        {
            "url": node.url,
            "password": PASSWORD,
            "studies": uids,
            "payloads": list(_payloads(studies)),
        },
        folder=node.folder / "pictures",
        driver="page-attack.mjs",
    )
    for one in (*seen["ran"], *seen["markup"], *seen["blocked"]):
        print(f"page: {one}")
    stored = [one for one in seen["storage"] if re.search(f"{PATIENT}|session", one)]
    return [
        at_least("payloads that were shown as text", len(seen["shown"]), studies),
        at_least("pages that were opened", seen["pages"], studies),
        at_most("payloads that ran", len(seen["ran"]), 0),
        at_most("payloads that became markup", len(seen["markup"]), 0),
        at_most("blocked by the policy alone", len(seen["blocked"]), 0),
        at_most("secrets that scripts can read", len(stored) + bool(seen["cookie"]), 0),
        at_most("pages that scroll sideways", len(seen["sideways"]), 0),
        at_most("answers without a policy", _unguarded(node, uids), 0),
    ]


def _payloads(count: int) -> tuple[str, ...]:
    return _PAYLOADS[:: len(_PAYLOADS) // count][:count]


def _comment(node: CanaryNode, uid: str) -> None:
    payload = _PAYLOADS[1]
    with node.client("eve") as client:
        detail = client.get(f"/studies/{uid}").json()
        regions = [one for phrase in detail["phrases"] for one in phrase["regions"]]
        for region in regions[:1]:
            path = f"/studies/{uid}/regions/{region['tracking_uid']}/corrections"
            answer = client.post(path, json={"action": "accept", "comment": payload})
            assert answer.status_code == 201, answer.text


def _unguarded(node: CanaryNode, uids: list[str]) -> int:
    """Count answers whose headers let a page do more than it must."""
    paths = ["/", "/sign-in", "/operations", "/studies", "/nothing", "/metrics"]
    paths += [f"/view/{uids[0]}", f"/studies/{uids[0]}", "/fhir/metadata", "/changes/x"]
    bad = 0
    for name in (None, "eve"):
        with node.client(name) as client:
            for path in paths:
                bad += _is_unguarded(client.get(path))
    return bad


def _is_unguarded(answer: httpx.Response) -> bool:
    policy = answer.headers.get("content-security-policy", "")
    is_missing = any(
        word not in answer.headers.get(name, "")
        for name, words in _POLICY.items()
        for word in words
    )
    return is_missing or "unsafe" in policy or "*" in policy
