"""Sign notices by Standard Webhooks (standardwebhooks.com), verifiable by its libraries. Pure."""

import hmac
from base64 import b64decode, b64encode


def sign_headers(notice_id: str, body: bytes, *, at: int, secret: str | None) -> dict[str, str]:
    """Make the headers with the id, the time and the signature of a notice.

    Args:
        notice_id: the id; the same for every attempt.
        body: the exact bytes sent.
        at: the time of this attempt, in seconds since 1970.
        secret: `whsec_` and base64; None for no signature.
    """
    found = {"webhook-id": notice_id, "webhook-timestamp": str(at)}
    if secret is not None:
        signed = b".".join([notice_id.encode(), str(at).encode(), body])
        digest = hmac.digest(b64decode(secret.removeprefix("whsec_")), signed, "sha256")
        found["webhook-signature"] = f"v1,{b64encode(digest).decode()}"
    return found
