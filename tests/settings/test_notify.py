"""The settings of notifications: secrets, files and addresses."""

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.notify.channels.channel import Channel
from orchestrator.notify.channels.registry import read_channels
from orchestrator.notify.channels.slack import SlackChannel
from orchestrator.notify.channels.webhook import WebhookChannel
from orchestrator.settings.load import load_settings
from tests.settings.test_refusals import _everything, refusal
from tests.settings.test_sources import key_file

SECRET = "s3cretw0rd"
URL = f"https://hooks.example/T0/{SECRET}?token={SECRET}"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def told(*assignments: str) -> list[Channel]:
    found, faults = read_channels(load_settings(None, assignments).notify)
    assert faults == []
    return found


def test_by_default_there_is_no_channel_and_all_kinds_are_selected() -> None:
    notify = load_settings().notify
    assert read_channels(notify) == ([], [])
    assert notify.on == ("start", "end", "failure", "approval", "message")


def test_a_webhook_and_slack_can_be_used_together(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text(f'[notify]\nwebhook_url = "{URL}"\nwebhook_secret = "{KEY}"\n')
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__SLACK_URL", URL)
    assert told() == [WebhookChannel(URL, KEY), SlackChannel(URL)]


def test_secrets_can_come_from_files_readable_by_the_owner_only(folder: Path) -> None:
    def of(name: str, text: str, mode: int = 0o600) -> Path:
        return key_file(folder, text, mode).rename(folder / name)

    url, key = of("url", URL), of("secret", KEY)
    assignments = (
        f"notify.webhook_url_file={url}",
        f"notify.webhook_secret_file={key}",
        f"notify.slack_url_file={url}",
    )
    assert told(*assignments) == [WebhookChannel(URL, KEY), SlackChannel(URL)]
    for file, says in ((of("open", URL, 0o644), "others may read"), (of("no-url", SECRET), "must be a URL")):
        found, (fault,) = read_channels(load_settings(None, (*assignments, f"notify.slack_url_file={file}")).notify)
        assert found == [WebhookChannel(URL, KEY)]
        assert says in fault.message
        assert SECRET not in _everything(fault)
        assert fault.file == str(file)


def test_a_url_of_a_source_that_ranks_higher_wins_over_a_file_of_a_lower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text('[notify]\nslack_url_file = "/nowhere"\nwebhook_url_file = "/nowhere"\n')
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__SLACK_URL", URL)
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__WEBHOOK_URL", URL)
    assert [each.url for each in told()] == [URL, URL]


@pytest.mark.parametrize("name", ["webhook_url", "slack_url", "webhook_secret"])
def test_no_secret_is_taken_from_the_command_line(name: str) -> None:
    with pytest.raises(UsageError, match="all users") as caught:
        load_settings(None, (f"notify.{name}={URL}",))
    assert SECRET not in str(caught.value)
    assert f"notify.{name}_file" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "url",
    [
        f"http://hooks.example/{SECRET}",
        f"http://localhost.x.example/{SECRET}",
        f"ftp://localhost/{SECRET}",
        f"https://u:{SECRET}@x/",
        f"https://x/#{SECRET}",
        f"https://x y/{SECRET}",
        f"https://é.example/{SECRET}",
        f"https://x:99999/{SECRET}",
        f"https:///{SECRET}",
        SECRET,
    ],
)
def test_an_invalid_url_is_refused_without_showing_the_url(url: str) -> None:
    Path("config.toml").write_text(f'[notify]\nslack_url = "{url}"\n', encoding="utf-8")
    error = refusal()
    assert (error.file, error.line) == ("config.toml", 2)
    assert error.message.startswith("notify.slack_url ")
    assert SECRET not in _everything(error)


@pytest.mark.parametrize("url", ["http://localhost:8065/hooks/x", "http://127.0.0.1:1/x", "http://[::1]/x"])
def test_a_url_on_this_machine_needs_no_https(url: str) -> None:
    Path("config.toml").write_text(f'[notify]\nwebhook_url = "{url}"\n')
    assert told()[0].url == url


@pytest.mark.parametrize("secret", ["short", "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", f"whsec_{'A' * 100}", "x" * 40])
def test_an_invalid_webhook_secret_is_refused_without_showing_it(secret: str) -> None:
    Path("config.toml").write_text(f'[notify]\nwebhook_url = "{URL}"\nwebhook_secret = "{secret}"\n')
    error = refusal()
    assert error.line == 3
    assert "openssl rand -base64 32" in error.message
    assert secret == "whsec_" or secret not in _everything(error)


def test_an_unused_webhook_secret_does_not_prevent_slack_notices() -> None:
    Path("config.toml").write_text(f'[notify]\nslack_url = "{URL}"\nwebhook_secret = "{KEY}"\n')
    found, (fault,) = read_channels(load_settings().notify)
    assert found == [SlackChannel(URL)]
    assert "nothing to sign" in fault.message


@pytest.mark.parametrize(
    "text",
    [
        f'notify = "{URL}"\n',
        f'[notify]\nslack_url = ["{URL}"]\n',
        f'[notify.slack_url]\nx = "{URL}"\n',
        f'[notify]\nslack = "{URL}"\n',
        f'[notify]\nslack_url_file = "{URL}"\n',
        f'[notify]\nwebhook_secret_file = "whsec_{SECRET}"\n',
        f'[notify]\nslack_url = "{URL}"\non = 5\n',
    ],
)
def test_no_misplaced_secret_is_shown(text: str) -> None:
    Path("config.toml").write_text(text)
    assert SECRET not in _everything(refusal())


def test_secrets_are_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__SLACK_URL", URL)
    settings = load_settings()
    texts = (
        repr(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
        repr(read_channels(settings.notify)),
    )
    assert not any(SECRET in text for text in texts)


def test_on_selects_one_kind_several_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def on(*values: str) -> tuple[str, ...]:
        return load_settings(None, tuple(f"notify.on={value}" for value in values)).notify.on

    assert on("end") == ("end",)
    assert on("end", "failure") == on('["end", "failure"]') == ("end", "failure")
    assert on("[]") == ()
    assert "'start', 'end'" in refusal("notify.on=end failure").message
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__ON", '["approval", "end"]')
    assert load_settings().notify.on == ("approval", "end")
    assert "'start', 'end'" in refusal("notify.on=ends").message
