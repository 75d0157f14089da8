"""Unpacking a body: every whole one comes out as it went in, and none that was cut off counts as whole."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cloud.unpack import Unpacker, UnpackError


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_two_parts(data: bytes) -> bytes:
    return gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])


FORMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "GZip in two parts": (" GZip ", in_two_parts),
    "deflate": ("deflate", zlib.compress),
    "deflate without its head": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


def unpacked(encoding: str, pieces: list[bytes]) -> bytes:
    unpacker, out = Unpacker(encoding), bytearray()

    def take(piece: bytes) -> bool:
        out.extend(piece)
        return True

    for piece in pieces:
        assert unpacker.feed(piece, take)
    unpacker.finish()
    return bytes(out)


bodies = st.one_of(st.binary(max_size=200), st.integers(0, 300_000).map(lambda size: b" " * size))


@given(body=bodies, form=st.sampled_from(sorted(FORMS)), size=st.integers(1, 50))
def test_a_whole_body_comes_out_as_it_went_in_whatever_its_pieces(body: bytes, form: str, size: int) -> None:
    encoding, pack = FORMS[form]
    packed = pack(body)
    assert unpacked(encoding, [packed[at : at + size] for at in range(0, len(packed), size)]) == body


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"identity", "GZip in two parts"}))
def test_a_body_without_its_end_is_not_whole_wherever_it_is_cut(form: str) -> None:
    encoding, pack = FORMS[form]
    packed = pack(b'{"status": "stopping"}')
    for length in range(1, len(packed)):
        with pytest.raises(UnpackError):
            unpacked(encoding, [packed[:length]])


@given(data=st.binary(min_size=1, max_size=100), encoding=st.sampled_from(["gzip", "deflate"]))
def test_anything_at_all_is_unpacked_or_refused(data: bytes, encoding: str) -> None:
    with suppress(UnpackError):
        unpacked(encoding, [data])


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 10_000])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(UnpackError, match="unknown encoding"):
        Unpacker(encoding)


def test_a_body_of_nothing_needs_no_packing() -> None:
    assert unpacked("gzip", []) == b""


def test_a_bomb_is_seen_before_it_has_gone_off() -> None:
    bomb, seen = gzip.compress(b" " * (64 << 20)), 0

    def take(piece: bytes) -> bool:
        nonlocal seen
        seen += len(piece)
        return seen < 1 << 20

    assert not Unpacker("gzip").feed(bomb, take)
    assert seen < 2 << 20
