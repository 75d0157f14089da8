"""Settings that are refused: by file and line, variable or option, and never with the key in the words."""

import pickle
import re
import traceback
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.load import load_settings
from tests.settings.test_sources import key_file

SECRET = "phak_5ecret"


def refusal(*assignments: str, config: Path | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, assignments)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        ("[rate]\n\nbrust = 3\n", 3, "unknown key 'brust' in rate", "did you mean 'burst'?"),
        ("\n[raet]\nburst = 3\n", 2, "unknown key 'raet'", "did you mean 'rate'?"),
        ("\n[raet.sub]\nburst = 3\n", 2, "unknown key 'raet'", "did you mean 'rate'?"),
        ("[settle]\ntimeout = 5\ntimeout_x = 3\n", 3, "unknown key 'timeout_x' in settle", "'timeout'"),
        ("rate = {burst = 3, brust = 3}\n", 1, "unknown key 'brust' in rate", "'burst'"),
        ("rate.burst = 3\nrate.brust = 3\n", 2, "unknown key 'brust' in rate", "'burst'"),
        ("[guards.protect]\nname = ['a']\nnmae = ['a']\n", 3, "unknown key 'nmae' in guards.protect", "'name'"),
        ("[guards.protect]\napp_id = [\n  0x12,\n]\n", 2, "guards.protect.app_id[0]: must be text", None),
        ("[rate]\nburst = 0\n", 2, "rate.burst must be at least 1, not 0", "never 'no limit'"),
        ("[approval]\nat_least = 0\n", 2, "approval.at_least must be at least 1, not 0", "config.example.toml"),
        ("[rate]\nburst = true\n", 2, "rate.burst: must be a number, not true", None),
        ("[rate]\nrequests_per_second = inf\n", 2, "rate.requests_per_second must be", None),
        ("[settle]\ntimeout = 'soon'\n", 2, "settle.timeout: 'soon' is not a duration", None),
        ("[settle]\ntimeout = 0\n", 2, "settle.timeout: must be above 0", None),
        ("[settle]\npoll_min = 20\n", 1, "settle: poll_min (20s) is above poll_max (15s)", None),
        ("[billing]\nstorage_usd_per_gb_hour = -1\n", 2, "billing.storage_usd_per_gb_hour must be at least 0", None),
        ("[billing]\nstorage_usd_per_gb_hour = nan\n", 2, "billing.storage_usd_per_gb_hour must be", None),
        ("[log]\nlevel = 'loud'\n", 2, "log.level must be 'debug', 'info', 'warning' or 'error', not 'loud'", None),
        ("[cloud]\napi_version = '2020-01-01'\n", 2, "cloud.api_version must be", None),
        ("[audit]\nstate_dir = ''\n", 2, "audit.state_dir: must not be empty", None),
        ("[audit]\nstate_dir = 'a\\u0000b'\n".replace("'", '"'), 2, "audit.state_dir: must be a path", None),
        ("[audit]\nstate_dir = '~nobody-here/x'\n", 2, "audit.state_dir: has an unknown home folder", None),
        ("rate = 5\n", 1, "rate must be a mapping", None),
        ("[rate]\nburst = \n", 2, "not valid TOML", "quotes"),
        ("[rate]\nburst = 1\nburst = 2\n", 3, "not valid TOML", None),
        ("[rate]\nburst = " + "9" * 5000 + "\n", None, "can't be read", None),
        ("a = " + "[" * 5000 + "\n", None, "can't be read", None),
    ],
)
def test_a_fault_of_the_file_is_told_by_its_line(text: str, line: int | None, says: str, hint: str | None) -> None:
    Path("config.toml").write_text(text)
    error = refusal()
    assert says in error.message
    assert (error.file, error.line) == ("config.toml", line)
    assert hint is None or hint in (error.hint or "")


def test_every_fault_is_told_at_once() -> None:
    Path("config.toml").write_text("[rate]\nper_teepod = 0\nburst = 0\n")
    error = refusal()
    assert [error.line, *(each.line for each in error.more)] == [2, 3]


def test_a_fault_of_the_command_line_or_the_environment_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text("[rate]\nburst = 1\n")
    assert "--set rate.burst: " in refusal("rate.burst=0").message
    assert refusal("rate.brust=1").hint == "did you mean 'burst'?"
    monkeypatch.setenv("ORCHESTRATOR_RATE__BURST", "x")
    assert "environment variable ORCHESTRATOR_RATE__BURST: " in refusal().message
    monkeypatch.setenv("ORCHESTRATOR_RATE__BURST", "1")
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "ftp://x")
    assert "environment variable PHALA_CLOUD_API_PREFIX: " in refusal().message
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "")
    monkeypatch.setenv("ORCHESTRATOR_RATE", "{")
    assert "environment" in refusal().message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ORCHESTRATOR_RATE__BRUST", "burst"),
        ("ORCHESTRATOR_RAET__BURST", "ORCHESTRATOR_RATE__BURST"),
        ("ORCHESTRATOR_RATE_BURST", "ORCHESTRATOR_RATE__BURST"),
        ("ORCHESTRATOR_STATEDIR", "ORCHESTRATOR_STATE_DIR"),
    ],
)
def test_a_variable_that_is_nearly_one_of_ours_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "3")
    error = refusal()
    assert name in error.message
    assert hint in (error.hint or "")


def test_variables_that_a_container_platform_sets_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCHESTRATOR_PORT", "ORCHESTRATOR_SERVICE_HOST", "ORCHESTRATOR_PORT_80_TCP_ADDR"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert load_settings().rate.burst == 5


@pytest.mark.parametrize("data", [b"\xff\xfe", "[rate]\n# é".encode("latin-1")])
def test_a_file_that_is_not_utf_8_is_refused(data: bytes) -> None:
    Path("config.toml").write_bytes(data)
    assert "UTF-8" in refusal().message


def test_a_byte_order_mark_and_carriage_returns_change_nothing() -> None:
    Path("config.toml").write_bytes(b"\xef\xbb\xbf[rate]\r\nburst = 3\r\n")
    assert load_settings().rate.burst == 3


def test_a_file_that_is_missing_or_a_folder_is_refused(folder: Path) -> None:
    assert "no such settings file" in refusal(config=folder / "none.toml").message
    assert "can't be read" in refusal(config=folder).message


@pytest.mark.parametrize(
    "url",
    ["https://x.example/api/v1", "http://localhost:8080/api/v1", "http://127.0.0.2:1", "http://[::1]:9", "HTTPS://X"],
)
def test_https_and_loopback_urls_are_taken(url: str) -> None:
    assert load_settings(None, (f"cloud.base_url={url}/",)).cloud.base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example",
        "http://localhost.x.example",
        "http://127.0.0.1.x.example",
        "http://0.0.0.0",
        "http://[::2]",
        "ftp://localhost",
        "localhost",
        "",
        "https://",
        "https:///x",
        "https://[::1",
        "https://x:99999",
        "https://x y",
        "https://x\n.example",
        " https://x",
        "https://é.example",
        f"https://{SECRET}@x",
        f"https://u:{SECRET}@x",
        f"http://u:{SECRET}@x",
        f"ftp://u:{SECRET}@x",
        f"https://u:x@{SECRET}:y",
        "https://@x",
        f"https://x/?key={SECRET}",
        f"http://x/?key={SECRET}",
        f"https://x/#{SECRET}",
        SECRET,
    ],
)
def test_other_urls_are_refused_without_repeating_them(url: str) -> None:
    Path("config.toml").write_text(f'[cloud]\nbase_url = "{url}"\n'.replace("x\n.", "x\\n."))
    assert SECRET not in _everything(refusal())


@pytest.mark.parametrize(
    "value",
    [
        f"{SECRET} x",
        f'"{SECRET}"\n',
        f"{SECRET}\n{SECRET}",
        f"{SECRET}é",
        f"{SECRET}\x00",
        f"a {SECRET}",
        f"\x1b{SECRET}",
    ],
)
def test_a_key_that_can_not_be_sent_is_refused_without_repeating_it(value: str) -> None:
    escaped = "".join(f"\\u{ord(char):04x}" if not char.isalnum() else char for char in value)
    Path("config.toml").write_text(f'[cloud]\napi_key = "{escaped}"\n', encoding="utf-8")
    error = refusal()
    assert error.line == 2
    assert SECRET not in _everything(error)


@pytest.mark.parametrize(
    "text",
    [
        f'[cloud]\napi_key = ["{SECRET}"]\n',
        f'[cloud.api_key]\nx = "{SECRET}"\n',
        f'cloud = "{SECRET}"\n',
        f'cloud = ["{SECRET}"]\n',
        f'[cloud]\nkey = "{SECRET}"\n',
        f'[cloud]\napi_key = "{SECRET}\n',
        f"[cloud]\napi_key = {SECRET}\n",
        f'[cloud]\napi_key = "{SECRET}"\nbase_url = 5\n',
    ],
)
def test_no_misplaced_key_is_repeated(text: str) -> None:
    Path("config.toml").write_text(text)
    assert SECRET not in _everything(refusal())


@pytest.mark.parametrize("value", [SECRET, f'{{"api_key": "{SECRET}"', f'{{"api_key": ["{SECRET}"]}}', f'"{SECRET}"'])
def test_no_misplaced_key_of_the_environment_is_repeated(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CLOUD", value)
    assert SECRET not in _everything(refusal())


def test_a_key_is_in_no_text_that_settings_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", SECRET)
    settings = load_settings()
    assert settings.key() == SECRET
    texts = [
        repr(settings),
        str(settings),
        repr(settings.cloud),
        str(settings.model_dump()),
        settings.model_dump_json(),
    ]
    assert not any(SECRET in text for text in texts)


def test_without_a_key_the_hint_says_where_to_put_it() -> None:
    with pytest.raises(SettingsError, match="no API key") as caught:
        load_settings().key()
    assert "PHALA_CLOUD_API_KEY" in (caught.value.hint or "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
def test_a_key_file_that_others_may_use_is_refused(folder: Path, mode: int) -> None:
    file = key_file(folder, SECRET, mode)
    with pytest.raises(SettingsError, match="others may read") as caught:
        load_settings(None, (f"cloud.api_key_file={file}",)).key()
    assert SECRET not in _everything(caught.value)
    assert caught.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("content", ["", "\n", f"{SECRET} x", f"{SECRET}\n{SECRET}", f"{SECRET}é", f"key={SECRET}\t1"])
def test_a_key_file_with_anything_but_a_key_is_refused_without_repeating_it(folder: Path, content: str) -> None:
    file = key_file(folder, content)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, (f"cloud.api_key_file={file}",)).key()
    assert caught.value.file == str(file)
    assert SECRET not in _everything(caught.value)


def test_a_key_file_that_is_missing_or_a_folder_is_refused(folder: Path) -> None:
    for file in (folder / "none", folder):
        with pytest.raises(SettingsError, match="can't be read"):
            load_settings(None, (f"cloud.api_key_file={file}",)).key()


def _everything(error: SettingsError) -> str:
    """All that could be shown of an error: its words, its causes, what it carries."""
    every = [error, *error.more]
    texts = [f"{each}{each.hint}{each!r}" for each in every]
    chains = ["".join(traceback.format_exception(each)) for each in every]
    return "\n".join([*texts, *chains, str(pickle.dumps(error.message))])


KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f'keys = [{{name = "a", public_key = "{KEY}"}}]',
            "approval.at_least = 1 needs 2 keys or more, the key of the",
        ),
        (
            f'keys = [{{name = "a", public_key = "{KEY}"}}, {{name = "a", public_key_file = "b.pem"}}]',
            "two keys have the name 'a'",
        ),
        (
            f'keys = [{{name = "a", public_key = "{KEY}"}}, {{name = "b", public_key = "{KEY}"}}]',
            "'a' and 'b' have the same key; one person is one key",
        ),
        ('keys = [{name = "a", public_key = "MCow"}]', "is not an Ed25519 public key in PEM or base64"),
        ('keys = [{name = "a"}]', "needs either public_key or public_key_file"),
    ],
)
def test_keys_of_approvers_that_approve_nothing_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"[approval]\n{text}\n")
    with pytest.raises(SettingsError, match=re.escape(reason)) as caught:
        load_settings(file)
    assert caught.value.file == str(file)


def test_the_files_of_public_keys_go_by_the_folder_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    pem = f"-----BEGIN PUBLIC KEY-----\\n{KEY}\\n-----END PUBLIC KEY-----\\n"
    file.write_text(
        f'[approval]\nkeys = [{{name = "a", public_key_file = "a.pem"}}, {{name = "b", public_key = "{pem}"}}]\n'
    )
    first, second = load_settings(file).approval.keys
    assert (first.public_key_file, second.public_key_file) == (tmp_path / "a.pem", None)
