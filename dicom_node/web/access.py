"""Who asks, and what they may do: every route names the role that it needs.

Without a user and without an OpenID provider, this machine may see everything and
change nothing, and nobody else sees anything. Otherwise whoever asks signs in: with a
session's cookie, or with a name and password (HTTP Basic) in each request.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from starlette.types import Scope

from dicom_node.config.peers import Role
from dicom_node.errors import AccessError
from dicom_node.store.users import User, UserStore
from dicom_node.web.attempts import Attempts
from dicom_node.web.origin import (
    COOKIE,
    address_of,
    check_cross_site,
    check_same_site,
    is_loopback,
    is_within,
    names_this_machine,
)
from dicom_node.web.passwords import Passwords
from dicom_node.web.sessions import Session, Sessions
from dicom_node.web.witness import note_person

__all__ = [
    "COOKIE",
    "Access",
    "Admin",
    "Anyone",
    "Editor",
    "Need",
    "Person",
    "Sender",
    "Viewer",
    "address_of",
    "allow_anyone",
    "allow_monitoring",
    "is_loopback",
    "need_of",
    "remember_person",
    "require",
]

Need = Literal["nobody", "anyone", "monitor", "viewer", "sender", "editor", "admin"]
"""What a route asks for. ``nobody``: even strangers without any configuration;
``anyone``: whoever may reach the pages, signed in or not; ``monitor``: an address that
the settings name, or a viewer; else a role."""

_MAY: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer", "editor", "admin"}),
    "sender": frozenset({"sender", "editor", "admin"}),
    "editor": frozenset({"editor", "admin"}),
    "admin": frozenset({"admin"}),
}
"""By what a route asks for, the roles that may."""

_READS = frozenset({"GET", "HEAD", "OPTIONS"})

_PERSON = "dicom-node.person"
"""Where a request's scope holds who asks."""

_ADD_USER = (
    "nothing can be changed until somebody may sign in: "
    "dicom-node user add NAME --role admin"
)


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks: without a name, somebody at this machine who has not signed in."""

    name: str | None
    role: Role | None

    def may(self, role: Role) -> bool:
        """Whether this is what a route for that role asks for."""
        return self.role is not None and self.role in _MAY[role]


class Access:
    """Decides who asks.

    Parameters
    ----------
    users : UserStore
        Who signs in with a password of this node.
    sessions : Sessions
        Reads the cookies.
    has_provider : bool
        Whether people sign in at an OpenID provider.
    monitoring : sequence of str
        Addresses and networks that may ask how the node is without signing in.

    """

    def __init__(
        self,
        users: UserStore,
        sessions: Sessions,
        *,
        has_provider: bool,
        monitoring: Sequence[str] = (),
    ) -> None:
        self.users = users
        self.sessions = sessions
        self.has_provider = has_provider
        self.passwords = Passwords(users)
        self.attempts = Attempts()
        self._monitoring = tuple(
            ipaddress.ip_network(one, strict=False) for one in monitoring
        )

    @property
    def has_passwords(self) -> bool:
        """Whether anybody signs in with a password of this node."""
        return self.users.count() > 0

    @property
    def is_configured(self) -> bool:
        """Whether people sign in."""
        return self.has_provider or self.has_passwords

    def identify(self, request: Request) -> Person:
        """Return who asks; without a role when nobody has signed in.

        Raises
        ------
        AccessError
            The password is wrong, or was wrong too often (``status``).

        """
        if not self.is_configured:
            is_ours = is_loopback(address_of(request)) and names_this_machine(request)
            return Person(None, "viewer" if is_ours else None)
        header = request.headers.get("authorization", "")
        if header[:6].lower() == "basic ":
            session = self._sign_in(request, header[6:])
            return Person(session.name, session.role)
        known = self.sessions.read(
            request.cookies.get(COOKIE, ""), with_provider=self.has_provider
        )
        if known is None:
            return Person(None, None)
        return Person(known.name, known.role)

    def check(self, request: Request, need: Need) -> Person:
        """Return who asks, if they may.

        Raises
        ------
        AccessError
            They may not; ``status`` is the answer's, 401, 403 or 429.

        """
        if need == "nobody":
            return Person(None, None)
        if need == "anyone":
            return self._anyone(request)
        if need == "monitor":
            if is_within(address_of(request), self._monitoring):
                return Person(None, None)
            need = "viewer"
        person = self.identify(request)
        if person.role is None:
            raise AccessError("sign in first", status=401)
        if not person.may(need):
            if person.name is None:
                raise AccessError(_ADD_USER, status=403)
            msg = f"this needs the role {need}, and you have {person.role}"
            raise AccessError(msg, status=403)
        if request.method not in _READS:
            check_same_site(request)
        return person

    def _anyone(self, request: Request) -> Person:
        if not self.is_configured:
            person = self.identify(request)
            if person.role is None:
                raise AccessError("sign in first", status=401)
            return person
        if request.method not in _READS:
            check_cross_site(request)
        try:
            return self.identify(request)
        except AccessError:
            return Person(None, None)

    def _sign_in(self, request: Request, encoded: str) -> Session:
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as error:
            msg = "the Authorization header is not Basic"
            raise AccessError(msg, status=401) from error
        name, _, password = text.partition(":")
        return self.sign_in(name, password, address=address_of(request))[0]

    def sign_in(
        self, name: str, password: str, *, address: str, is_told: bool = False
    ) -> tuple[Session, str]:
        """Compare a name and password; return the session and its cookie.

        Parameters
        ----------
        name, password : str
            As given.
        address : str
            Where it comes from.
        is_told : bool
            Write who signed in into the audit trail; a refusal always is.

        Raises
        ------
        AccessError
            They do not fit (``status`` 401), failed too often (429, and
            ``retry_after_s``), or too many sign in at once (503).

        """
        user = self.passwords.recall(name, password, address=address)
        if user is None:
            user = self._attempt(name, password, address)
        if is_told:
            self.users.record_sign_in(user.name, address=address, reason=None)
        return Session(user.name, user.role), self.sessions.of_user(user)

    def _attempt(self, name: str, password: str, address: str) -> User:
        wait_s = self.attempts.begin(address=address, name=name)
        if wait_s > 0:
            msg = "too many failed attempts; try again later"
            raise AccessError(msg, status=429, retry_after_s=int(wait_s) + 1)
        try:
            user = self.passwords.find(name, password, address=address)
        except BaseException:
            self.attempts.forget(address=address, name=name)
            raise
        if user is None:
            # What was typed as the name may be a password.
            known = name if self.users.find(name) else "unknown"
            self.users.record_sign_in(known, address=address, reason="password")
            raise AccessError("name or password is wrong", status=401)
        self.attempts.succeeded(address=address, name=name)
        return user


Check = Callable[[Request], Person | Awaitable[Person]]
"""A FastAPI dependency: who asks, if they may."""


def require(role: Role) -> Check:
    """Return a FastAPI dependency: who asks, if they have the role.

    A ``viewer`` sees; a ``sender`` hands in instances and reports; an ``editor`` may
    do both and correct; an ``admin`` may do everything.
    """
    return _dependency(role)


def allow_monitoring() -> Check:
    """Return a FastAPI dependency for what monitoring reads: no patient data."""
    return _dependency("monitor")


def allow_anyone(*, even_strangers: bool = False) -> Check:
    """Return a FastAPI dependency for what is no secret: the sign-in page.

    Parameters
    ----------
    even_strangers : bool
        Also from other machines while nobody may sign in.

    """
    return _dependency("nobody" if even_strangers else "anyone")


def _dependency(need: Need) -> Check:
    if need == "nobody":
        return _let_in

    def check(request: Request) -> Person:
        known: tuple[Need, Person] | None = request.scope.get(_PERSON)
        if known is not None and known[0] == need:
            person = known[1]
        else:
            access: Access = request.app.state.access
            person = access.check(request, need)
        note_person(request.scope, person.name)
        return person

    check.need = need  # type: ignore[attr-defined]
    return check


async def _let_in(request: Request) -> Person:
    # Without a thread: a burst of such requests must not keep the page waiting.
    note_person(request.scope, None)
    return Person(None, None)


_let_in.need = "nobody"  # type: ignore[attr-defined]


Anyone = Annotated[Person, Depends(allow_anyone())]
"""What a route takes to learn who asks, signed in or not."""

Viewer = Annotated[Person, Depends(require("viewer"))]
Sender = Annotated[Person, Depends(require("sender"))]
Editor = Annotated[Person, Depends(require("editor"))]
Admin = Annotated[Person, Depends(require("admin"))]


def remember_person(scope: Scope, need: Need, person: Person) -> None:
    """Note who asks, once they have been let in: their route asks no second time."""
    scope[_PERSON] = (need, person)


def need_of(dependency: object) -> Need | None:
    """Return what a dependency asks for; None: it is none of ours."""
    return getattr(dependency, "need", None)
