"""Tokens, sessions, the origin of requests, and the limit of attempts."""

from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.service.page.access import (
    Role,
    Sessions,
    Throttle,
    TokenFile,
    find_token,
    hash_token,
    is_from_here,
    is_own_form,
    parse_tokens,
)

LONG = "x" * 32
FILE = Path("tokens")


def test_a_token_file_has_names_roles_and_tokens_or_their_digests() -> None:
    text = f"# on call\nanna operator {LONG}\n\nvera viewer sha256:{hash_token('y' * 40).hex()}\n"
    tokens = parse_tokens(text, FILE)
    assert [(each.name, each.role) for each in tokens] == [("anna", Role.OPERATOR), ("vera", Role.VIEWER)]
    assert find_token(tokens, LONG) == tokens[0]
    assert find_token(tokens, "y" * 40) == tokens[1]
    assert find_token(tokens, f"sha256:{tokens[1].digest.hex()}") is None
    assert find_token((), "") is None
    assert LONG not in repr(tokens)


@pytest.mark.parametrize(
    "line", ["anna operator", f"anna admin {LONG}", "anna operator short", f"a/b viewer {LONG}", f"a viewer {LONG} x"]
)
def test_another_line_is_refused_with_its_number_and_without_its_token(line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_tokens(f"# comment\n{line}\n", FILE)
    assert (caught.value.file, caught.value.line) == ("tokens", 2)
    assert caught.value.hint
    assert LONG not in str(caught.value)


def test_a_token_of_two_people_is_refused_and_a_person_may_have_two_tokens() -> None:
    with pytest.raises(SettingsError, match="also the token of anna"):
        parse_tokens(f"anna operator {LONG}\nbob viewer {LONG}\n", FILE)
    assert len(parse_tokens(f"anna operator {LONG}\nanna operator {LONG}x\n", FILE)) == 2


def test_a_changed_token_file_counts_at_once_and_a_broken_one_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"anna operator {LONG}\n")
    path.chmod(0o600)
    tokens = TokenFile(path)
    assert [each.name for each in tokens.read()] == ["anna"]
    path.write_text(f"vera viewer {LONG}\n")
    assert [each.name for each in tokens.read()] == ["vera"]
    path.chmod(0o640)
    assert tokens.read() == ()
    assert "others may read" in (tokens.trouble or "")
    path.write_text("# nobody yet\n")
    path.chmod(0o600)
    assert tokens.read() == ()
    assert "no token" in (tokens.trouble or "")
    path.unlink()
    assert tokens.read() == ()
    assert TokenFile(None).read() == ()


def test_a_session_ends_with_its_time_its_token_and_its_logout() -> None:
    tokens = parse_tokens(f"anna operator {LONG}", FILE)
    sessions = Sessions(60)
    one, two, three = (sessions.start(tokens[0], 0) for _ in range(3))
    assert sessions.find(one.session_id, tokens, 59) == one
    assert sessions.find(one.session_id, tokens, 60) is None
    demoted = parse_tokens(f"anna viewer {LONG}", FILE)
    assert sessions.find(two.session_id, demoted, 1) is None
    assert sessions.find(two.session_id, tokens, 1) is None
    sessions.end(three.session_id)
    assert sessions.find(three.session_id, tokens, 1) is None
    assert sessions.find("", tokens, 1) is None


@pytest.mark.parametrize(
    ("host", "more", "is_here"),
    [
        ("127.0.0.1:8642", {}, True),
        ("localhost:8642", {}, True),
        ("[::1]:8642", {}, True),
        ("rebound.example:8642", {}, False),
        ("localhost.evil.example", {}, False),
        ("", {}, False),
        ("[", {}, False),
        ("127.0.0.1", {"x-forwarded-for": "10.0.0.1"}, False),
        ("127.0.0.1", {"forwarded": "for=10.0.0.1"}, False),
        ("127.0.0.1", {"x-forwarded-proto": "https"}, False),
    ],
)
def test_only_a_request_of_this_machine_reads_without_a_token(host: str, more: dict[str, str], is_here: bool) -> None:
    headers = {"host": host, **more}
    assert is_from_here(True, "127.0.0.1", headers) is is_here
    assert not is_from_here(False, "127.0.0.1", headers)
    assert not is_from_here(True, "10.0.0.9", headers)
    assert not is_from_here(True, None, headers)


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"host": "a:1", "origin": "http://a:1"}, True),
        ({"host": "a", "origin": "https://A", "sec-fetch-site": "same-origin"}, True),
        ({"host": "a:1"}, False),
        ({"host": "a:1", "origin": "null"}, False),
        ({"host": "a:1", "origin": "http://a:2"}, False),
        ({"host": "a:1", "origin": "http://evil.example"}, False),
        ({"host": "a:1", "origin": "http://["}, False),
        ({"host": "a:1", "origin": "http://a:1", "sec-fetch-site": "same-site"}, False),
    ],
)
def test_a_form_of_another_page_is_told_apart(headers: dict[str, str], is_own: bool) -> None:
    assert is_own_form(headers) is is_own


def test_attempts_wait_after_a_burst() -> None:
    throttle = Throttle(2, 10)
    for _ in range(2):
        assert throttle.seconds_to_wait("a", 0) == 0
        throttle.count("a", 0)
    assert throttle.seconds_to_wait("a", 0) == 10
    assert throttle.seconds_to_wait("b", 0) == 0
    assert throttle.seconds_to_wait("a", 10) == 0
    throttle.count("a", 10)
    assert throttle.seconds_to_wait("a", 10) == 10
    assert throttle.seconds_to_wait("a", 100) == 0
