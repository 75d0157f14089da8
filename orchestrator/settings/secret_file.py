"""Read a file with a secret."""

import stat
from pathlib import Path

from orchestrator.errors import SettingsError
from orchestrator.state_files import read_regular

_MOST_SECRET_BYTES = 65_536
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO


def read_secret(file: Path, what: str) -> str:
    """Read a file with a single word, readable only by its owner.

    Args:
        file: the file.
        what: the kind of secret, for messages.

    Raises:
        SettingsError: when the file can't be read, others may read the file, or the file has another content.
    """
    try:
        mode = file.stat().st_mode
        text = read_regular(file, _MOST_SECRET_BYTES).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise SettingsError(f"the {what} can't be read: not plain text", file=file) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"the {what} can't be read: {reason}", file=file) from error
    if mode & _OTHERS_MAY_READ:
        raise SettingsError(f"others may read this {what}", file=file, hint=f"chmod 600 {file}")
    if text[:1] in {'"', "'"} or text[-1:] in {'"', "'"}:
        raise SettingsError(f"the file has quotes around the {what}", file=file, hint="remove the quotes")
    if not text or not text.isprintable() or " " in text:
        hint = f"the {what.rsplit(maxsplit=1)[-1]} alone, on one line"
        raise SettingsError(f"the file does not hold {_with_article(what)}", file=file, hint=hint)
    return text


def _with_article(what: str) -> str:
    return f"an {what}" if what[0] in "AEIOU" else f"a {what}"
