"""The signature of a notice."""

from base64 import b64encode

from orchestrator.notify.signature import sign_headers


def test_a_signature_matches_the_example_of_standard_webhooks() -> None:
    """The example of the specification's reference implementations."""
    found = sign_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        at=1614265330,
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert found == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_without_a_secret_a_notice_has_an_id_and_no_signature() -> None:
    assert set(sign_headers("x", b"", at=1, secret=None)) == {"webhook-id", "webhook-timestamp"}
    other = sign_headers("x", b"", at=1, secret="whsec_" + b64encode(b"k" * 24).decode())
    assert "webhook-signature" in other
