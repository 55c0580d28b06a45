"""What a GGUF file says of itself: its settings, its word lists, and where each tensor lies, each read once.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. `gguf.GGUFReader` makes several arrays of every
word, which takes longer than all the rest of a conversion; here a list of 262,144 words is read in a third of a second.

    >>> header = gguf_header.read(Path("models/gguf/gemma-3-270m.gguf"))
    >>> header.settings["general.architecture"], len(header.settings["tokenizer.ggml.tokens"])
    ('gemma3', 262144)
    >>> header.tensors["output_norm.weight"].shape
    (640,)
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from synthalign.core.errors import UserError

VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
ROW = 8192
"""Numbers in the rows that gguf unpacks."""

DIMENSIONS = 4
"""The most that a tensor of ggml has."""


@dataclass(frozen=True)
class Tensor:
    shape: tuple[int, ...]
    """In numpy's order, the last dimension together in memory."""

    kind: GGMLQuantizationType
    start: int
    """Byte of the file where its data begin."""

    size: int
    """Of its data, in bytes."""


@dataclass(frozen=True)
class Header:
    file: Path
    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    def values(self, name: str) -> np.ndarray:
        """A tensor unpacked to float32 by gguf's own rules, in its shape."""
        tensor = self.tensors[name]
        block, size = GGML_QUANT_SIZES[tensor.kind]
        raw = np.fromfile(self.file, np.uint8, tensor.size, offset=tensor.start)
        # gguf takes 16 rows at a time, whatever their length: with long ones it is faster, and no bit is another
        row = max(1, ROW // block) * size
        even = len(raw) // row * row
        parts = [raw[:even].reshape(-1, row), raw[even:].reshape(1, -1)]
        unpacked = [dequantize(part, tensor.kind).reshape(-1) for part in parts if part.size]
        return (unpacked[0] if len(unpacked) == 1 else np.concatenate(unpacked)).reshape(tensor.shape)


class _Reader:
    """A place in the bytes of a file; struct.error or IndexError beyond their end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def bytes(self) -> bytes:
        (length,) = self.numbers("Q")
        found = self.data[self.at : self.at + length]
        if len(found) < length:
            raise IndexError
        self.at += length
        return found

    def string(self) -> str:
        return self.bytes().decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in SCALARS:
            return self.numbers(SCALARS[kind])[0]
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise ValueError(f"a value of type {kind}")
        member, count = self.numbers("IQ")
        if count > len(self.data):
            raise IndexError
        if member in SCALARS:
            return self.numbers(f"{count}{SCALARS[member]}")
        if member == STRING:
            return self.strings(count)
        return [self.value(member) for _ in range(count)]

    def strings(self, count: int) -> list[str]:
        data, at, length_at, found = self.data, self.at, struct.Struct("<Q").unpack_from, []
        for _ in range(count):
            begin = at + 8
            at = begin + length_at(data, at)[0]
            found.append(data[begin:at].decode("utf-8"))
        if at > len(data):
            raise IndexError
        self.at = at
        return found


def read(file: Path) -> Header:
    """The header of a GGUF file; UserError when it is none, is cut off, or holds what gguf cannot unpack."""
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise UserError(f"{file} is no GGUF file: it does not begin with GGUF; fetch it again")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                settings, tensors = _parse(_Reader(data))
            except (struct.error, IndexError, OverflowError) as error:
                raise UserError(f"{file} is cut off within its header; fetch it again") from error
            except (ValueError, KeyError, RecursionError) as error:  # the second: a type that gguf does not know
                raise UserError(f"{file} cannot be read as GGUF ({error}); fetch it again, or convert anew") from error
            end = max((tensor.start + tensor.size for tensor in tensors.values()), default=0)
            if end > len(data):
                raise UserError(
                    f"{file} is cut off: it has {len(data):,} bytes, its tensors take {end:,}; fetch it again"
                )
    for kind in {tensor.kind for tensor in tensors.values()}:
        try:
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError as error:
            raise UserError(
                f"{file} holds numbers of the kind {kind.name}, which gguf cannot unpack; take a file of another kind"
            ) from error
    return Header(file, settings, tensors)


def _parse(reader: _Reader) -> tuple[dict[str, Any], dict[str, Tensor]]:
    _, version, tensor_count, count = reader.numbers("4sIQQ")
    if version not in VERSIONS:
        raise ValueError(f"version {version}, where {' and '.join(map(str, VERSIONS))} are known")
    settings = {}
    for _ in range(count):
        key = reader.string()
        settings[key] = reader.value(*reader.numbers("I"))
    places = []
    for _ in range(tensor_count):
        name = reader.string()
        (dimensions,) = reader.numbers("I")
        if dimensions > DIMENSIONS:
            raise ValueError(f"{name} has {dimensions} dimensions")
        shape = tuple(reversed(reader.numbers(f"{dimensions}Q")))
        places.append((name, shape, *reader.numbers("IQ")))
    alignment = int(settings.get("general.alignment", 32))
    if alignment < 1:
        raise ValueError(f"general.alignment {alignment}")
    first = -(-reader.at // alignment) * alignment
    tensors = {}
    for name, shape, number, offset in places:
        kind = GGMLQuantizationType(number)
        block, size = GGML_QUANT_SIZES[kind]
        tensors[name] = Tensor(shape, kind, first + offset, prod(shape) // block * size)
    return settings, tensors
