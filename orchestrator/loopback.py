"""Loopback addresses."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return True if a host is certainly this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
