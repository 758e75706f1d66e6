"""Reads the list of tokens of a SentencePiece model, a protocol buffer: in the order of their numbers.

Source: https://github.com/google/sentencepiece (src/sentencepiece_model.proto): field 1 of a model is a piece, of which
field 1 is the text. https://protobuf.dev/programming-guides/encoding says how fields are written.
"""

from collections.abc import Iterator

_PIECE = _TEXT = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


def read(data: bytes) -> list[str]:
    """Return the tokens.

    Raises:
        ValueError: it is no SentencePiece model.
    """
    return [_text(piece) for number, piece in _fields(data) if number == _PIECE]


def _text(piece: bytes) -> str:
    texts = [text for number, text in _fields(piece) if number == _TEXT]
    if len(texts) != 1:
        raise ValueError(f"a piece has {len(texts)} texts")
    return texts[0].decode()


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields that hold bytes, each with its number; step over the others."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
            continue
        length, at = _varint(data, at) if kind == _BYTES else (_FIXED.get(kind, len(data)), at)
        if length > len(data) - at:
            raise ValueError(f"a field of {length} bytes at byte {at} of {len(data)}")
        if kind == _BYTES:
            yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, the lowest first; return it, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that there is more
            return value, at + index + 1
    raise ValueError(f"a number at byte {at} has no end")
