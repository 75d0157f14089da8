"""Every setting, with its default and its meaning: the source of the docs and of `config.example.toml`."""

from base64 import b64decode
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from platformdirs import user_state_path
from pydantic import AfterValidator, Field, SecretStr, model_validator

from orchestrator.documented_model import DocumentedModel
from orchestrator.loopback import is_loopback
from orchestrator.playbook.limits import RateLimits, Settle
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.value_types import Count, Dispatch, NoticeKind, PositiveDuration, RateOrAuto


def _read_url(url: str, *, such_as: str) -> tuple[SplitResult, str]:
    """Parse a web address; return its parts and its host. Errors never repeat the address."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL without spaces or characters beyond ASCII")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: host or port can't be read") from None
    del port
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"must be a URL such as {such_as}")
    return parts, host


def _check_base_url(url: str) -> str:
    """Check a base URL. Errors never repeat the URL: a wrong URL may hold a password, or be the key itself."""
    parts, host = _read_url(url, such_as="https://cloud-api.phala.com/api/v1")
    if "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError("must have no query, fragment, user or password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"must be https, or the key would be sent unencrypted; {host} is not this machine")
    return url.rstrip("/")


def _check_store_url(url: str) -> str:
    """Check the URL of a database. Errors never repeat the URL: a wrong URL may hold a password."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL without spaces or characters beyond ASCII")
    scheme, _, rest = url.partition("://")
    # Several hosts may stand in the URL, so `urlsplit` can't read every valid URL.
    address, _, query = rest.partition("?")
    user = address.rpartition("@")[0]
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise ValueError("must be a URL such as postgresql://orchestrator_worker@db.example.com/orchestrator")
    if ":" in user or "password=" in query:
        raise ValueError("must have no password; use PGPASSFILE (~/.pgpass), PGPASSWORD or a client certificate")
    return url


def check_webhook_url(secret: SecretStr) -> SecretStr:
    """Check the URL of a webhook. Errors never repeat the URL, because the URL itself permits posts.

    Raises:
        ValueError: when notices can't be sent to the URL safely.
    """
    url = secret.get_secret_value()
    parts, host = _read_url(url, such_as="https://hooks.example.com/…")
    if "#" in url or "@" in parts.netloc:
        raise ValueError("must have no fragment, user or password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https, or notices would be sent unencrypted to another machine")
    return secret


_SECRET_BYTES = range(24, 65)


def check_webhook_secret(secret: SecretStr) -> SecretStr:
    """Check a shared secret in the format of Standard Webhooks.

    Raises:
        ValueError: when the secret has another format.
    """
    scheme, encoded = secret.get_secret_value()[:6], secret.get_secret_value()[6:]
    try:
        size = len(b64decode(encoded, validate=True))
    except ValueError:
        size = 0
    if scheme != "whsec_" or size not in _SECRET_BYTES:
        raise ValueError("must be `whsec_` and 24 to 64 bytes in base64, such as from `openssl rand -base64 32`")
    return secret


def _check_key(secret: SecretStr) -> SecretStr:
    # A key from a file, such as a mounted Kubernetes secret, often ends with a newline.
    text = secret.get_secret_value().strip()
    if text[:1] in {'"', "'"} or text[-1:] in {'"', "'"}:
        raise ValueError("has quotes around it: give the key without quotes")
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise ValueError("must be printable ASCII without spaces; remove other pasted characters")
    return SecretStr(text)


def _check_command(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0]:
        raise ValueError("must name a program")
    return command


class HomeUnknownError(Exception):
    """Raised when the state folder would be in an unknown home folder."""


def _default_state_folder() -> Path:
    try:
        return user_state_path("orchestrator")
    except RuntimeError as error:
        raise HomeUnknownError from error


def _check_path(path: Path) -> Path:
    text = str(path)
    if "\0" in text:
        raise ValueError("must be a path without a NUL")
    if text == ".":
        raise ValueError("must not be empty")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"has an unknown home folder: {text}") from None


FilePath = Annotated[Path, AfterValidator(_check_path)]
ApiKey = Annotated[SecretStr, AfterValidator(_check_key)]
BaseUrl = Annotated[str, AfterValidator(_check_base_url)]
StoreUrl = Annotated[str, AfterValidator(_check_store_url)]


def _refuse_secret(path: Path) -> Path:
    """Refuse a secret in place of a path: an unreadable path is shown in messages."""
    if str(path).startswith(("http:/", "https:/", "whsec_", "phak_")):
        raise ValueError("must be the path of a file; put the value into the setting without `_file`")
    return path


SecretPath = Annotated[FilePath, AfterValidator(_refuse_secret)]


class CloudSection(DocumentedModel):
    """Address of the API, and the API key."""

    base_url: BaseUrl = "https://cloud-api.phala.com/api/v1"
    """The API's address with /api/v1; https except on this machine. PHALA_CLOUD_API_PREFIX is the vendor's name."""
    api_key: ApiKey | None = None
    """Key of the workspace; safer in the environment (PHALA_CLOUD_API_KEY is the vendor's name) than in a file."""
    api_key_file: FilePath | None = None
    """File with only the key, readable only by its owner; `~` is your home folder."""
    api_key_command: Annotated[tuple[str, ...], AfterValidator(_check_command)] | None = None
    """Program and arguments, without a shell, that print the key within 10s; the output is never shown."""
    profile: Annotated[str, Field(min_length=1)] | None = None
    """Profile of the vendor's credentials file, with its own key and address; as `--profile`."""
    api_version: Literal["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"] = "2026-06-23"
    """Sent as X-Phala-Version; the newest version reports the cost of each CVM."""
    timeout: PositiveDuration = 30.0
    """Time for one request, from the connection to the last byte of the answer."""


class RateSection(RateLimits):
    """Limits of the rate and width of every run, unless the playbook's own `limits` set other values.

    `requests_per_second` and `burst` set here hold for all runs of a workspace together, and playbooks only go below.
    """

    requests_per_second: RateOrAuto = 5.0
    burst: Count = 5
    max_in_flight: Count = 10
    per_teepod: Count = 10
    dispatch: Dispatch = "single"


class SettleSection(Settle):
    """How to watch CVMs after a request."""

    timeout: PositiveDuration = 600.0
    recheck_after: PositiveDuration = 2.0
    """The lag of the API's reads. Only a read begun this long after a request can prove that nothing happened."""
    poll_min: PositiveDuration = 0.2
    """Shortest time between two rounds of status reads."""
    poll_max: PositiveDuration = 15.0
    """Longest time between two rounds of status reads."""
    cloud_down: PositiveDuration = 600.0
    """Longest outage of the whole API, with probes, before the run ends (resumable)."""
    whole_run: PositiveDuration = 86_400.0
    """Longest duration of a run before the run ends (resumable)."""
    batch_size: Count = 1000
    """Most statuses in one request; shrinks by itself when the server accepts fewer."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.poll_min > self.poll_max:
            raise ValueError(f"poll_min ({self.poll_min:g}s) is above poll_max ({self.poll_max:g}s)")
        return self


class GuardsSection(Guards):
    """Guards for every playbook: the smaller limit wins, and protections add up."""

    recheck_after: PositiveDuration = 300.0
    """After a later answer to the question, every target's status is read again before anything is sent."""


class KeepSection(DocumentedModel):
    """Exemptions: CVMs left up until a time. See also `orchestrator keep`."""

    file: FilePath | None = None
    """A reviewed file of exemptions; a missing or broken file refuses every action."""


_KEY_BYTES = 32
_KEY_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""The DER bytes before the 32 bytes of an Ed25519 public key."""


def read_key_bytes(text: str) -> bytes:
    """Return the 32 bytes of an Ed25519 public key, from PEM or from base64 with or without the DER bytes before.

    Raises:
        ValueError: when the text is no such key.
    """
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key; give its public part: openssl pkey -in KEY -pubout")
    lines = [line.strip() for line in text.strip().splitlines()]
    if lines and lines[0] == "-----BEGIN PUBLIC KEY-----" and lines[-1] == "-----END PUBLIC KEY-----":
        lines = lines[1:-1]
    try:
        data = b64decode("".join(lines), validate=True)
    except ValueError:
        data = b""
    raw = data.removeprefix(_KEY_PREFIX)
    if len(raw) != _KEY_BYTES:
        raise ValueError("is not an Ed25519 public key in PEM or base64; `orchestrator audit keygen` makes a pair")
    return raw


def _check_public_key(text: str) -> str:
    read_key_bytes(text)
    return text


def _check_key_name(name: str) -> str:
    if not name.isprintable() or not name.strip() or len(name) > _LONGEST_NAME:
        raise ValueError(f"must be 1 to {_LONGEST_NAME} printable characters")
    return name


_LONGEST_NAME = 64


class ApprovalKey(DocumentedModel):
    """Key of a person with the right to approve or start runs."""

    name: Annotated[str, AfterValidator(_check_key_name)]
    """Name of the person."""
    public_key: Annotated[str, AfterValidator(_check_public_key)] | None = None
    """Ed25519 public key, in PEM or base64."""
    public_key_file: FilePath | None = None
    """File with only that key."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.public_key is None) == (self.public_key_file is None):
            raise ValueError("needs either public_key or public_key_file")
        return self


def _check_keys(keys: tuple[ApprovalKey, ...]) -> tuple[ApprovalKey, ...]:
    """Refuse two keys with one name, and one key with two names; the keys of files are compared once they are read."""
    names = [key.name for key in keys]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ValueError(f"two keys have the name {double!r}; give every key its own name")
    holders: dict[bytes, str] = {}
    for key in keys:
        raw = None if key.public_key is None else read_key_bytes(key.public_key)
        if raw is not None and holders.setdefault(raw, key.name) != key.name:
            raise ValueError(f"{holders[raw]!r} and {key.name!r} have the same key; one person is one key")
    return keys


class ApprovalSection(DocumentedModel):
    """Signed approvals of plans: with `keys`, nothing changes CVMs without an approved plan."""

    keys: Annotated[tuple[ApprovalKey, ...], AfterValidator(_check_keys)] = ()
    """Keys of the people who may approve or start runs; without keys, no approval is needed."""
    at_least: Count = 1
    """Number of people who have to approve a plan."""
    not_the_starter: bool = True
    """Whether the starter of a run has to sign too, and can't be one of its approvers."""
    valid_for: PositiveDuration = 86_400.0
    """Longest validity of an approval."""
    exempt: tuple[str, ...] = ()
    """Names of playbooks that need no approval, such as those with a schedule."""


class AuditSection(DocumentedModel):
    """Storage of runs."""

    state_dir: FilePath = Field(default_factory=_default_state_folder)
    """Folder of `runs/` and of other state; ORCHESTRATOR_STATE_DIR is its short name."""
    resume_without_asking: PositiveDuration = 3600.0
    """`resume` of an older plan asks again before sending: a CVM may have been started on purpose."""


class BillingSection(DocumentedModel):
    """Prices for the billing notes, and the waiting time of `reconcile` for charges."""

    storage_usd_per_gb_hour: Annotated[Decimal, Field(ge=0, le=1000)] = Decimal("0.000139")
    """The vendor's published storage price, charged for running and stopped CVMs alike."""
    pending_for: PositiveDuration = 21_600.0
    """Time from a stop; a charge still missing in the usage by then counts as none, such as for less than a minute."""


class NotifySection(DocumentedModel):
    """Receivers and kinds of notices."""

    webhook_url: Annotated[SecretStr, AfterValidator(check_webhook_url)] | None = None
    """URL for notices as JSON (POST); https except on this machine. A secret, because the URL permits posts."""
    webhook_url_file: SecretPath | None = None
    """File with only that URL, readable only by its owner."""
    webhook_secret: Annotated[SecretStr, AfterValidator(check_webhook_secret)] | None = None
    """Signature secret of notices (Standard Webhooks): `whsec_` and 24 to 64 bytes in base64."""
    webhook_secret_file: SecretPath | None = None
    """File with only that secret, readable only by its owner."""
    slack_url: Annotated[SecretStr, AfterValidator(check_webhook_url)] | None = None
    """Incoming webhook of Slack, or of a compatible service (Mattermost, Discord's URL with /slack)."""
    slack_url_file: SecretPath | None = None
    """File with only that URL, readable only by its owner."""
    on: tuple[NoticeKind, ...] = ("start", "end", "failure", "approval", "message")
    """Kinds of notices; "message" is the message of a `notify` step. A playbook's own `notify.on` wins."""
    timeout: PositiveDuration = 10.0
    """Time for one attempt to deliver a notice."""
    retry_for: PositiveDuration = 600.0
    """Time of retries for one notice (429, 5xx, no answer), before a warning gives up the notice."""
    drain: PositiveDuration = 5.0
    """Longest wait of a finished run for its last notices; after Ctrl-C at most a second."""

    @property
    def has_receivers(self) -> bool:
        """Whether there is any receiver."""
        return bool(self.webhook_url or self.webhook_url_file or self.slack_url or self.slack_url_file)


class LogSection(DocumentedModel):
    """Log lines on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of log lines; lines of CVMs that ended as wanted are `info`."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is text on a terminal, and JSON lines otherwise."""
    cvms: Literal["auto", "each", "by_teepod"] = "auto"
    """`each`: a line per CVM. `by_teepod`: a line per failure and teepod. `auto`: by teepod on a terminal, otherwise
    each.
    """


class StoreSection(DocumentedModel):
    """The team store: a PostgreSQL database for runs from several machines. Without `url`, runs are files."""

    url: StoreUrl | None = None
    """URL of the database, without a password; needs the extra `postgres` of the package."""
    lease: PositiveDuration = 60.0
    """Time until another worker may take over the run of a dead worker; at least twice `cloud.timeout`."""
    outage: PositiveDuration = 600.0
    """Longest outage of the database before a run ends (resumable)."""
    listen: bool = True
    """Wait for notifications of the database; `false` behind PgBouncer in transaction mode."""


class WorkerSection(DocumentedModel):
    """Limits of `worker`."""

    runs: Count = 50
    """Most runs of one worker at the same time, without runs that wait for the other runs of their fleet run."""


class ServiceSection(DocumentedModel):
    """The page of `serve`."""

    token_file: FilePath | None = None
    """File of tokens for the page, readable only by its owner: `NAME viewer TOKEN` or `NAME operator TOKEN` a line."""
    session: PositiveDuration = 28_800.0
    """Time until a browser has to log in again."""
    metrics: Literal["open", "token"] = "open"
    """`open`: anyone who reaches the address reads /metrics. `token`: only with a token of the file."""
