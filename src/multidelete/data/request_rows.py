"""What single rows of a request mean, and where they do not fit the pairs that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from multidelete.core.errors import RequestError, first_few, short
from multidelete.core.words import counted, indefinite
from multidelete.data.classes import class_name
from multidelete.data.lookalikes import loose_form
from multidelete.data.pairs import Pair, PairData, names_of, text_source
from multidelete.data.request_columns import CHECKED, COLUMNS
from multidelete.data.request_file import Named


def check_texts(named: Mapping[str, Sequence[object]]) -> None:
    """Refuse names that are no texts, such as the number 7 for the id ``7``; a caller without types may give them."""
    for what, names in named.items():
        if isinstance(names, str):
            raise RequestError(f"{what} is the text {short(names)!r}; give a list of texts.")
        blank = [repr(name) for name in names if isinstance(name, str) and not name.strip()]
        if blank:
            raise RequestError(f"{counted(len(blank), f'{what} are')} empty: {first_few(blank)}. Say who is meant.")
        others = [repr(name) for name in names if not isinstance(name, str)]
        if others:
            raise RequestError(
                f"{counted(len(others), f'{what} are')} not text: {first_few(others)}. Write each as the data does."
            )


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
            f"{file}: {counted(len(unclear), 'rows name')} neither {indefinite(str(unit))} nor an id: lines "
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
        f"{file}: {counted(len(read.several), 'rows carry')} {' and '.join(columns)} (line {line}: {example}). Which "
        f"of the two do you mean? Say {units} (in Python unit=...), or leave the other columns out."
    )


def refuse_contradictions(data: PairData, read: Named, images: Mapping[str, str | None], file: Path | None) -> None:
    """Refuse rows that say things which no pair has together; rows of other data are no request for these pairs.

    Raises:
        RequestError: There are such rows; all are counted.
    """
    if not read.rows:
        return
    splits = data.splits.values()
    absent = {
        "kind": all(set(p.kinds) <= {None} for p in splits),
        "label": all(set(p.labels) <= {None} for p in splits),
    }
    said = [
        [(what, name) for what, cell in row.items() if not absent.get(what) for name in _as_kept(what, cell, images)]
        for _, row in read.rows
    ]
    having: dict[tuple[str, str], set[int]] = {one: set() for row in said for one in row}
    asked = {column: {name for what, name in having if what == column} for column in COLUMNS}
    every = [pair for pairs in splits for pair in pairs.meant(asked)]
    for at, pair in enumerate(every):
        for what in (*COLUMNS, *CHECKED):
            for name in _label_names(pair, data.classes) if what == "label" else names_of(pair, what):
                if (what, name) in having:
                    having[what, name].add(at)
    wrong = [
        f"line {line} ({' and '.join(f'{what} {short(cell)!r}' for what, cell in row.items())})"
        for (line, row), named in zip(read.rows, said, strict=True)
        if not set.intersection(*(having[one] for one in named))
    ]
    if wrong:
        raise RequestError(
            f"{file}: {counted(len(wrong), 'rows give')} what no pair of {data.name} has together: {first_few(wrong)}. "
            "Correct them, or leave out the columns that do not say who is meant."
        )


def _label_names(pair: Pair, classes: Sequence[str]) -> set[str]:
    """The number of a pair's class, and its name."""
    return set() if pair.label is None else {str(pair.label), loose_form(class_name(classes, pair.label))}


def _as_kept(what: str, cell: str, images: Mapping[str, str | None]) -> tuple[str, ...]:
    """A cell as sources of pairs are written; the names of several nodes are joined."""
    if what == "image":
        return (images[cell] or cell,)
    if what == "node":
        return tuple(name.strip() for name in cell.split("|"))
    return (text_source(cell) if what == "text" else loose_form(cell) if what == "label" else cell,)


def skipped_ids(data: PairData, read: Named, file: Path | None) -> list[str]:
    """A line where comments of the request file are ids of training pairs."""
    ids = [line for line in read.comments if line in data.train.index]
    if not ids:
        return []
    return [
        f"{file}: {counted(len(ids), 'lines begin')} with # and would be skipped, but can be read as ids of training "
        f"pairs: {first_few(ids)}. Name such pairs in a .csv file under the header id."
    ]
