"""The actor of a command, for the audit log and plan files."""

import getpass
import os
import socket


def find_actor() -> str:
    """Return user@host. A user without a name on the system, as in many containers, appears as a number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
