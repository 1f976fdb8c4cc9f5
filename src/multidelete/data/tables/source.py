"""The text of a file, or what the file is instead."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.paths import lies_there

_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PK\x03\x04": "a workbook or an archive (zip, such as .xlsx or .ods); save its sheet as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save its sheet as CSV in UTF-8",
    b"\x1f\x8b": "compressed (gzip); unpack it",
    b"PAR1": "a parquet file. Only pairs are read from such a file, under a name that ends in .parquet; write a "
    "request or another table as .csv, .tsv or .jsonl",
    b"%PDF": "a PDF; write a text table",
}


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have is not."""
    return lies_there(path) and path.is_file()


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark; line ends stay as they are.

    Raises:
        DataError: The file is missing, or is no such text; what it is instead is named where its first bytes tell.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path} cannot be read: {reason}.") from error
    _refuse_other_formats(path, content)
    if b"\0" in content:
        raise _zero_bytes(path, [n for n, line in enumerate(content.split(b"\n"), start=1) if b"\0" in line])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_utf8(path, content.count(b"\n", 0, error.start) + 1, content[error.start]) from error


def text_lines(path: object, file: Iterable[bytes]) -> Iterator[str]:
    """The lines of such a text one after the other, with their ends, for files that are larger than memory.

    Raises:
        DataError: As `read_text`, at the first line that is wrong.
    """
    for number, line in enumerate(file, start=1):
        if number == 1:
            _refuse_other_formats(path, line)
        content = line.removeprefix(BOM_UTF8) if number == 1 else line
        if b"\0" in content:
            raise _zero_bytes(path, [number])
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise _no_utf8(path, number, content[error.start]) from error
        if "\r" in text.removesuffix("\r\n"):  # which ends a line too
            yield from StringIO(text, newline="")
        else:
            yield text


def _refuse_other_formats(path: object, content: bytes) -> None:
    for start, what in _OTHER_FORMATS.items():
        if content.startswith(start):
            raise DataError(f"{path} cannot be read as UTF-8 text: it is {what}.")


def _zero_bytes(path: object, lines: Sequence[int]) -> DataError:
    return DataError(
        f"{path} cannot be read as UTF-8 text: it holds zero bytes (lines {first_few(lines)}), as UTF-16 and "
        "binary files do. Save it as UTF-8."
    )


def _no_utf8(path: object, line: int, byte: int) -> DataError:
    return DataError(
        f"{path} cannot be read as UTF-8 text: line {line} holds the byte 0x{byte:02x}, "
        "as files in Latin-1 or Windows-1252 do. Save it as UTF-8."
    )
