"""A small OpenID provider on loopback: discovery, authorization code, PKCE, keys."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

__all__ = ["CLIENT_SECRET", "OpenidProvider", "openid_provider"]

CLIENT_SECRET = "shared with the node"


@dataclass
class OpenidProvider:
    """What it says of who signs in; tests change it to be wrong."""

    issuer: str = ""
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    signing_key: ECKey | None = None
    """None: the published one."""
    claims: dict[str, Any] = field(default_factory=dict)
    """On top of the right ones; None leaves one out."""
    named_issuer: str | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, query: dict[str, str]) -> str:
        """Sign somebody in; return where the browser is sent back to."""
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{back}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Give an ID token for a code, once, to who began; None: refused."""
        began = self.codes.pop(form.get("code", ""), None)
        secret = base64.b64encode(f"dicom-node:{CLIENT_SECRET}".encode()).decode()
        if began is None or authorization != f"Basic {secret}":
            return None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if challenge != began["code_challenge"]:
            return None
        if form["redirect_uri"] != began["redirect_uri"]:
            return None
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": began["client_id"],
            "sub": "u-17",
            "preferred_username": "grace",
            "iat": now,
            "exp": now + 300,
            "nonce": began["nonce"],
            "roles": ["editor"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self.signing_key or self.key
        token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, key)
        return {"id_token": token, "access_token": "a", "token_type": "Bearer"}

    def answer(self, path: str) -> tuple[int, Any]:
        """Answer a GET with JSON."""
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.named_issuer or self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        if path == "/keys":
            public = {**self.key.as_dict(private=False), "kid": "one", "use": "sig"}
            return 200, {"keys": [public]}
        return 404, {}


@contextmanager
def openid_provider() -> Iterator[OpenidProvider]:
    """Run a provider on a free port of loopback."""
    provider = OpenidProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                query = {key: one[0] for key, one in parse_qs(url.query).items()}
                self.send_response(302)
                self.send_header("Location", provider.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(*provider.answer(url.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {key: one[0] for key, one in parse_qs(body).items()}
            made = provider.token(form, self.headers.get("Authorization", ""))
            if made is None:
                self._send(400, {"error": "invalid_grant"})
            else:
                self._send(200, made)

        def _send(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
