"""Who gives a command: what the audit log and plan files say."""

import getpass
import os
import socket


def actor() -> str:
    """user@host; a number where the system has no name for the user, as in many containers."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
