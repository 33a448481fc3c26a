"""Calls every operation of the REST interface as its document allows, and not."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.torture.canary_node import PASSWORD, PEOPLE, CanaryNode
from tests.torture.outcome import Figure, at_least, at_most

__all__ = ["Sessions", "call_everything"]

_CHECKS = (
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
    content_type_conformance,
)

_ENDLESS = frozenset({"/changes"})
"""A stream: its answer has no end."""

_HALTING = frozenset({"/operations/drain", "/operations/pause"})
"""What an administrator stops by them is what the other calls are for."""

_SENDERS = 4
"""Calls at once: most of the time of a call is the node's, which waits for its disk."""

_REFUSALS = frozenset({400, 401, 403, 404, 405, 413, 422, 429})

_REAL = {"uid": "2.25.11919", "index": 0, "frame": 0}
"""Every second call is about a study that is there."""

_MAY = {
    "viewer": {"viewer", "editor", "admin"},
    "sender": {"sender", "editor", "admin"},
    "editor": {"editor", "admin"},
    "admin": {"admin"},
}

_MAY_BE_AWAY = ("/health", "/sign-in/oidc")
"""They answer 503 as documented: the OpenID provider here is none, and a check of
health may fail."""


def call_everything(node: CanaryNode, *, calls: int) -> list[Figure]:
    """Call each operation as each role and as a stranger; about so often in all."""
    with node.client("ada") as admin:
        document = admin.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=node.url)
    assert schema.transport  # it imports what the senders must not import at once
    operations = [one.ok() for one in schema.get_all_operations()]
    operations = [one for one in operations if one.path not in _ENDLESS | _HALTING]
    callers: list[str | None] = [None, *PEOPLE]
    pairs = list(itertools.product(operations, callers))
    # Without a parameter or a body there is one call of an operation, not many.
    varied = sum(bool(one.body or [*one.iter_parameters()]) for one, _ in pairs)
    each = max(1, math.ceil((calls - len(pairs) + varied) / varied))
    # For fewer calls than pairs: a step that meets every operation and every caller.
    step = 1 if calls >= len(pairs) else len(callers) - 1
    work = [
        (number, operation, caller, _is_allowed(document, operation, caller))
        for number, (operation, caller) in enumerate(pairs[::step])
    ]
    found: Counter[str] = Counter()
    # One sender has all calls of an operation: some say that others are at it.
    lots = [list(lot) for _, lot in itertools.groupby(work, lambda one: id(one[1]))]
    with Sessions() as sessions, ThreadPoolExecutor(_SENDERS) as senders:
        for counted, problems in senders.map(
            lambda lot: _call_in_turn(sessions.own(), lot, each), lots
        ):
            found += counted
            for problem in problems:
                print(problem)
    _check_is_alive(node)
    return [
        at_least("calls", found["call"], 0.9 * calls),
        at_least("calls that were answered with success", found["success"], calls / 20),
        at_most("answers 5xx", found["5xx"], 0),
        at_most("answers that are not as documented", found["schema"], 0),
        at_most("answers to who may not", found["leak"], 0),
    ]


def _is_allowed(document: dict[str, Any], operation: Any, caller: str | None) -> bool:
    said = document["paths"][operation.path][operation.method.lower()]
    if not said["security"]:
        return True
    words = said["description"].rpartition("Needs the role ")[2]
    words = words.partition(";")[0].rstrip(".")
    roles = set(words.replace(" or ", ", ").split(", "))
    assert roles in _MAY.values(), words
    return caller is not None and PEOPLE[caller] in roles


class Sessions:
    """A connection that stays open for each sender."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._all: list[requests.Session] = []

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.close()

    def own(self) -> requests.Session:
        """Return the session of the calling thread."""
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.trust_env = False
            # Who signed in by one call must be a stranger in the next.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            self._local.session = session
            self._all.append(session)
        return self._local.session  # type: ignore[no-any-return]


def _call_in_turn(
    session: requests.Session,
    lot: list[tuple[int, Any, str | None, bool]],
    each: int,
) -> tuple[Counter[str], list[str]]:
    found: Counter[str] = Counter()
    problems: list[str] = []
    for one in lot:
        counted, said = _call(session, *one, each)
        found += counted
        problems += said
    return found, problems


def _call(
    session: requests.Session,
    number: int,
    operation: Any,
    caller: str | None,
    allowed: bool,
    each: int,
) -> tuple[Counter[str], list[str]]:
    """Call an operation as somebody; count what came, and say what was wrong."""
    found: Counter[str] = Counter()
    problems: list[str] = []

    @seed(number)
    @settings(
        max_examples=each,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy())
    def call(case: Any) -> None:
        if (number + found["call"]) % 2 and case.path_parameters:
            case.path_parameters |= {
                name: value
                for name, value in _REAL.items()
                if name in case.path_parameters
            }
        auth = None if caller is None else (caller, PASSWORD)
        try:
            response = case.call(
                session=session, auth=auth, timeout=60, allow_redirects=False
            )
        except ValueError:
            return  # the client itself cannot send it
        found["call"] += 1
        found["success"] += response.status_code < 400
        if not allowed:
            if response.status_code not in _REFUSALS:
                found["leak"] += 1
                problems.append(f"who may not got {response.status_code}")
            return
        is_away = operation.path.startswith(_MAY_BE_AWAY)
        if response.status_code >= 500 + 4 * is_away:
            found["5xx"] += 1
            problems.append(f"{response.status_code} {response.content[:200]!r}")
            return
        try:
            case.validate_response(response, checks=_CHECKS[1:])
        except (Failure, FailureGroup) as error:
            found["schema"] += 1
            inner = getattr(error, "exceptions", (error,))
            problems.append("; ".join(str(one)[:300] for one in inner))

    call()
    who = f"{caller} {operation.method} {operation.path}"
    return found, [f"{who}: {one}" for one in problems]


def _check_is_alive(node: CanaryNode) -> None:
    node.program.check_alive()
    with node.client() as client:
        assert client.get("/health/live").status_code == 200
