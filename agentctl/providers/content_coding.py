"""Decompress an answer that came compressed, although the request asked for it as it is."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

_GZIP = b"\x1f\x8b"
_BEGIN_PLAIN = tuple(bytes([one]) for one in b"{[<:de \t\r\n\xef")  # JSON, pages, events, a byte order mark
_MOST_AT_ONCE = 1024 * 1024


class PlainBody(AsyncIterator[bytes]):
    """The pieces of a body, decompressed if they need it; ``coding`` is the header's word for that, "" without one.

    The bytes count for more than the header: some proxies remove it, and some leave it on a plain body.
    """

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], coding: str) -> None:
        self._head: bytes | None = first
        self._rest, self._coding = rest, coding
        self._decompressor: _Decompressor | None = None
        self._ready: Iterator[bytes] = iter(())

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises:
            httpx.DecodingError: the body is cut short, damaged, or compressed in another way than gzip or deflate.
        """
        if self._head is not None:
            piece, self._head = self._head, None
            while len(piece) < 2 and (more := await anext(self._rest, None)) is not None:
                piece += more
            if piece.startswith(_GZIP) or _is_coded(piece, self._coding):
                self._decompressor = _Decompressor(piece, self._coding)
            self._ready = self._plain(piece)
        while (ready := next(self._ready, None)) is None:
            piece = await self._next_piece()
            self._ready = self._plain(piece)
        return ready

    async def _next_piece(self) -> bytes:
        try:
            return await anext(self._rest)
        except StopAsyncIteration:
            if self._decompressor is not None and not self._decompressor.is_whole:
                raise decoding_error("the compressed answer is cut short") from None
            raise

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        return iter((piece,)) if self._decompressor is None else self._decompressor.pieces(piece)


class _Decompressor:
    """Decompresses gzip, which is known by its first bytes, or deflate.

    Raises:
        httpx.DecodingError: the coding is another one.
    """

    def __init__(self, first: bytes, coding: str) -> None:
        if first.startswith(_GZIP):
            self._bits = 16 + zlib.MAX_WBITS
        elif "deflate" in coding.lower():  # with zlib's header, or raw, as some servers understand the word
            self._bits = zlib.MAX_WBITS if _has_zlib_header(first) else -zlib.MAX_WBITS
        else:
            raise decoding_error(f"the answer is compressed as {coding}, which was not asked for")
        self._inner = zlib.decompressobj(self._bits)

    @property
    def is_whole(self) -> bool:
        return self._inner.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` adds, in pieces of limited size."""
        while data:
            if self._inner.eof:  # gzip may have several members
                self._inner = zlib.decompressobj(self._bits)
            try:
                piece = self._inner.decompress(data, _MOST_AT_ONCE)
            except zlib.error as error:
                raise decoding_error(f"the compressed answer cannot be read: {error}") from error
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if piece:
                yield piece


def decoding_error(message: str) -> Exception:
    """Return httpx's error for a body that cannot be decompressed."""
    import httpx

    return httpx.DecodingError(message)


def _is_coded(first: bytes, coding: str) -> bool:
    """Return whether a body that is not gzip is compressed in another way that ``coding`` names."""
    return coding.strip().lower() not in ("", "identity", "gzip", "x-gzip") and not first.startswith(_BEGIN_PLAIN)


def _has_zlib_header(first: bytes) -> bool:
    return len(first) >= 2 and first[0] & 0x0F == 8 and int.from_bytes(first[:2]) % 31 == 0
