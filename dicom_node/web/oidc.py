"""Sign-in at an OpenID provider: authorization code with PKCE, ID token validated.

What the browser carries from the first request to the second lies in a signed cookie
of its own: state, nonce and code verifier.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import httpx
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from itsdangerous import BadSignature, URLSafeTimedSerializer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dicom_node.config import OidcSettings
from dicom_node.config.peers import Role
from dicom_node.errors import AccessError, SettingsError
from dicom_node.web.sessions import Session

__all__ = ["Journey", "Provider"]

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures by a key that only the provider has; never ``none`` or a shared secret."""

_JOURNEY_S = 600
"""Signing in at the provider may take this long."""

_KEPT_S = 3600.0
"""The provider's addresses and keys are asked for again after this long."""

_TIMEOUT_S = 5.0
"""For each wait for the provider, and for its metadata and its keys as a whole."""

_FAILED_S = 30.0
"""A provider that did not answer is not asked again before: strangers may begin."""

_AT_ONCE = 4
"""Threads that wait for the provider; the others serve everybody else."""

_MAX_DOCUMENT = 1 << 20
"""Bytes of metadata or keys."""

_LEEWAY_S = 60
"""Clocks may differ by this much."""

_ROLES: tuple[Role, ...] = get_args(Role)
"""The strongest last."""


_NO_PROVIDER = "the OpenID provider does not answer as one"


@dataclass(frozen=True, slots=True)
class Journey:
    """Where the browser is sent, and the cookie that it brings back."""

    url: str
    cookie: str


class Provider:
    """An OpenID provider.

    Parameters
    ----------
    settings : OidcSettings
        Where it is, how it knows this node, which claim names roles.
    secret : str
        What signs the cookie.

    """

    def __init__(self, settings: OidcSettings, secret: str) -> None:
        if settings.issuer is None:
            raise SettingsError("oidc.issuer: there is no provider")
        self._settings = settings
        self._issuer = settings.issuer
        self._client_secret = _read_secret(settings.client_secret_file)
        self._serializer = URLSafeTimedSerializer(secret, salt="oidc")
        self._lock = threading.Lock()
        self._known: tuple[float, dict[str, Any], KeySet] | None = None
        self._failed_at = -_FAILED_S
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def begin(self, *, redirect_uri: str, next_path: str) -> Journey:
        """Return where a person signs in.

        Raises
        ------
        AccessError
            The provider does not answer (``status`` 503).

        """
        metadata, _ = self._discover()
        state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        verifier = secrets.token_urlsafe(48)
        with self._client(redirect_uri) as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=state,
                nonce=nonce,
                code_challenge=create_s256_code_challenge(verifier),
                code_challenge_method="S256",
            )
        said = {"s": state, "n": nonce, "v": verifier, "to": _own_path(next_path)}
        return Journey(url, str(self._serializer.dumps(said)))

    def finish(
        self, query: Mapping[str, str], *, cookie: str, redirect_uri: str
    ) -> tuple[Session, str]:
        """Return who came back from the provider, and the page that they wanted.

        Parameters
        ----------
        query : mapping
            What the provider sent by the browser: ``code`` and ``state``.
        cookie : str
            As `begin` made it.
        redirect_uri : str
            As `begin` was given it.

        Raises
        ------
        AccessError
            It is not who began, the ID token is not valid, or they have no role.

        """
        try:
            said = self._serializer.loads(cookie, max_age=_JOURNEY_S)
        except BadSignature as error:
            msg = "signing in took too long, or began in another browser"
            raise AccessError(msg, status=401) from error
        is_answer = secrets.compare_digest(said["s"], query.get("state", ""))
        if not is_answer or "code" not in query:
            msg = "the provider did not sign this person in"
            raise AccessError(msg, status=401)
        claims = self._exchange(query["code"], said, redirect_uri)
        return self._session(claims), said["to"]

    def _exchange(
        self, code: str, said: Mapping[str, str], redirect_uri: str
    ) -> dict[str, Any]:
        metadata, keys = self._discover()
        try:
            with self._asking(), self._client(redirect_uri) as client:
                token = client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=said["v"],
                )
            id_token = token["id_token"]
        except AccessError:
            raise
        except Exception as error:  # its library raises nearly anything
            msg = "the provider did not confirm who signed in"
            raise AccessError(msg, status=401) from error
        try:
            return self._validate(id_token, keys, nonce=said["n"])
        except (JoseError, ValueError, KeyError):
            # The provider may have changed its keys since they were asked for.
            _, keys = self._discover(anew=True)
        try:
            return self._validate(id_token, keys, nonce=said["n"])
        except (JoseError, ValueError, KeyError) as error:
            msg = "the provider's word about who signed in is not valid"
            raise AccessError(msg, status=401) from error

    def _validate(self, id_token: str, keys: KeySet, *, nonce: str) -> dict[str, Any]:
        """Check signature, issuer, audience, expiry and nonce (OIDC Core 3.1.3.7)."""
        token = jwt.decode(id_token, keys, algorithms=_ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._issuer_name},
            aud={"essential": True, "value": self._settings.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        claims: dict[str, Any] = token.claims
        registry.validate(claims)
        audience = claims["aud"]
        is_shared = isinstance(audience, list) and len(audience) > 1
        party = claims.get("azp", self._settings.client_id if not is_shared else None)
        if party != self._settings.client_id:
            raise ValueError("the token is for another client")
        return claims

    def _session(self, claims: Mapping[str, Any]) -> Session:
        value: Any = claims
        for part in self._settings.role_claim.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        named = {value} if isinstance(value, str) else set(value or ())
        role = next((one for one in reversed(_ROLES) if one in named), None)
        role = role or self._settings.default_role
        if role is None:
            msg = "the provider names no role that this node knows"
            raise AccessError(msg, status=403)
        name = claims.get("preferred_username") or claims.get("email") or claims["sub"]
        return Session(str(name)[:64], role)

    @property
    def _issuer_name(self) -> str:
        known = self._known
        return self._issuer if known is None else str(known[1]["issuer"])

    def _discover(self, *, anew: bool = False) -> tuple[dict[str, Any], KeySet]:
        """Return the provider's metadata and keys (OIDC Discovery 4)."""
        with self._lock:
            known = self._known
        if known is not None and not anew and time.monotonic() - known[0] < _KEPT_S:
            return known[1:]
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            with self._asking(), _metadata_client() as client:
                metadata = _json(
                    client,
                    f"{self._issuer}/.well-known/openid-configuration",
                    deadline=deadline,
                )
                _check_issuer(metadata, self._issuer)
                keys = KeySet.import_key_set(
                    _json(client, metadata["jwks_uri"], deadline=deadline)
                )
        except (httpx.HTTPError, JoseError, ValueError, KeyError) as error:
            self._note_failure()
            raise AccessError(_NO_PROVIDER, status=503) from error
        with self._lock:
            self._known = (time.monotonic(), metadata, keys)
        return metadata, keys

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Take a place among those who wait for the provider.

        Raises
        ------
        AccessError
            It did not answer a moment ago, or too many wait (``status`` 503).

        """
        with self._lock:
            wait_s = self._failed_at + _FAILED_S - time.monotonic()
        if wait_s > 0:
            raise AccessError(_NO_PROVIDER, status=503, retry_after_s=int(wait_s) + 1)
        if not self._places.acquire(blocking=False):
            msg = "too many people sign in at once; try again"
            raise AccessError(msg, status=503, retry_after_s=1)
        try:
            yield
        except httpx.TransportError:
            self._note_failure()
            raise
        finally:
            self._places.release()

    def _note_failure(self) -> None:
        with self._lock:
            self._failed_at = time.monotonic()

    def _client(self, redirect_uri: str) -> OAuth2Client:
        return OAuth2Client(
            client_id=self._settings.client_id,
            client_secret=self._client_secret,
            token_endpoint_auth_method="client_secret_basic"
            if self._client_secret
            else "none",
            scope="openid profile email",
            redirect_uri=redirect_uri,
            timeout=_TIMEOUT_S,
            # The code and the secret go to the provider and nowhere else.
            verify=httpx.create_ssl_context(),
            trust_env=False,
            follow_redirects=False,
        )


def _metadata_client() -> httpx.Client:
    return httpx.Client(
        timeout=_TIMEOUT_S,
        verify=httpx.create_ssl_context(),
        trust_env=False,
        follow_redirects=False,
    )


def _check_issuer(metadata: dict[str, Any], issuer: str) -> None:
    if str(metadata["issuer"]).rstrip("/") != issuer:
        raise ValueError("the provider calls itself otherwise")


def _json(client: httpx.Client, url: str, *, deadline: float) -> Any:
    data = bytearray()
    with client.stream("GET", url) as answer:
        answer.raise_for_status()
        for block in answer.iter_bytes():
            data += block
            if len(data) > _MAX_DOCUMENT or time.monotonic() > deadline:
                raise ValueError("the provider's answer has no end")
    return json.loads(data)


def _read_secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"oidc.client_secret_file {path}: it cannot be read"
        raise SettingsError(msg) from error


def _own_path(path: str) -> str:
    """Return a path of this node; what leads elsewhere becomes the first page."""
    parts = urlsplit(path)
    is_ours = not parts.scheme and not parts.netloc and path.startswith("/")
    return path if is_ours and not path.startswith(("//", "/\\")) else "/"
