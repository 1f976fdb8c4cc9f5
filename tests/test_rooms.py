"""The house: each room imports only from rooms below it, whatever way it imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "multidelete"
ROOMS = (
    *(
        "core",
        "errors",
        "data",
        "artifacts",
        "models",
        "curvature",
        "training",
        "methods",
        "audits",
        "report",
        "deletion",
        "unlearning",
    ),
    *("auditing", "rehearsal", "experiments", "ledger", "demonstration", "catalogue", "cli"),
)  # ground first
MOST_PARAMETERS = 7
OF_MANY = {"unlearn", "train", "tune", "audit"}  # the entry points: their options are keyword-only
CONFIGURATIONS = {"models/albef.py", "models/graph_network.py"}  # constructors as those of transformers are
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The folder below the package's, or the module in its root."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports from, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            names.add("relative")  # none are used: a path from the root says where a thing is
        elif isinstance(node, ast.ImportFrom) and node.module == "multidelete":
            names.update(f"multidelete.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("multidelete.")} | ({"relative"} & names)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_from_rooms_below_it_alone(room: str) -> None:
    below = {*ROOMS[: ROOMS.index(room) + 1], "__version__"}
    if room == "cli":
        below |= {"demo", "tune"}  # what the package's front door offers
    files = [path for path in FILES if room_of(path) == room]
    assert files
    assert {str(path.relative_to(PACKAGE)): above for path in files if (above := imported_rooms(path) - below)} == {}


def test_every_file_stands_in_a_room() -> None:
    assert {room_of(path) for path in FILES} == {*ROOMS, "__init__"}


def test_root_holds_few_modules() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def too_many_parameters(path: Path) -> list[str]:
    """Functions of a file that take more than may be passed one by one."""
    inside, tree = path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            taken = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            excepted = node.name in OF_MANY or (node.name == "__init__" and inside in CONFIGURATIONS)
            if len([name for name in taken if name not in ("self", "cls")]) > MOST_PARAMETERS and not excepted:
                names.append(f"{inside}: {node.name} takes {', '.join(taken)}")
    return names


def test_functions_but_entry_points_take_few_parameters() -> None:
    """Arguments that belong together are one dataclass."""
    assert [line for path in FILES for line in too_many_parameters(path)] == []
