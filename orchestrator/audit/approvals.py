"""Answers that are left for a run's questions, each in a small file beside the logs until the run takes it up.

An answer is to one record: the `approval.requested` whose number and hash it names. So none that comes late, or is
found after a crash, ever answers a question that was asked later. The first one for a question stays; the file appears
with all that is in it, or not at all.
"""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.audit.log import sync_file
from orchestrator.audit.record import Record
from orchestrator.state_files import create_file, make_folder, sync_folder, write_all

_VERSION = 1
_LARGEST = 65_536
_NAMED_BY = 16
"""How many hex digits of the question's hash are in a file's name; the file itself has all of them."""


@dataclass(frozen=True, slots=True)
class Left:
    """An answer that was left.

    Attributes:
        seq: the number of the record that it answers.
        hash: that record's hash.
        step: the step that asks.
        approved: whether the run may go on.
        by: who says so, user@host.
        at: when it was left.
        comment: what they have to say about it; None for nothing.
    """

    seq: int
    hash: str
    step: str
    approved: bool
    by: str
    at: str
    comment: str | None = None


class ApprovalStore:
    """The answers to the questions of one run.

    Attributes:
        folder: where they are.
    """

    def __init__(self, log: Path) -> None:
        """Set up.

        Args:
            log: the run's audit log, in the `runs` of a state folder.
        """
        self.folder = log.absolute().parent.parent / "answers"
        self._log = log
        self._run = log.stem

    def leave(self, answer: Left) -> bool:
        """Leave an answer; false when there is one to the same question already.

        Raises:
            OSError: when it can't be written.
        """
        make_folder(self.folder)
        file = self._file(answer.hash)
        if file.exists() and self.to(answer.seq, answer.hash) is None:
            file.unlink(missing_ok=True)  # no answer, whatever it is; it may not stand in the way of one
        text = json.dumps({"v": _VERSION, "run_id": self._run, **asdict(answer)}, indent=2) + "\n"
        draft = self.folder / f".{self._run}.{secrets.token_hex(8)}"
        fd = create_file(draft, os.O_WRONLY)
        try:
            try:
                write_all(fd, text.encode("ascii"))
                sync_file(fd)
            finally:
                os.close(fd)
            os.link(draft, file)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(self.folder)
        return True

    def to(self, seq: int, question_hash: str) -> Left | None:
        """The answer to the question with this number and hash; None when there is none that can be read."""
        try:
            fd = os.open(self._file(question_hash), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                if os.fstat(fd).st_uid not in self._readers_of_the_log():
                    return None  # by somebody who can't read the log, and so was never asked
                content = file.read(_LARGEST + 1)
            answer = _parse(json.loads(content), self._run)
        except (OSError, ValueError, RecursionError):
            return None
        return answer if (answer.seq, answer.hash) == (seq, question_hash) else None

    def can_be_read_by_the_run(self, answer: Left) -> bool:
        """Whether the owner of the log, who carries the run out, can read this answer; true once it was taken up.

        Raises:
            OSError: when the log or the folder is gone.
        """
        owner = self._log.stat().st_uid
        try:
            found = self._file(answer.hash).stat()
        except FileNotFoundError:
            return True
        is_reachable = _allows(self.folder.stat(), owner, os.X_OK) and _allows(found, owner, os.R_OK)
        return owner == 0 or (is_reachable and found.st_uid in {owner, 0})

    def withdraw(self, answer: Left) -> None:
        """Take an answer back, as far as it can be; one that was taken up stays on record."""
        with suppress(OSError):
            if self.to(answer.seq, answer.hash) == answer:
                self._file(answer.hash).unlink()

    def clear(self) -> None:
        """Remove what is left of this run; for when the log says what the answer was. Never raises."""
        with suppress(OSError):
            for file in self.folder.iterdir():
                if file.name.startswith(f"{self._run}."):
                    file.unlink(missing_ok=True)

    def heard(self, record: Record) -> None:
        """Told a record of the run: once an answer is on record, nobody needs its file any more."""
        if record["event"] == "approval.answered":
            self.clear()

    def _readers_of_the_log(self) -> set[int]:
        """The users who can read the log: this one, root, and the owner of the log."""
        users = {os.geteuid(), 0}
        with suppress(OSError):
            users.add(self._log.stat().st_uid)
        return users

    def _file(self, question_hash: str) -> Path:
        return self.folder / f"{self._run}.{question_hash[:_NAMED_BY]}.json"


def _allows(found: os.stat_result, user: int, right: int) -> bool:
    """Whether a file's mode gives a user this right, as its owner or as anybody."""
    return bool(found.st_mode & (right << 6 if found.st_uid == user else right))


def _parse(document: Any, run: str) -> Left:  # noqa: ANN401 - whatever stands in the file
    """What `leave` wrote.

    Raises:
        ValueError: when it is something else.
    """
    kinds = {"seq": int, "hash": str, "step": str, "approved": bool, "by": str, "at": str}
    if not isinstance(document, dict) or (document.get("v"), document.get("run_id")) != (_VERSION, run):
        raise ValueError("it is no answer to this run")
    if any(type(document.get(name)) is not kind for name, kind in kinds.items()):
        raise ValueError("it lacks what an answer says")
    comment = document.get("comment")
    if comment is not None and not isinstance(comment, str):
        raise ValueError("its comment is no text")
    return Left(**{name: document[name] for name in kinds}, comment=comment)
