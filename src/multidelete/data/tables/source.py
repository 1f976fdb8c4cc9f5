"""The text of a file, or what the file is instead."""

from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.paths import lies_there

_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PK\x03\x04": "a workbook or an archive (zip, such as .xlsx or .ods); save its sheet as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save its sheet as CSV in UTF-8",
    b"\x1f\x8b": "compressed (gzip); unpack it",
    b"PAR1": "a parquet file; name it .parquet",
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
    for start, what in _OTHER_FORMATS.items():
        if content.startswith(start):
            raise DataError(f"{path} cannot be read as UTF-8 text: it is {what}.")
    if b"\0" in content:
        lines = [n for n, line in enumerate(content.split(b"\n"), start=1) if b"\0" in line]
        raise DataError(
            f"{path} cannot be read as UTF-8 text: it holds zero bytes (lines {first_few(lines)}), as UTF-16 and "
            "binary files do. Save it as UTF-8."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} cannot be read as UTF-8 text: line {line} holds the byte 0x{content[error.start]:02x}, "
            "as files in Latin-1 or Windows-1252 do. Save it as UTF-8."
        ) from error
