"""Each line of the table "I have ..., I type ..." runs on what it says that one has."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from datasets import Dataset

from multidelete.cli import run
from multidelete.data.generated.personas import write_personas
from tests.data import trouble
from tests.data.hub_of_data import data_hub
from tests.data.sharded import rows, write_tar

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
LINES = re.findall(r"^\| (?!I have)(.+?) \| `multidelete (.+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
ROWS = [{"id": f"n{at}", "text": f"thing {at}", "subject": f"ann {at // 2}"} for at in range(4)]


def in_folder(write: Callable[[Path, list[dict[str, str]]], Path], name: str) -> Callable[[Path], object]:
    def written(place: Path) -> None:
        (place / name).mkdir()
        write(place / name, ROWS)  # type: ignore[arg-type]

    return written


def own_names(place: Path) -> None:
    renamed = [{"photo": "p.png", "caption": row["text"], "nr": row["id"]} for row in ROWS]
    trouble.delimited(place / "own.csv", renamed)


def parts(place: Path) -> None:
    told = [{"image": "p.png", **row, "split": f"part_{'aabc'[at]}"} for at, row in enumerate(ROWS)]
    trouble.delimited(place / "parts.csv", [{**row, "split": row["split"].replace("c", "b")} for row in told])


def labelled(place: Path) -> None:
    trouble.delimited(
        place / "labelled.csv", [{"image": "p.png", **row, "label": at % 2} for at, row in enumerate(ROWS)]
    )


def captions(place: Path) -> None:
    trouble.picture(place / "pictures" / "q.png")
    trouble.json_lines(place / "captions.jsonl", [{"image": "q.png", **row} for row in ROWS])


def arrow(place: Path) -> None:
    Dataset.from_list([{"image": "p.png", **row} for row in ROWS]).save_to_disk(place / "made")
    next((place / "made").glob("*.arrow")).rename(place / "pairs.arrow")


def shards(place: Path) -> None:
    for number in range(4):
        write_tar(place / "shards" / f"{number:04}.tar", rows(number * 3, 3))
    (place / "request.txt").write_text("row-2\nrow-7\n")


HAVE: dict[str, Callable[[Path], object]] = {
    "photos": lambda place: write_personas(place / "photos", people=4, unseen=2, size=32),
    "own.csv": own_names,
    "pairs.tsv": lambda place: trouble.unquoted_tsv(place, ROWS),
    "pairs.jsonl": lambda place: trouble.as_lines("pairs.jsonl")(place, ROWS),
    "captions.jsonl": captions,
    "pairs.json": lambda place: trouble.array(place, ROWS),
    "pairs.parquet": lambda place: trouble.parquet(place, ROWS),
    "pairs.arrow": arrow,
    "saved": lambda place: trouble.saved(place, ROWS),
    "pairs.tar": lambda place: write_tar(place / "pairs.tar", rows(0, 4)),
    "parts.csv": parts,
    "labelled.csv": labelled,
    "flickr8k": in_folder(trouble.karpathy, "flickr8k"),
    "snli_ve": in_folder(trouble.snli_ve, "snli_ve"),
    "nlvr2": in_folder(trouble.nlvr2, "nlvr2"),
    "vqa_v2": in_folder(trouble.vqa, "vqa_v2"),
    "pgr": in_folder(trouble.pgr, "pgr"),
    "graph": in_folder(trouble.graph(".csv"), "graph"),
    "shards": shards,
}


@pytest.fixture
def hub(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shards on a stand-in of the hub."""
    with data_hub(monkeypatch) as server:
        server.commit(place / "shards")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each."""
    folder = tmp_path_factory.mktemp("have")
    trouble.picture(folder / "p.png")
    for write in HAVE.values():
        write(folder)
    return folder


def test_table_names_all_that_there_is() -> None:
    assert len(LINES) == 26
    assert [name for name in HAVE if not any(re.search(rf"[ :']{name}\b", command) for _, command in LINES)] == []


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("command", [command for _, command in LINES], ids=[have for have, _ in LINES])
def test_line_of_the_table_runs(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert run(shlex.split(command)) == 0
