"""What single cells of a table of pairs may hold, and what is wrong with, or odd about, those that are there."""

from collections.abc import Mapping, Sequence

from multidelete.core.errors import first_few
from multidelete.core.words import counted, indefinite
from multidelete.data.tables.strict_json import Literal, is_truth
from multidelete.data.tables.suspicion import listed_texts, looks_like_list, spells_missing, whole


class CellReader:
    """Reads cells, and collects problems and notes with the rows that have them.

    Attributes:
        problems: For each rule that rows break, where.
        notes: For each thing that is worth a look, where.
    """

    def __init__(self) -> None:
        self.problems: dict[str, list[str]] = {}
        self.notes: dict[str, list[str]] = {}

    def note_lines(self) -> list[str]:
        return [f"{counted(len(where), f'rows {what}')}: {first_few(where)}" for what, where in self.notes.items()]

    def texts(self, value: object, where: str) -> list[str]:
        """The texts of a cell, of which a list has several; none where something is wrong with it."""
        listed = listed_texts(value) if isinstance(value, str) else None
        if listed:
            self.note("have a list of texts in one cell, read as a pair for each", where)
        every: Sequence[object] = value if isinstance(value, list) else listed or [value]
        texts = [text for text in every if isinstance(text, str) and text.strip() and not isinstance(text, Literal)]
        if not texts or len(texts) < len(every):
            self.problem("rows have no text, or one that is not a text", where)
            return []
        if any(map(looks_like_list, texts)):
            rule = "rows have a text that looks like a list; write a JSON list of texts, or a row for each text"
            self.problem(rule, where)
            return []
        for text in filter(spells_missing, texts):
            self.note(f"have the text {text!r}, as some programs write what is missing", where)
        return texts

    def optional(self, row: Mapping[str, object], column: str | None, role: str, where: str) -> str | None:
        """The text or number of a column as text; None where it is absent or empty, or something is wrong with it.

        Args:
            row: The row.
            column: The column as the data calls it, None where it has none.
            role: What we call it.
            where: Which row this is.
        """
        value = None if column is None else row.get(column)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or looks_like_list(value):
            kind = "looks like a list" if isinstance(value, str) else f"is {indefinite(type(value).__name__)}"
            self.problem(f"rows have {indefinite(column or role)} that {kind}; it must be one text or number", where)
            return None
        if role == "id" and is_truth(value):
            self.problem("rows have an id that is true or false; it must be a text or a number", where)
            return None
        if spells_missing(value):
            self.note(f"have the {role} {value!r}, as some programs write what is missing", where)
        elif role in ("id", "subject") and whole(value) is not None:
            self.note(f"have {indefinite(role)} that is a whole number with a point, such as 1.0, kept as it is", where)
        return value

    def problem(self, rule: str, where: str) -> None:
        self.problems.setdefault(rule, []).append(where)

    def note(self, what: str, where: str) -> None:
        self.notes.setdefault(what, []).append(where)
