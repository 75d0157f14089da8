"""The lines of an approvals file: approvals of the plan, questions of its run, and signed answers. Pure."""

import json
from dataclasses import dataclass, field

from orchestrator.audit.signed_approval import Role, SignedApproval
from orchestrator.audit.signed_question import AskedQuestion, QuestionAnswer


@dataclass(frozen=True, slots=True)
class ApprovalLines:
    """The lines of an approvals file.

    Attributes:
        approvals: the approvals of the plan.
        questions: the questions of its run.
        answers: the signed answers.
    """

    approvals: list[SignedApproval] = field(default_factory=list)
    questions: list[AskedQuestion] = field(default_factory=list)
    answers: list[QuestionAnswer] = field(default_factory=list)

    def add_line(self, document: object, line: int) -> None:
        """Add a parsed line.

        Raises:
            ValueError: when the document has another form.
        """
        fields = document if isinstance(document, dict) else {}
        if "asked" in fields:
            self.questions.append(AskedQuestion.from_document(fields["asked"]))
        elif "question" in fields:
            if fields.get("answer") not in {Role.APPROVE, Role.REFUSE} or not isinstance(fields["question"], str):
                raise ValueError("the answer must be approve or refuse")
            signature = SignedApproval.from_document(fields, line)
            self.answers.append(QuestionAnswer(fields["question"], fields["answer"] == Role.APPROVE, signature))
        else:
            self.approvals.append(SignedApproval.from_document(fields, line))


def parse_lines(data: bytes) -> ApprovalLines:
    """Parse the lines of an approvals file.

    Raises:
        DamagedLineError: when a line has another form, or the last line is cut off.
    """
    lines = data.split(b"\n")
    if lines.pop():
        raise DamagedLineError(len(lines) + 1, "the line is cut off")
    found = ApprovalLines()
    for number, line in enumerate(lines, 1):
        try:
            found.add_line(json.loads(line), number)
        except (ValueError, RecursionError) as error:
            reason = "the line is no JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
            raise DamagedLineError(number, reason) from error
    return found


class DamagedLineError(Exception):
    """Raised for a damaged line of an approvals file.

    Attributes:
        line: the line, from 1.
        reason: the damage.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason
