"""Health check of a running service, for containers: `python -m orchestrator.service.healthcheck [URL]`."""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8642/healthz"
TIMEOUT = 5.0
_OK = 200


def find_health_fault(url: str, timeout: float = TIMEOUT) -> str | None:
    """Read the URL once, without proxies and redirects; returns the fault, or None for status 200.

    Args:
        url: address of `/healthz`, http only.
        timeout: seconds for the connection, and for each read.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            return f"not an http address: {url!r}; give one such as {DEFAULT_URL}"
        connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    except ValueError as error:
        return f"not an address: {url!r}: {error}"
    try:
        connection.request("GET", parts.path or "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return (
            f"no reply from {url}: {str(error) or type(error).__name__}; is `serve` running with this --listen address?"
        )
    finally:
        connection.close()
    return None if status == _OK else f"{url} replied with status {status}"


def main(arguments: list[str]) -> int:
    """Check the service; returns 0 for a healthy service, 1 otherwise (the codes of a container's health check)."""
    fault = find_health_fault(arguments[0] if arguments else DEFAULT_URL)
    sys.stdout.write(f"{fault or 'healthy'}\n")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
