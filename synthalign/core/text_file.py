"""Text files as people bring them: UTF-8, with or without a byte order mark, packed by gzip where the name says so."""

import gzip
import zlib
from pathlib import Path

from synthalign.core.errors import UserError

BYTE_ORDER_MARK = "\ufeff"


def read(file: str | Path, *, step: str) -> str:
    """The file's text, without the byte order mark of its beginning and those that joined files leave before a line.

    step  what to do when the file cannot be read

    Such a mark is not to be seen, and a question that begins with one equals no other.  Raises UserError when the
    file cannot be read, and with line and byte where it is not UTF-8.  Ends of lines stay as they are.
    """
    path = Path(file)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); {step}") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be unpacked ({error}); {step}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = error.start - content.rfind(b"\n", 0, error.start)
        value = content[error.start]
        raise UserError(
            f"{file}, line {line}, byte {byte}: 0x{value:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    return text.removeprefix(BYTE_ORDER_MARK).replace(f"\n{BYTE_ORDER_MARK}", "\n")


def lines(file: str | Path, *, step: str) -> list[str]:
    """The file's lines, whatever ends them (CR, LF or both); a last line that is empty is none."""
    found = read(file, step=step).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return found[:-1] if not found[-1] else found
