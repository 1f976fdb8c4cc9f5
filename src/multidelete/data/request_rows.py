"""What single rows of a request mean, and where they do not fit the pairs that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from multidelete.core.errors import RequestError, first_few, short
from multidelete.core.words import counted
from multidelete.data.pairs import PairData
from multidelete.data.request_file import COLUMNS, Named


def check_texts(named: Mapping[str, Sequence[object]]) -> None:
    """Refuse names that are no texts, such as the number 7 for the id ``7``; a caller without types may give them."""
    for what, names in named.items():
        if isinstance(names, str):
            raise RequestError(f"{what} is the text {short(names)!r}; give a list of texts.")
        others = [repr(name) for name in names if not isinstance(name, str)]
        if others:
            raise RequestError(f"{len(others)} {what} are no texts: {first_few(others)}. Write each as the data does.")


def means_one(read: Named, unit: str | None, file: Path | None) -> Named:
    """The names with those of rows that carry several, of which the unit says the one that is meant.

    The unit names the column; where a row has none of that name, its id says what it is about.

    Raises:
        RequestError: There are such rows and no unit, or rows that the unit does not decide.
    """
    if not read.several:
        return read
    if unit is None:
        raise RequestError(_which_of_the_two(file, read))
    column = "id" if unit == "pair" else unit
    means = [(line, column if column in row else "id", row) for line, row in read.several]
    unclear = [line for line, by, row in means if by not in row]
    if unclear:
        raise RequestError(
            f"{file}: {counted(len(unclear), 'rows name')} neither a {unit} nor an id: lines "
            f"{first_few(unclear)}. Complete them."
        )
    ids, subjects, images, nodes = (tuple(row[by] for _, by, row in means if by == name) for name in COLUMNS)
    return replace(
        read,
        ids=(*read.ids, *ids),
        subjects=(*read.subjects, *dict.fromkeys(subjects)),
        images=(*read.images, *dict.fromkeys(images)),
        nodes=(*read.nodes, *dict.fromkeys(nodes)),
    )


def _which_of_the_two(file: Path | None, read: Named) -> str:
    line, row = read.several[0]
    columns = [name for name in COLUMNS if any(name in row for _, row in read.several)]
    example = " and ".join(f"the {name} {short(value)!r}" for name, value in row.items())
    units = " or ".join(f"--unit {'pair' if name == 'id' else name}" for name in columns)
    return (
        f"{file}: {counted(len(read.several), 'rows carry')} {' and '.join(columns)} (line {line}: "
        f"{example}). Which of the two do "
        f"you mean? Say {units} (in Python unit=...), or leave the other columns out."
    )


def contradictions(data: PairData, read: Named, file: Path | None) -> list[str]:
    """A line where rows give a pair another subject than it has; rows of other data are no request for these pairs."""
    wrong = []
    for line, row in read.several:
        at = data.train.index.get(row.get("id", ""))
        pair = None if at is None else data.train[at]
        if pair is not None and "subject" in row and pair.subject != row["subject"]:
            wrong.append(f"line {line} ({pair.id} is of {pair.subject}, not {row['subject']})")
    if not wrong:
        return []
    return [
        f"{file}: {counted(len(wrong), 'rows give')} a pair another subject than {data.name} does: {first_few(wrong)}."
    ]


def skipped_ids(data: PairData, read: Named, file: Path | None) -> list[str]:
    """A line where comments of the request file are ids of training pairs."""
    ids = [line for line in read.comments if line in data.train.index]
    if not ids:
        return []
    return [
        f"{file}: {counted(len(ids), 'lines begin')} with # and would be skipped, but are ids of "
        f"training pairs: {first_few(ids)}. "
        "Name such pairs in a .csv file under the header id."
    ]
