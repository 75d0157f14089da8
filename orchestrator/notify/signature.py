"""Signing notices as Standard Webhooks (standardwebhooks.com) has it, so that their libraries can verify them. Pure."""

import hmac
from base64 import b64decode, b64encode


def headers(notice_id: str, body: bytes, *, at: int, secret: str | None) -> dict[str, str]:
    """The headers by which a recipient knows a notice again, and knows that it is genuine.

    Args:
        notice_id: the same for every attempt.
        body: exactly what is sent.
        at: the moment of this attempt, in seconds since 1970.
        secret: `whsec_` and base64; None where nothing is signed.
    """
    found = {"webhook-id": notice_id, "webhook-timestamp": str(at)}
    if secret is not None:
        signed = b".".join([notice_id.encode(), str(at).encode(), body])
        digest = hmac.digest(b64decode(secret.removeprefix("whsec_")), signed, "sha256")
        found["webhook-signature"] = f"v1,{b64encode(digest).decode()}"
    return found
