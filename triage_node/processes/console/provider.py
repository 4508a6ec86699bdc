"""Logging in with the hospital's OpenID provider: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636).

Authlib builds the request and judges the ID token; requests go through the node's own bounded client. What the provider says of
roles holds from login to login: whoever leaves the group there loses the role here with the next one.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from triage_node.config.web import ProviderSettings
from triage_node.console.accounts import ProviderDeps
from triage_node.domain.account import AccountRefused
from triage_node.domain.person import Role
from triage_node.processes.running import now
from triage_node.rest.calling import NoAnswer, Reply, calling

log = logging.getLogger(__name__)

BEGUN_FOR = timedelta(minutes=10)
_MOST_BEGUN = 1000
_WITHIN_S, _STEP_S = 20.0, 10.0
_CLOCKS_DIFFER_S = 60
_SIGNED = ["RS256", "PS256", "ES256", "RS384", "ES384", "RS512", "ES512"]
_REFUSED = "The provider of logins did not let you in. Try again, or ask an administrator."
Enter = Callable[[str, str, str, frozenset[Role], str], str]
"""(issuer, subject, name, roles, address) of somebody whom the provider knows -> a session's token. Raises: AccountRefused."""


@dataclass(frozen=True, slots=True)
class _Access:
    tls_ca: Path | None
    token_file: Path | None = None
    user: str = ""
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    at: datetime
    state: str
    nonce: str
    verifier: str
    where: str


class Provider:
    """`failed(address, why)` is told of each login that came to nothing."""

    def __init__(self, settings: ProviderSettings, enter: Enter, failed: Callable[[str, str], None]) -> None:
        self._settings, self._enter, self._failed = settings, enter, failed
        self._lock = threading.Lock()
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._metadata: tuple[datetime, Mapping[str, Any]] | None = None

    @property
    def deps(self) -> ProviderDeps:
        return ProviderDeps(self._settings.label, self.begin, self.finish)

    def begin(self, where: str) -> tuple[str, str]:
        """(where to send the browser, the secret that it brings back). Raises: AccountRefused."""
        metadata = self._discovered()
        begun = _Begun(now(), secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), where)
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._begun[secret] = begun
            while len(self._begun) > _MOST_BEGUN:
                self._begun.popitem(last=False)
        address = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._settings.client_id,
            "code",
            redirect_uri=self._back,
            scope="openid profile",
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        return address, secret

    def finish(self, secret: str, answered: Mapping[str, str], address: str) -> tuple[str, str]:
        """(a session's token, where to). Raises: AccountRefused, with words that betray nothing of the provider's answer."""
        with self._lock:
            begun = self._begun.pop(secret, None)
        try:
            if begun is None or now() - begun.at > BEGUN_FOR:
                raise AccountRefused("This login took too long, or was begun in another browser. Begin again.")
            claims = self._claims(begun, answered)
            name = str(claims.get(self._settings.name_claim) or "")
            roles = self._roles(claims)
            if not roles:
                raise AccountRefused("The provider knows you, but none of your groups there has a role on this node.")
            return self._enter(self._settings.issuer, str(claims["sub"]), name, roles, address), begun.where
        except AccountRefused as refused:
            self._failed(address, f"provider: {refused}")
            raise
        except (NoAnswer, AuthlibBaseError, JoseError, KeyError, TypeError, ValueError) as error:
            log.warning("event=provider_refused issuer=%s %s: %s", self._settings.issuer, type(error).__name__, error)
            self._failed(address, f"provider: {type(error).__name__}")
            raise AccountRefused(_REFUSED) from error

    @property
    def _back(self) -> str:
        return f"{self._settings.page_url}/login/provider/back"

    def _claims(self, begun: _Begun, answered: Mapping[str, str]) -> dict[str, Any]:
        """What the provider says of the person, its signature and purpose checked (Core 3.1.3.7). Raises as `finish` catches."""
        if not hmac.compare_digest(answered.get("state", "").encode(), begun.state.encode()):
            raise ValueError("another state")
        if answered.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise ValueError("another issuer")
        if "code" not in answered:
            raise ValueError(f"no code, error {answered.get('error', '')[:64]!r}")
        metadata = self._discovered()
        told = self._redeemed(metadata["token_endpoint"], answered["code"], begun.verifier)
        keys = KeySet.import_key_set(self._asked(metadata["jwks_uri"]))
        token = jwt.decode(told["id_token"], keys, algorithms=_SIGNED)
        wanted = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
        }
        params = {"nonce": begun.nonce, "client_id": self._settings.client_id, "access_token": told.get("access_token")}
        claims = CodeIDToken(token.claims, token.header, wanted, params)
        claims.validate(leeway=_CLOCKS_DIFFER_S)
        known = dict(claims)
        if "userinfo_endpoint" in metadata and not self._roles(known):
            more = self._asked(metadata["userinfo_endpoint"], {"Authorization": f"Bearer {told['access_token']}"})
            if more.get("sub") != known["sub"]:  # Core 5.3.2
                raise ValueError("the user information is about somebody else")
            known = more | known
        return known

    def _roles(self, claims: Mapping[str, Any]) -> frozenset[Role]:
        """The roles of the groups in the claim; a dot in its name goes one level down."""
        held: Any = claims
        for part in self._settings.roles_claim.split("."):
            held = held.get(part) if isinstance(held, Mapping) else None
        groups = {held} if isinstance(held, str) else {g for g in held or () if isinstance(g, str)}
        return frozenset(role for role in Role if groups & set(getattr(self._settings, f"{role.value}_groups")))

    def _discovered(self) -> Mapping[str, Any]:
        """OpenID Connect Discovery 1.0, 4. Raises: AccountRefused."""
        with self._lock:
            if self._metadata is not None and now() - self._metadata[0] < BEGUN_FOR:
                return self._metadata[1]
        try:
            found = self._asked(f"{self._settings.issuer}/.well-known/openid-configuration")
            if found["issuer"] != self._settings.issuer:
                raise ValueError("it says that it is another issuer")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not str(found[name]).startswith(("https://", self._settings.issuer)):
                    raise ValueError(f"{name} is not https")
        except (NoAnswer, KeyError, TypeError, ValueError) as error:
            log.warning("event=no_provider issuer=%s %s", self._settings.issuer, error)
            raise AccountRefused("The provider of logins does not answer. Use an account of this node.") from error
        with self._lock:
            self._metadata = (now(), found)
        return found

    def _redeemed(self, url: str, code: str, verifier: str) -> dict[str, Any]:
        s = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back,
            "code_verifier": verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if s.client_secret_file is not None:
            secret = s.client_secret_file.read_text(encoding="utf-8").strip()
            pair = f"{quote_plus(s.client_id)}:{quote_plus(secret)}".encode()  # RFC 6749, 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        else:
            form["client_id"] = s.client_id
        with calling(_Access(s.tls_ca), url, _STEP_S, "application/json") as caller:
            return _json(caller.ask("POST", url, _WITHIN_S, headers=headers, content=urlencode(form).encode()))

    def _asked(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        with calling(_Access(self._settings.tls_ca), url, _STEP_S, "application/json") as caller:
            return _json(caller.ask("GET", url, _WITHIN_S, headers=headers))


def _json(reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        raise ValueError(f"status {reply.status}")
    found = json.loads(reply.body)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found
