"""Tables as text: CSV, TSV, JSON lines and JSON, read strictly, wherever they lie and whatever they are for.

Every cell is text as it is written, or None where it is missing. Nothing is guessed to be a number, a date or
"not available"; what cannot be read in one way alone is refused, with the line.
"""

from multidelete.data.tables.table import TextTable, read_text_table

__all__ = ["TextTable", "read_text_table"]
