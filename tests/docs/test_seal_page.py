"""A seal can be checked by anybody who has nothing but the docs."""

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.audit.test_seal_format import KEY, LATER, OTHER, SEALED, appended, seal_of, sealed
from tests.docs.pages import ROOT, blocks
from tests.logs import log as finished

PAGE = ROOT / "docs/how-to/seal-a-log.md"


def documented_check(folder: Path, data: bytes) -> int:
    """Run the Python that the page gives for checking a log; returns up to which line it is sealed."""
    (block,) = [block for block in blocks("python") if block.page == PAGE]
    path, public_key = folder / "log.jsonl", folder / "seal.pub.pem"
    path.write_bytes(data)
    public_key.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    names: dict[str, object] = {"path": path, "public_key": public_key}
    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102 - it is our own page
    assert isinstance(names["sealed"], int)
    return names["sealed"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_documented_check_accepts_what_the_code_seals(tmp_path: Path) -> None:
    """The few lines of Python on the page pass over sealed logs of the code, and say up to where."""
    assert documented_check(tmp_path, SEALED) == len(finished().splitlines())
    assert documented_check(tmp_path, LATER) == len(LATER.splitlines()) - 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_documented_check_refuses_what_is_not_sealed_as_it_says(tmp_path: Path) -> None:
    """The same lines stop at a seal of other content, at a wrong signature, and where there is none."""
    own = seal_of(finished()).record_fields()
    with pytest.raises(AssertionError, match="other content"):
        documented_check(tmp_path, appended(appended(finished(), "billing.reconciled", {}), "run.sealed", own))
    with pytest.raises(InvalidSignature):
        documented_check(tmp_path, appended(finished(), "run.sealed", own | {"by": "you"}))
    with pytest.raises(InvalidSignature):
        documented_check(tmp_path, sealed(finished(), OTHER))
    with pytest.raises(AssertionError, match="no seal"):
        documented_check(tmp_path, finished())
