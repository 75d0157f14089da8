"""Unpack the body of an answer, and detect a cut-off body.

httpx can unpack as well, but accepts a body without its end as complete.
"""

import zlib
from collections.abc import Callable

_PIECE = 65_536
"""Bytes to unpack at a time, to detect a decompression bomb in time."""

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS

_ZLIB_METHOD, _ZLIB_CHECK = 8, 31
"""Signs of a zlib header: the method in the first byte, and the first two bytes as a multiple of this number."""


class UnpackError(Exception):
    """Raised when a body does not match its `Content-Encoding`, or ends too early."""


class Unpacker:
    """Unpacks a body piece by piece.

    Attributes:
        encoding: the value of `Content-Encoding`: `gzip`, `deflate` or `identity`.
    """

    def __init__(self, encoding: str) -> None:
        """Set up.

        Raises:
            UnpackError: when the encoding is unknown.
        """
        self.encoding = encoding.strip().lower()
        if self.encoding not in {"gzip", "x-gzip", "deflate", "identity", ""}:
            raise UnpackError(f"the body has the unknown encoding {encoding[:100]!r}")
        self._head = b""
        self._packed: zlib._Decompress | None = None
        self._begun = False

    def feed(self, data: bytes, take: Callable[[bytes], bool]) -> bool:
        """Unpack the next piece.

        Args:
            data: the received bytes.
            take: called with the unpacked bytes; returns False to end the unpacking.

        Returns:
            False if `take` returned False.

        Raises:
            UnpackError: when the data are damaged.
        """
        if self.encoding in {"identity", ""}:
            return take(data)
        self._begun = self._begun or bool(data)
        is_full = False
        while data or is_full:
            if self._packed is None:
                data, self._head = self._head + data, b""
                if self.encoding == "deflate" and len(data) == 1:
                    self._head = data  # two bytes distinguish the two forms of deflate
                    return True
                self._packed = zlib.decompressobj(self._find_window_bits(data))
            out = self._decompress(self._packed, data)
            if not take(out):
                return False
            # The decompressor may still hold output after it has taken all input.
            data, is_full = self._packed.unconsumed_tail, len(out) == _PIECE and not self._packed.eof
            if self._packed.eof:
                data = self._packed.unused_data
                if data and self.encoding == "deflate":
                    raise UnpackError("data follow the end of the packed body")
                if data:
                    self._packed = None  # gzip may have several parts
        return True

    @staticmethod
    def _decompress(packed: "zlib._Decompress", data: bytes) -> bytes:
        try:
            return packed.decompress(data, _PIECE)
        except zlib.error as error:
            raise UnpackError(f"the packed body is damaged: {error}") from error

    def finish(self) -> None:
        """Check the body for its end.

        Raises:
            UnpackError: when the end of the body is missing.
        """
        if self._begun and (self._packed is None or not self._packed.eof):
            raise UnpackError("the packed body ends too early")

    def _find_window_bits(self, data: bytes) -> int:
        if self.encoding != "deflate":
            return _GZIP
        is_zlib = data[0] & 0x0F == _ZLIB_METHOD and (data[0] << 8 | data[1]) % _ZLIB_CHECK == 0
        return _ZLIB if is_zlib else _RAW
