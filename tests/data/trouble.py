"""Tables with one troublesome row, for every reader that can meet it: `READERS` write them, `KINDS` are the trouble."""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Value
from PIL import Image

from multidelete.data.pairs import Pair, PairData

Row = Mapping[str, object]
"""A row's id, text and subject: text, or what JSON can hold besides."""
FIELDS = ("id", "text", "subject")


@dataclass(frozen=True)
class Reader:
    """One way for rows to lie on disk.

    Attributes:
        name: What the table of results calls it.
        write: Writes rows into a folder and returns what to read.
        family: Which kinds of trouble it can hold: ``csv``, ``tsv``, ``json`` or ``typed``.
        fields: Which fields it has.
        id_of: A pair's id as it was written.
        columns: Names of columns that must be mapped.
    """

    name: str
    write: Callable[[Path, Sequence[Row]], Path]
    family: str
    fields: tuple[str, ...] = FIELDS
    id_of: Callable[[Pair], str] = field(default=lambda pair: pair.id)
    columns: Mapping[str, str] = field(default_factory=dict)

    def found(self, data: PairData) -> list[tuple[object, ...]]:
        """What was read, in the order of the ids."""
        pairs = [pair for split in data.splits.values() for pair in split]
        every = [{"id": self.id_of(p), "text": p.inputs["text"], "subject": p.subject} for p in pairs]
        return sorted((tuple(one[name] for name in self.fields) for one in every), key=str)


@dataclass(frozen=True)
class Kind:
    """One sort of trouble.

    Attributes:
        name: What it is.
        row: What is troublesome in the second of four rows.
        right: What must come of that row where it is read: one row, or several; None where it must be refused.
        families: Which sorts of files can hold it.
        may_refuse: Whether refusing, with the row, is right as well.
        third: What differs in the third row.
        told: What a note must say where it is read.
    """

    name: str
    row: Row
    right: Sequence[Row] | None = ()
    families: tuple[str, ...] = ("csv", "tsv", "json", "typed")
    may_refuse: bool = False
    third: Row = field(default_factory=dict)
    told: str = ""


LONG = "12345678901234567890"
KINDS = [
    Kind("zeros", {"id": "007"}),
    Kind("long number", {"id": LONG + "1"}, third={"id": LONG + "2"}),
    Kind("long number without quotes", {"id": int(LONG + "1")}, [{"id": LONG + "1"}], ("json",),
         third={"id": int(LONG + "2")}),
    Kind("5,000 digits", {"id": "9" * 5000}),
    Kind("zero", {"id": 0}, [{"id": "0"}], ("json", "csv")),
    Kind("date", {"id": "2014-01-01"}),
    Kind("time", {"id": "2014-01-01T10:00:00"}),
    Kind("the word null", {"subject": "null"}),
    Kind("the word NaN", {"subject": "NaN"}),
    Kind("NA", {"id": "NA"}),
    Kind("no subject", {"subject": None}),
    Kind("no id", {"id": None}, None),
    Kind("no text", {"text": None}, None),
    Kind("blank text", {"text": "  "}, None),
    Kind("quotation marks", {"text": '"Stop" sign, 12" wide'}),
    Kind("one quotation mark", {"text": '"a dog says hi'}),
    Kind("comma", {"text": "a dog, a cat"}),
    Kind("line end", {"text": "a dog\na cat"}, families=("csv", "json", "typed")),
    Kind("ends of lines of Unicode", {"text": "a\u2028b\u2029c\u0085d\x0be"}),
    Kind("long text", {"text": "x" * 140_000}),
    Kind("backslash", {"text": 'he said \\"hi\\"'}),
    Kind("list in a text", {"text": "['a dog', 'the dog']"}, None),
    Kind("JSON list in a text", {"text": '["a dog", "the dog"]'},
         [{"id": "a1#0", "text": "a dog"}, {"id": "a1#1", "text": "the dog"}], may_refuse=True),
    Kind("list for an id", {"id": ["a", "b"]}, None, ("json",)),
    Kind("list for a subject", {"subject": ["a", "b"]}, None, ("json",)),
    Kind("object for an id", {"id": {"a": 1}}, None, ("json",)),
    Kind("object for a text", {"text": {"en": "a dog"}}, None, ("json",)),
    Kind("number for a text", {"text": 5}, None, ("json",)),
    Kind("half a character", {"text": "a\ud800b"}, None, ("json",)),
    Kind("1 and 1.0", {"id": "1"}, None, third={"id": "1.0"}),
    Kind("emoji and marks", {"text": "a 🐕 e\u0301"}),
    Kind("sign of a lost character", {"text": "caf\ufffd"}, told="the sign for a character that was lost in the text"),
    Kind("another encoding", {"text": "caf\u00c3\u00a9"}, told="signs as of text that was read in another encoding"),
    Kind("bytes of Python", {"text": "b'a dog'"}, told="bytes as Python writes them"),
    Kind("set in a text", {"text": "{'a', 'b'}"}, None),
    Kind("formula", {"subject": '="007"'}, families=("csv", "json", "typed"), told="a formula of a spreadsheet"),
    Kind("power of ten", {"subject": "1.23E+12"}, told="a number in powers of ten"),
    Kind("sign for nothing", {"subject": "-"}, told="a sign or word as for what is missing"),
    Kind("error of a spreadsheet", {"subject": "#REF!"}, told="as some programs write what is missing"),
    Kind("capital letters", {"subject": "Ann"}, third={"subject": "ann"}, told="'Ann' (train row 2) and 'ann' (train "),
    Kind("zeros beside none", {"subject": "01"}, third={"subject": "1"}, told="'01' (train row 2) and '1' (train"),
    Kind("invisible sign", {"subject": "ann\u200b"}, third={"subject": "ann"}, told="'ann\\u200b' (train row 2)"),
    Kind("wide signs", {"subject": "\uff11"}, third={"subject": "1"}, told="'\\uff11' (train row 2) and '1'"),
    Kind("several subjects in one", {"subject": "ann;bob"}, third={"subject": "ann"}, told="'ann;bob' beside 'ann'"),
    Kind("1 and 1.", {"subject": "1"}, None, third={"subject": "1."}),
]  # fmt: skip


def rows_with(kind: Kind) -> list[dict[str, object]]:
    """Four rows, of which the second has the trouble."""
    rows: list[dict[str, object]] = [{"id": f"a{n}", "text": f"caption {n}", "subject": f"s{n}"} for n in range(4)]
    rows[1] |= kind.row
    rows[2] |= kind.third
    return rows


def expected(kind: Kind, fields: Sequence[str]) -> list[tuple[object, ...]] | None:
    """What must be read of them; None where it must be refused."""
    if kind.right is None:
        return None
    rows = rows_with(kind)
    second = [{**rows[1], **right} for right in kind.right] or [rows[1]]
    every = [rows[0], *second, *rows[2:]]
    return sorted((tuple(str(v) if isinstance(v := row[f], int) else v for f in fields) for row in every), key=str)


# How rows are written


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix in (".png", ".jpg") and len(file.name) < 200 and not file.exists():
        Image.new("RGB", (4, 4)).save(file)


def images(rows: Sequence[Row], column: str, folder: Path, **more: object) -> list[dict[str, object]]:
    picture(folder / "p.png")
    return [{column: "p.png", **row, **more} for row in rows]


def delimited(file: Path, rows: Sequence[Row], *, quoting: bool = True) -> Path:
    sign = "\t" if file.suffix == ".tsv" else ","
    cells = [list(rows[0]), *([("" if v is None else str(v)) for v in row.values()] for row in rows)]
    with file.open("w", newline="", encoding="utf-8") as opened:
        if quoting:
            csv.writer(opened, delimiter=sign).writerows(cells)
        else:
            opened.write("".join(sign.join(row) + "\n" for row in cells))
    return file


def json_lines(file: Path, rows: Sequence[Row]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Characters as they are, halves of characters as escapes.
    lines = [json.dumps(row, ensure_ascii=any("\ud800" in str(cell) for cell in row.values())) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def as_csv(name: str, column: str = "image", *, whole_folder: bool = False) -> Callable[[Path, Sequence[Row]], Path]:
    def write(folder: Path, rows: Sequence[Row]) -> Path:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        delimited(file, images(rows, column, file.parent))
        return folder if whole_folder else file

    return write


def as_lines(name: str, column: str = "image", *, whole_folder: bool = False) -> Callable[[Path, Sequence[Row]], Path]:
    def write(folder: Path, rows: Sequence[Row]) -> Path:
        file = json_lines(folder / name, images(rows, column, (folder / name).parent))
        return folder if whole_folder else file

    return write


def unquoted_tsv(folder: Path, rows: Sequence[Row]) -> Path:
    return delimited(folder / "pairs.tsv", images(rows, "image", folder), quoting=False)


def array(folder: Path, rows: Sequence[Row]) -> Path:
    lines = json_lines(folder / "lines", images(rows, "image", folder)).read_text(encoding="utf-8").split("\n")[:-1]
    (folder / "pairs.json").write_text("[" + ",\n".join(lines) + "]", encoding="utf-8")
    return folder / "pairs.json"


def typed(rows: Sequence[Row], folder: Path) -> Dataset:
    written = images(rows, "image", folder)
    columns = {name: [row[name] for row in written] for name in written[0]}
    return Dataset.from_dict(columns, Features({name: Value("string") for name in columns}))


def parquet(folder: Path, rows: Sequence[Row]) -> Path:
    typed(rows, folder).to_parquet(folder / "pairs.parquet")
    return folder / "pairs.parquet"


def saved(folder: Path, rows: Sequence[Row]) -> Path:
    DatasetDict({"train": typed(rows, folder)}).save_to_disk(folder / "saved")
    picture(folder / "saved" / "p.png")
    return folder / "saved"


def archive(folder: Path, rows: Sequence[Row]) -> Path:
    picture(folder / "p.png")
    lines = json_lines(folder / "lines", rows).read_text(encoding="utf-8").split("\n")[:-1]
    with tarfile.open(folder / "pairs.tar", "w") as tar:
        for number, line in enumerate(lines):
            for ending, content in (("png", (folder / "p.png").read_bytes()), ("json", line.encode())):
                entry = tarfile.TarInfo(f"{number + 1:04}.{ending}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return folder / "pairs.tar"


def graph(ending: str) -> Callable[[Path, Sequence[Row]], Path]:
    def write(folder: Path, rows: Sequence[Row]) -> Path:
        (folder / "edges.csv").write_text("from,to\nn0,n1\nn1,n2\n")
        pairs = [{"nodes": "n0|n1", **row} for row in rows]
        file = folder / f"train{ending}"
        if ending == ".jsonl":
            json_lines(file, pairs)
        else:
            delimited(file, pairs, quoting=ending == ".csv")
        return folder

    return write


def snli_ve(folder: Path, rows: Sequence[Row]) -> Path:
    picture(folder / "images" / "1.jpg")
    json_lines(
        folder / "snli_ve_train.jsonl",
        [{"pairID": r["id"], "Flickr30K_ID": "1", "sentence2": r["text"], "gold_label": "neutral"} for r in rows],
    )
    return folder


def nlvr2(folder: Path, rows: Sequence[Row]) -> Path:
    named = [r["id"] if r["id"] is None or not isinstance(r["id"], str) else f"{r['id']}-0-0" for r in rows]
    for name in named:
        for side in (0, 1):
            picture(folder / "images" / f"{str(name).rpartition('-')[0]}-img{side}.png")
    entries = [{"identifier": n, "sentence": r["text"], "label": "True"} for n, r in zip(named, rows, strict=True)]
    json_lines(folder / "train.json", entries)
    return folder


def vqa(folder: Path, rows: Sequence[Row]) -> Path:
    picture(folder / "images" / "COCO_train2014_000000000001.jpg")
    questions = [{"question_id": r["id"], "image_id": 1, "question": r["text"]} for r in rows]
    answers = [{"question_id": r["id"], "multiple_choice_answer": "yes"} for r in rows]
    for name, key, entries in (
        ("v2_OpenEnded_mscoco_train2014_questions.json", "questions", questions),
        ("v2_mscoco_train2014_annotations.json", "annotations", answers),
    ):
        (folder / name).write_text(json.dumps({key: entries}))
    return folder


def karpathy(folder: Path, rows: Sequence[Row]) -> Path:
    named = [f"{r['id']}.png" if isinstance(r["id"], str) else r["id"] for r in rows]
    for name in named:
        picture(folder / "images" / str(name))
    entries = [
        {"filename": n, "split": "train", "sentences": [{"raw": r["text"]}]} for n, r in zip(named, rows, strict=True)
    ]
    (folder / "dataset_x.json").write_text(json.dumps({"images": entries}))
    return folder


def pgr(folder: Path, rows: Sequence[Row]) -> Path:
    (folder / "hp.obo").write_text("[Term]\nid: HP:0000001\nname: All\n")
    cells = [
        {"FILE_ID": r["id"], "SENTENCE": r["text"], "GENE_ID": str(n), "PHENOTYPE_ID": "HP_0000001", "RELATION": "True"}
        for n, r in enumerate(rows)
    ]
    delimited(folder / "train.tsv", cells, quoting=False)
    return folder


def _is_written(pair: Pair) -> str:
    return pair.id.removesuffix("-0-0")


READERS = [
    Reader("CSV by name", as_csv("pairs.csv"), "csv"),
    Reader("CSV in a folder", as_csv("pairs.csv", whole_folder=True), "csv"),
    Reader("CSV named as a split", as_csv("train.csv", whole_folder=True), "csv"),
    Reader("metadata.csv", as_csv("metadata.csv", "file_name", whole_folder=True), "csv"),
    Reader("metadata.csv of a split", as_csv("train/metadata.csv", "file_name", whole_folder=True), "csv"),
    Reader("TSV as csv modules write it", as_csv("pairs.tsv"), "csv"),
    Reader("TSV without quoting", unquoted_tsv, "tsv"),
    Reader("JSON lines by name", as_lines("pairs.jsonl"), "json"),
    Reader("JSON lines in a folder", as_lines("pairs.jsonl", whole_folder=True), "json"),
    Reader("metadata.jsonl", as_lines("metadata.jsonl", "file_name", whole_folder=True), "json"),
    Reader("JSON lines as .json", as_lines("pairs.json"), "json"),
    Reader("JSON array", array, "json"),
    Reader("parquet", parquet, "typed"),
    Reader("save_to_disk", saved, "typed"),
    Reader("WebDataset", archive, "json", columns={"image": "png"}),
    Reader("graph in CSV", graph(".csv"), "csv"),
    Reader("graph in TSV", graph(".tsv"), "tsv"),
    Reader("graph in JSON lines", graph(".jsonl"), "json"),
    Reader("SNLI-VE", snli_ve, "json", ("id", "text")),
    Reader("NLVR2", nlvr2, "json", ("id", "text"), _is_written),
    Reader("VQA", vqa, "json", ("id", "text")),
    Reader("Karpathy", karpathy, "json", ("id", "text"), lambda pair: pair.id.removesuffix("#0").removesuffix(".png")),
    Reader("PGR", pgr, "tsv", ("id", "text"), lambda pair: pair.subject or ""),
]
