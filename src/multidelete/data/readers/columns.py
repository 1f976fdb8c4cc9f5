"""Which column of a table holds what."""

from collections.abc import Mapping, Sequence

from multidelete.core.errors import first_few


def find_columns(
    names: Sequence[str], found: Sequence[str], mapped: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Our names to the data's, for the columns that are there, exactly so or else in other letter case.

    Args:
        names: Our names.
        found: The columns that there are.
        mapped: Our name to the data's, as the user says.
        notes: Gets a line for each column that is taken, or left, though its name is not exactly ours.

    >>> notes = []
    >>> find_columns(("image", "id"), ["file_name", "ID", "other"], {}, notes), notes
    ({'image': 'file_name', 'id': 'ID'}, ["column 'ID' is read as the id"])
    """
    at: dict[str, str] = {}
    for name in names:
        ways = (name, "file_name") if name == "image" else (name,)
        alike = [column for way in ways for column in found if column.strip().lower() == way]
        if name in mapped or not alike:
            continue
        at[name] = next((way for way in ways if way in found), alike[0])
        if at[name] not in ways:
            notes.append(f"column {at[name]!r} is read as the {name}")
        unread = [column for column in alike if column not in (at[name], *ways)]
        if unread:
            notes.append(f"columns {first_few(unread)} are not read: the {name} is taken from {at[name]!r}")
    return at | dict(mapped)
