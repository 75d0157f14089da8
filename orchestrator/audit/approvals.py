"""Answers to a run's questions, stored in small files beside the logs until the run reads the answers.

An answer belongs to a single record: the answer names the number and hash of its `approval.requested` record. So a late
answer, or an answer found after a crash, never answers a later question. The first answer to a question stays. The file
of an answer appears complete or not at all.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.errors import SettingsError
from orchestrator.state_files import create_file, make_folder, sync_file, sync_folder, write_all

_VERSION = 1
_LARGEST = 65_536
_NAMED_BY = 16
"""Hex digits of the question's hash in a file's name; the file's content has the whole hash."""


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """A stored answer to a question of a run.

    Attributes:
        seq: number of the answered record.
        hash: hash of the answered record.
        step: name of the asking step.
        approved: whether the run may continue.
        by: author of the answer, as user@host.
        at: time of the answer.
        comment: the author's comment; None without a comment.
        db_user: the author as attested by the database of the team store; None for answers in files.
        signature: the signature as in a line of an approvals file; None for an unsigned answer.
    """

    seq: int
    hash: str
    step: str
    approved: bool
    by: str
    at: str
    comment: str | None = None
    db_user: str | None = None
    signature: Mapping[str, str] | None = None


class ApprovalStore(Protocol):
    """Store of the answers to the questions of a run."""

    def submit_answer(self, answer: ApprovalAnswer) -> bool:
        """Store an answer durably; return False if the question has an answer already.

        Of signed answers, each key has one.

        Raises:
            SettingsError: when the answer can't be written, or the run could not read the answer.
        """
        ...

    def find_answer(self, seq: int, question_hash: str) -> ApprovalAnswer | None:
        """Return the unsigned answer to the question with this number and hash; None without a readable answer."""
        ...

    def find_signed_answers(self, seq: int, question_hash: str) -> list[ApprovalAnswer]:
        """Return the signed answers to the question with this number and hash; their signatures are not checked."""
        ...

    def withdraw_answer(self, answer: ApprovalAnswer) -> None:
        """Delete an answer if possible; an answer already read by the run stays on record."""
        ...

    def observe_record(self, record: Record) -> None:
        """Observe a record of the run: delete the stored answers once the log has recorded an answer."""
        ...


class FileApprovalStore:
    """Store of answers in small files beside the logs.

    Attributes:
        folder: folder of the answers.
    """

    def __init__(self, log: Path) -> None:
        """Derive the folder of answers from the path of the log.

        Args:
            log: the run's audit log, in the `runs` folder of a state folder.
        """
        self.folder = log.absolute().parent.parent / "answers"
        self._log = log
        self._run = log.stem

    def submit_answer(self, answer: ApprovalAnswer) -> bool:
        """Store an answer, as `ApprovalStore.submit_answer`."""
        try:
            if not self._write_answer(answer):
                return False
            if self._can_be_read_by_the_run(answer):
                return True
        except OSError as error:
            raise SettingsError(f"the answer can't be written: {error.strerror or error}", file=self.folder) from error
        self.withdraw_answer(answer)
        raise SettingsError(
            "the run can't read answers in this folder",
            file=self.folder,
            hint=f"give the folder to the user of the run: chown -R --reference={self._log} {self.folder}",
        )

    def _write_answer(self, answer: ApprovalAnswer) -> bool:
        make_folder(self.folder)
        file = self._file_of(answer)
        if file.exists() and self._read_answer(file, answer.seq, answer.hash) is None:
            file.unlink(missing_ok=True)  # an unreadable file is no answer and must not block a real answer
        left_out = {"db_user"} if answer.signature is not None else {"db_user", "signature"}
        fields = {name: each for name, each in asdict(answer).items() if name not in left_out}
        text = json.dumps({"v": _VERSION, "run_id": self._run, **fields}, indent=2) + "\n"
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

    def find_answer(self, seq: int, question_hash: str) -> ApprovalAnswer | None:
        """Read the unsigned answer to the question with this number and hash; None without a readable answer."""
        found = self._read_answer(self._answer_file(question_hash), seq, question_hash)
        return found if found is not None and found.signature is None else None

    def find_signed_answers(self, seq: int, question_hash: str) -> list[ApprovalAnswer]:
        """Read the signed answers, as `ApprovalStore.find_signed_answers`."""
        found = []
        with suppress(OSError):
            for file in sorted(self.folder.glob(f"{self._run}.{question_hash[:_NAMED_BY]}.*.json")):
                answer = self._read_answer(file, seq, question_hash)
                if answer is not None and answer.signature is not None:
                    found.append(answer)
        return found

    def _read_answer(self, file: Path, seq: int, question_hash: str) -> ApprovalAnswer | None:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as opened:
                if os.fstat(fd).st_uid not in self._readers_of_the_log():
                    return None  # the author can't read the log, so the run never asked the author
                content = opened.read(_LARGEST)  # a longer document is cut, and so unreadable
            answer = _parse_answer(json.loads(content), self._run)
        except (OSError, ValueError, RecursionError):
            return None
        return answer if answer is not None and (answer.seq, answer.hash) == (seq, question_hash) else None

    def _can_be_read_by_the_run(self, answer: ApprovalAnswer) -> bool:
        """Return True if the owner of the log can read this answer, or if the run has read the answer already.

        The owner of the log is the user of the run's process.

        Raises:
            OSError: when the log or the folder of answers is gone.
        """
        owner = self._log.stat().st_uid
        try:
            found = self._file_of(answer).stat()
        except FileNotFoundError:
            return True
        is_reachable = _has_right(self.folder.stat(), owner, os.X_OK) and _has_right(found, owner, os.R_OK)
        return owner == 0 or (is_reachable and found.st_uid in {owner, 0})

    def withdraw_answer(self, answer: ApprovalAnswer) -> None:
        """Delete an answer if possible; an answer already read by the run stays on record."""
        with suppress(OSError):
            if self._read_answer(self._file_of(answer), answer.seq, answer.hash) == answer:
                self._file_of(answer).unlink()

    def clear_answers(self) -> None:
        """Delete all answers of this run, after the log has recorded the answer. Never raises."""
        with suppress(OSError):
            for file in self.folder.iterdir():
                if file.name.startswith(f"{self._run}."):
                    file.unlink(missing_ok=True)

    def observe_record(self, record: Record) -> None:
        """Observe a record of the run: delete the files of answers once the log has recorded an answer."""
        if record["event"] == Event.APPROVAL_ANSWERED:
            self.clear_answers()

    def _readers_of_the_log(self) -> set[int]:
        """Ids of the log's readers: the present user, root, and the owner of the log."""
        users = {os.geteuid(), 0}
        with suppress(OSError):
            users.add(self._log.stat().st_uid)
        return users

    def _file_of(self, answer: ApprovalAnswer) -> Path:
        """Path of an answer: one for each question, and of signed answers one for each key."""
        file = self._answer_file(answer.hash)
        if answer.signature is None:
            return file
        key = hashlib.sha256(answer.signature["key_name"].encode("utf-8", "backslashreplace")).hexdigest()
        return file.with_name(f"{file.stem}.{key[:_NAMED_BY]}.json")

    def _answer_file(self, question_hash: str) -> Path:
        return self.folder / f"{self._run}.{question_hash[:_NAMED_BY]}.json"


def _has_right(found: os.stat_result, user: int, right: int) -> bool:
    """Return True if a file's mode gives a user this right, as the file's owner or as any other user."""
    return bool(found.st_mode & (right << 6 if found.st_uid == user else right))


def _parse_answer(document: Any, run: str) -> ApprovalAnswer | None:  # noqa: ANN401 - any JSON value of the file
    """Parse the document of an answer; None for another form, or for an answer to another run."""
    kinds = {"seq": int, "hash": str, "step": str, "approved": bool, "by": str, "at": str}
    if not isinstance(document, dict) or (document.get("v"), document.get("run_id")) != (_VERSION, run):
        return None
    comment = document.get("comment")
    if any(type(document.get(name)) is not kind for name, kind in kinds.items()):
        return None
    if comment is not None and not isinstance(comment, str):
        return None
    signature = document.get("signature")
    if signature is not None and not (
        isinstance(signature, dict) and all(isinstance(each, str) for each in signature.values())
    ):
        raise ValueError("its signature has another form")
    return ApprovalAnswer(**{name: document[name] for name in kinds}, comment=comment, signature=signature)
