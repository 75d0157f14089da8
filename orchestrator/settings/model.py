"""Every setting, with its default and its meaning. The docs and `config.example.toml` are made from here."""

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
    """The parts of a web address and its host. Its text is not repeated in what is raised."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL without spaces or characters beyond ASCII")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port can't be read") from None
    del port
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"must be a URL such as {such_as}")
    return parts, host


def _base_url(url: str) -> str:
    """The URL, if the key may go there. What it says is not repeated: it may hold a password, or be the key itself."""
    parts, host = _read_url(url, such_as="https://cloud-api.phala.com/api/v1")
    if "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError("must have no query, fragment, user or password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"must be https, or the key would travel in the clear; {host} is not this machine")
    return url.rstrip("/")


def check_webhook_url(secret: SecretStr) -> SecretStr:
    """The URL, if notices may go there. Of what it says nothing is repeated: whoever knows it can post.

    Raises:
        ValueError: when it is none.
    """
    url = secret.get_secret_value()
    parts, host = _read_url(url, such_as="https://hooks.example.com/…")
    if "#" in url or "@" in parts.netloc:
        raise ValueError("must have no fragment, user or password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https, or notices would travel in the clear; it is not on this machine")
    return secret


_SECRET_BYTES = range(24, 65)


def check_webhook_secret(secret: SecretStr) -> SecretStr:
    """The shared secret, if it is one as Standard Webhooks has them.

    Raises:
        ValueError: when it is none.
    """
    scheme, encoded = secret.get_secret_value()[:6], secret.get_secret_value()[6:]
    try:
        size = len(b64decode(encoded, validate=True))
    except ValueError:
        size = 0
    if scheme != "whsec_" or size not in _SECRET_BYTES:
        raise ValueError("must be `whsec_` and 24 to 64 bytes in base64, such as `openssl rand -base64 32` prints")
    return secret


def _key(secret: SecretStr) -> SecretStr:
    # A key from a file, such as a mounted Kubernetes secret, often ends with a newline.
    text = secret.get_secret_value().strip()
    if text[:1] in {'"', "'"} or text[-1:] in {'"', "'"}:
        raise ValueError("has quotes around it: give the key without quotes")
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise ValueError("must be printable ASCII without spaces; it may have been pasted with something around it")
    return SecretStr(text)


class HomeUnknownError(Exception):
    """Raised when the state folder would be below a home folder that is not known."""


def _state_folder() -> Path:
    try:
        return user_state_path("orchestrator")
    except RuntimeError as error:
        raise HomeUnknownError from error


def _file_path(path: Path) -> Path:
    text = str(path)
    if "\0" in text:
        raise ValueError("must be a path, which has no NUL")
    if text == ".":
        raise ValueError("must not be empty")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"has a home folder that is not known: {text}") from None


FilePath = Annotated[Path, AfterValidator(_file_path)]


def _names_no_secret(path: Path) -> Path:
    """A path is shown where it can't be read, so what was meant for the setting beside it must not be one."""
    if str(path).startswith(("http:/", "https:/", "whsec_")):
        raise ValueError("must be the path of a file; the setting of the same name without `_file` takes the value")
    return path


_SecretPath = Annotated[FilePath, AfterValidator(_names_no_secret)]


class CloudSection(DocumentedModel):
    """Where the API is, and who asks."""

    base_url: Annotated[str, AfterValidator(_base_url)] = "https://cloud-api.phala.com/api/v1"
    """The API, including /api/v1; https unless it is on this machine. PHALA_CLOUD_API_PREFIX is the vendor's name."""
    api_key: Annotated[SecretStr, AfterValidator(_key)] | None = None
    """The key of the workspace; better in the environment (PHALA_CLOUD_API_KEY is the vendor's name) than in a file."""
    api_key_file: FilePath | None = None
    """A file that holds the key and nothing else, readable by its owner alone; `~` is your home folder."""
    api_version: Literal["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"] = "2026-06-23"
    """Sent as X-Phala-Version; the newest one tells what each CVM costs."""
    timeout: PositiveDuration = 30.0
    """For one request, from connecting to the last byte of its answer."""


class RateSection(RateLimits):
    """Limits of the rate and width of every run, unless the playbook's own `limits` set other values."""

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
    """Guards that hold for every playbook: the smaller limit wins, and protection adds up."""

    recheck_after: PositiveDuration = 300.0
    """When the question was answered later than this, every target's status is read anew before anything is sent."""


class AuditSection(DocumentedModel):
    """Where runs are kept."""

    state_dir: FilePath = Field(default_factory=_state_folder)
    """The folder that holds `runs/` and what is kept beside it; ORCHESTRATOR_STATE_DIR is its short name."""
    resume_without_asking: PositiveDuration = 3600.0
    """`resume` asks again before it sends anything when the plan is older: a CVM may have been started on purpose."""


class BillingSection(DocumentedModel):
    """What the billing notes reckon with, and how long `reconcile` waits for a charge."""

    storage_usd_per_gb_hour: Annotated[Decimal, Field(ge=0, le=1000)] = Decimal("0.000139")
    """The vendor's published storage price, charged for running and stopped CVMs alike."""
    pending_for: PositiveDuration = 21_600.0
    """From a stop on; a charge that is not among the usage by then counts as none, such as for less than a minute."""


class NotifySection(DocumentedModel):
    """Whom to tell of a run, and of what."""

    webhook_url: Annotated[SecretStr, AfterValidator(check_webhook_url)] | None = None
    """Where to POST notices as JSON; https unless it is on this machine. Whoever knows it can post: it is a secret."""
    webhook_url_file: _SecretPath | None = None
    """A file that holds that URL and nothing else, readable by its owner alone."""
    webhook_secret: Annotated[SecretStr, AfterValidator(check_webhook_secret)] | None = None
    """What notices to it are signed with (Standard Webhooks): `whsec_` and 24 to 64 bytes in base64."""
    webhook_secret_file: _SecretPath | None = None
    """A file that holds that secret and nothing else, readable by its owner alone."""
    slack_url: Annotated[SecretStr, AfterValidator(check_webhook_url)] | None = None
    """An incoming webhook of Slack, or of what understands its messages (Mattermost, Discord's URL with /slack)."""
    slack_url_file: _SecretPath | None = None
    """A file that holds that URL and nothing else, readable by its owner alone."""
    on: tuple[NoticeKind, ...] = ("start", "end", "failure", "approval", "message")
    """Of what: any of these; "message" is what `notify` steps say. A playbook's own `notify.on` wins over it."""
    timeout: PositiveDuration = 10.0
    """For one attempt to deliver a notice."""
    retry_for: PositiveDuration = 600.0
    """How long one notice is tried again (429, 5xx, no answer) before it is given up with a warning."""
    drain: PositiveDuration = 5.0
    """How long a finished run waits at the most for its last notices; after Ctrl-C no more than a second."""

    @property
    def somebody(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.webhook_url or self.webhook_url_file or self.slack_url or self.slack_url_file)


class LogSection(DocumentedModel):
    """What goes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Below this nothing is written; lines of CVMs that ended as wanted are `info`."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is for people on a terminal, and JSON lines otherwise."""
    cvms: Literal["auto", "each", "by_teepod"] = "auto"
    """A line for each CVM, or for failures and each teepod: `auto` is by teepod on a terminal, and each otherwise."""
