"""Access to the page: tokens with roles, sessions, and the check of the origin of a form. Time is an argument."""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import SettingsError
from orchestrator.loopback import is_loopback
from orchestrator.state_files import read_regular

LEAST_CHARACTERS = 32
"""The shortest token: 32 characters of hex are 128 bits."""
_MOST_BYTES = 65_536
_MOST_SESSIONS = 1000
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FIELDS = 3
_FORWARDED = ("forwarded", "x-real-ip", "via")
_FORWARDED_PREFIX = "x-forwarded-"
"""Headers of a proxy: the client may be on another machine."""


class Role(StrEnum):
    """The rights of a token."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the token file.

    Attributes:
        name: the person, for the record.
        role: the rights.
        digest: SHA-256 of the token.
    """

    name: str
    role: Role
    digest: bytes = field(repr=False)


def parse_tokens(text: str, file: Path) -> tuple[Token, ...]:
    """Parse a token file: `NAME ROLE TOKEN` on each line, with comments after `#`.

    Raises:
        SettingsError: when a line has another form, or two names have the same token.
    """
    names: dict[bytes, str] = {}
    tokens = list(_parse_lines(text, file))
    for number, token in tokens:
        # The name goes on record: a token under two names would put either person on record.
        other = names.setdefault(token.digest, token.name)
        if other != token.name:
            hint = "give each person a separate token"
            raise SettingsError(f"the token is also the token of {other}", file=file, line=number, hint=hint)
    return tuple(token for _, token in tokens)


def _parse_lines(text: str, file: Path) -> Iterator[tuple[int, Token]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        hint = "write `NAME viewer TOKEN` or `NAME operator TOKEN`, such as a TOKEN from `openssl rand -hex 32`"
        parts = line.split()
        if len(parts) != _FIELDS or parts[1] not in set(Role):
            raise SettingsError("the line must have a name, a role and a token", file=file, line=number, hint=hint)
        name, role, token = parts
        if _NAME.fullmatch(name) is None:
            hint = "use letters, digits and . _ @ + -, at most 64"
            raise SettingsError("the name of the token has invalid characters", file=file, line=number, hint=hint)
        if _DIGEST.fullmatch(token):
            yield number, Token(name, Role(role), bytes.fromhex(token.removeprefix("sha256:")))
            continue
        if len(token) < LEAST_CHARACTERS:
            message = f"the token is shorter than {LEAST_CHARACTERS} characters"
            raise SettingsError(message, file=file, line=number, hint="make a token with `openssl rand -hex 32`")
        yield number, Token(name, Role(role), hash_token(token))


def hash_token(token: str) -> bytes:
    """Return SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def find_token(tokens: tuple[Token, ...], given: str) -> Token | None:
    """Find a token, in a time without information about the tokens."""
    digest, found = hash_token(given), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


class TokenFile:
    """The file of tokens. A change takes effect at the next request.

    Attributes:
        path: path of the file; None without tokens.
        trouble: reason for no usable token at the last read; None with tokens.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.trouble: str | None = None
        self._stamp: tuple[int, ...] | None = None
        self._tokens: tuple[Token, ...] = ()

    def read(self) -> tuple[Token, ...]:
        """Return the tokens; no token while the file is unusable."""
        if self.path is None:
            return ()
        try:
            found = os.stat(self.path)  # noqa: PTH116 - for every request
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if stamp != self._stamp:
                self._tokens, self._stamp = read_token_file(self.path), stamp
        except (SettingsError, OSError) as error:
            self._tokens, self._stamp, self.trouble = (), None, str(error)
        else:
            self.trouble = None if self._tokens else f"{self.path}: the file has no token"
        return self._tokens


def read_token_file(path: Path) -> tuple[Token, ...]:
    """Read the file of tokens.

    Raises:
        SettingsError: when the file can't be read, others may read the file, or a line has another form.
    """
    try:
        mode = path.stat().st_mode
        text = read_regular(path, _MOST_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "see `service.token_file` in the settings"
        raise SettingsError(f"the file of tokens can't be read: {reason}", file=path, hint=hint) from error
    if mode & _OTHERS_MAY_READ:
        raise SettingsError("others may read this file of tokens", file=path, hint=f"chmod 600 {path}")
    return parse_tokens(text, path)


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a browser.

    Attributes:
        session_id: the content of the cookie.
        form_key: the hidden field of every form; a form without the field changes nothing.
        token: the token.
        ends_at: the end, by the event loop's clock.
    """

    session_id: str = field(repr=False)
    form_key: str = field(repr=False)
    token: Token
    ends_at: float


class Sessions:
    """The sessions of this process. A session ends after its time, with its token, at logout, and with the process."""

    def __init__(self, seconds: float) -> None:
        """Set up.

        Args:
            seconds: the length of a session.
        """
        self.seconds = seconds
        self._sessions: dict[str, Session] = {}

    def start(self, token: Token, now: float) -> Session:
        """Start a session; above a limit, the oldest session ends."""
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), token, now + self.seconds)
        self._sessions = {key: each for key, each in self._sessions.items() if now < each.ends_at}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session.session_id] = session
        return session

    def find(self, session_id: str, tokens: tuple[Token, ...], now: float) -> Session | None:
        """Find a session; the token must still be in the file, with the same role."""
        session = self._sessions.get(session_id)
        if session is None or (now < session.ends_at and session.token in tokens):
            return session
        del self._sessions[session_id]
        return None

    def end(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(session_id, None)


@dataclass(frozen=True, slots=True)
class Visitor:
    """The author of a request.

    Attributes:
        token: the token; None without a token.
        session: the session of a browser; None for another program.
        may_read: whether the page and the API answer.
    """

    token: Token | None = None
    session: Session | None = None
    may_read: bool = False

    @property
    def may_act(self) -> bool:
        """True if forms are shown and accepted."""
        return self.session is not None and self.session.token.role is Role.OPERATOR


def is_from_here(listens_here: bool, client: str | None, headers: Mapping[str, str]) -> bool:  # noqa: FBT001 - a fact
    """Check for a request from this machine, without a proxy.

    The name in `Host` counts, because a page of another origin can make its own name resolve to this machine.

    Args:
        listens_here: whether the service listens on a loopback address.
        client: the address of the client.
        headers: the headers of the request.
    """
    if not listens_here or client is None or not is_loopback(client):
        return False
    if any(name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) for name in headers):
        return False
    return is_loopback(_find_host(headers.get("host", "")))


def _find_host(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_own_form(headers: Mapping[str, str]) -> bool:
    """Check for a form from a page of this service.

    Browsers send `Origin` with every form; a request without `Origin` is from no browser, or from a broken one.
    """
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    return origin.scheme in {"http", "https"} and origin.netloc.lower() == headers.get("host", "").lower()


class Throttle:
    """Limit of attempts: a burst, then a single attempt after every pause."""

    def __init__(self, burst: int, pause: float) -> None:
        """Set up.

        Args:
            burst: attempts at once.
            pause: seconds until a further attempt.
        """
        self._burst, self._pause = burst, pause
        self._full_at: dict[str, float] = {}

    def seconds_to_wait(self, who: str, now: float) -> float:
        """Return the seconds until the next attempt; 0 for an attempt now."""
        return max(0.0, self._full_at.get(who, now) - now - (self._burst - 1) * self._pause)

    def count(self, who: str, now: float) -> None:
        """Count an attempt."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._full_at[who] = max(self._full_at.get(who, now), now) + self._pause
