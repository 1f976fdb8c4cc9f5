import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from multidelete.core.errors import RequestError
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.request import Request, forget_retain, resolve_request, unit_keys
from multidelete.data.request_file import Named, read_request
from multidelete.data.split import draw_request


def pair(
    number: int, image: str, *, subject: str | None = None, label: int | None = None, kind: str | None = None
) -> Pair:
    return Pair(
        id=f"pair-{number}",
        inputs={"image": b"", "text": "t"},
        sources={"image": image, "text": f"text {number}"},
        subject=subject,
        label=label,
        kind=kind,
    )


@pytest.fixture
def data() -> PairData:
    train = [
        pair(0, "cats/tom.png", subject="tom"),
        pair(1, "cats/tom.png", subject="tom"),
        pair(2, "cats/kit.png", subject="kit"),
        pair(3, "dogs/rex.png", subject="rex"),
        pair(4, "dogs/kit.png", subject="rex"),
        pair(5, "dogs/kit.png", subject="kit"),
    ]
    held_out = [pair(6, "cats/old.png", subject="old")]
    return PairData("pets", {"train": PairDataset(train, "train"), "test": PairDataset(held_out, "test")})


def problems_of(data: PairData, **named: object) -> list[str]:
    with pytest.raises(RequestError) as error:
        resolve_request(data, **named)  # type: ignore[arg-type]
    return error.value.problems


def test_pairs_are_named_by_id_in_training_order(data: PairData) -> None:
    request = resolve_request(data, ids=["pair-3", "pair-0"])
    assert request.ids == ("pair-0", "pair-3")
    assert request.description == "2 of 6 training pairs, named by 2 ids"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("pair", {"pair-4"}), ("image", {"pair-4", "pair-5"}), ("subject", {"pair-3", "pair-4"})],
)
def test_unit_says_what_goes_with_a_named_pair(data: PairData, unit: str, expected: set[str]) -> None:
    assert set(resolve_request(data, ids=["pair-4"], unit=unit).ids) == expected  # type: ignore[arg-type]


def test_subjects_and_images_bring_all_their_pairs(data: PairData) -> None:
    assert resolve_request(data, subjects=["tom"]).ids == ("pair-0", "pair-1")
    assert resolve_request(data, images=["cats/tom.png"], subjects=["rex"]).ids == (
        "pair-0",
        "pair-1",
        "pair-3",
        "pair-4",
    )


@pytest.mark.parametrize("name", ["rex.png", "dogs/rex.png", "/home/me/dogs/rex.png", "dogs\\rex.png"])
def test_images_may_be_named_from_the_end(data: PairData, name: str) -> None:
    assert resolve_request(data, images=[name]).ids == ("pair-3",)


def test_ambiguous_and_wrong_image_names(data: PairData) -> None:
    assert "kit.png is ambiguous: cats/kit.png, dogs/kit.png" in problems_of(data, images=["kit.png"])[0]
    assert "1 of 1 image is not among" in problems_of(data, images=["birds/rex.png"])[0]


def test_digest_depends_on_the_pairs_alone(data: PairData) -> None:
    by_id = resolve_request(data, ids=["pair-1", "pair-0"])
    assert by_id.digest == resolve_request(data, subjects=["tom"]).digest
    assert by_id.digest != resolve_request(data, ids=["pair-0"]).digest
    assert Request(("b", "a"), "pair", "").digest == Request(("a", "b"), "subject", "other words").digest


def test_forget_and_retain_part_the_training_pairs(data: PairData) -> None:
    forget, retain = forget_retain(data.train, resolve_request(data, subjects=["tom"]))
    assert (forget.ids, retain.ids) == (["pair-0", "pair-1"], ["pair-2", "pair-3", "pair-4", "pair-5"])


def test_all_problems_are_reported_together(data: PairData) -> None:
    found = problems_of(
        data, ids=["pair-0", "pair-0", "pair-00", "pair-6"], subjects=["tim", "old"], images=["kit.png", "cats/old.png"]
    )
    text = "\n".join(found)
    assert "1 of 3 ids occurs more than once in the request: pair-0" in text
    assert "1 of 3 ids is not among the training pairs of pets: pair-00. Did you mean pair-0?" in text
    assert "1 of 3 ids is of held-out pairs, which the model was never trained on: pair-6 (test)" in text
    assert "1 of 2 subjects is not among the training pairs of pets: tim." in text
    assert "1 of 2 subjects is of held-out pairs" in text
    assert "kit.png is ambiguous" in text
    assert "1 of 1 image is of held-out pairs" in text
    assert len(found) == 7


def test_empty_request_is_refused(data: PairData, tmp_path: Path) -> None:
    assert problems_of(data) == [
        "Nothing is named; a deletion request needs at least one pair id, subject, image or node. "
        "Give a request file (--forget), or --forget-subject, --forget-image or --forget-node."
    ]
    (tmp_path / "request.txt").write_text("# nothing yet\n\n")
    (problem,) = problems_of(data, file=tmp_path / "request.txt")
    assert "request.txt names nothing; " in problem
    assert problem.endswith("Write an id in each line, or a column id, subject, image or node.")


def test_request_for_everything_is_refused(data: PairData) -> None:
    assert "names all 6 training pairs" in problems_of(data, ids=data.train.ids)[0]
    assert "names all 6 training pairs" in problems_of(data, ids=["pair-0", "pair-2", "pair-3"], unit="subject")[0]


def test_request_that_leaves_one_pair_is_refused(data: PairData) -> None:
    assert "leaves 1 training pair. At least two must be kept" in problems_of(data, ids=data.train.ids[1:])[0]


def test_request_that_empties_a_kind_or_a_class_is_refused() -> None:
    pairs = [pair(n, f"{n}.png", kind="sensitive" if n < 3 else "plain", label=n // 3) for n in range(8)]
    data = PairData("d", {"train": PairDataset(pairs, "train")})
    found = problems_of(data, ids=["pair-0", "pair-1", "pair-2"])
    assert "leaves 1 class without any training pair: 0." in found[0]
    assert "leaves 0 training pairs of kind 'sensitive'" in found[1]
    assert "leaves 1 training pair of kind 'sensitive'" in problems_of(data, ids=["pair-0", "pair-1"])[0]
    assert resolve_request(data, ids=["pair-0"]).ids == ("pair-0",)


def test_subjects_where_there_are_none() -> None:
    data = PairData("d", {"train": PairDataset([pair(n, f"{n}.png") for n in range(5)], "train")})
    assert "have no subjects; name pairs by id" in problems_of(data, subjects=["tom"])[0]
    assert "1 pair has no subject: pair-1" in problems_of(data, ids=["pair-1"], unit="subject")[0]


def test_unknown_unit_is_refused(data: PairData) -> None:
    assert "Unknown unit 'person'; it must be one of pair, image, subject" in problems_of(data, unit="person")[0]


def test_file_and_arguments_are_one_request(data: PairData, tmp_path: Path) -> None:
    (tmp_path / "request.csv").write_text("subject\ntom\n")
    assert resolve_request(data, ids=["pair-3"], file=tmp_path / "request.csv").ids == ("pair-0", "pair-1", "pair-3")
    (tmp_path / "again.txt").write_text("pair-3\n")
    assert "pair-3" in problems_of(data, ids=["pair-3"], file=tmp_path / "again.txt")[0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("r.txt", "# who asked\n\n a.jpg#0 \r\nb\n", Named(("a.jpg#0", "b"))),
        ("r.txt", "\ufeffa\n", Named(("a",))),
        ("r.csv", "id,why\na,moved\nb,\n", Named(("a", "b"))),
        ("r.csv", "a\nb\n", Named(("a", "b"))),
        ("r.csv", '"a, b"\n', Named(("a, b",))),
        ("r.tsv", "why\tsubject\tid\nx\ttom\t\n", Named((), ("tom",))),
        ("r.csv", "image\nx.png\n", Named((), (), ("x.png",))),
        ("r.csv", 'id,why\na,"moved\nabroad"\nb,\n', Named(("a", "b"))),
        (
            "r.jsonl",
            '"a"\n\n{"id": "b"}\n{"subject": "tom"}\n{"image": "x.png"}\n7\n',
            Named(("a", "b", "7"), ("tom",), ("x.png",)),
        ),
        ("r.csv", "", Named()),
    ],
)
def test_request_files(tmp_path: Path, name: str, content: str, expected: Named) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_request(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "r.csv",
            b"pair,why\na,b\n",
            "has the columns pair, why; a request table has a column id, subject, image",
        ),
        ("r.jsonl", b'{"id": \n{"name": "x"}\n', r"(?s)line 1: not JSON.*line 2: .*no key id, subject, image or node"),
        ("r.txt", b"\xff\xfe\x00", "cannot be read as UTF-8"),
        (
            "r.parquet",
            b"PAR1",
            r"a parquet file\. Only pairs are read .*; write a request .* as \.csv, \.tsv or \.jsonl",
        ),
        ("r.csv", b"PAR1", r"a parquet file\. Only pairs are read .*; write a request .* as \.csv, \.tsv or \.jsonl"),
    ],
)
def test_unreadable_request_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        read_request(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("r.csv", 'id,why\np1,"said\np2,yes\np3,no"\n', 2),
        ("r.csv", 'id,why\np1,"said\nX-7,yes"\np5,fine\n', 2),
        ("r.csv", 'subject,why\nann,fine\nbob,"said\nDr. Cy O\'Neil,yes"\n', 3),
        ("r.csv", 'id,why\np5,fine\np1,"said\nX-7, yes"\n', 3),
        ("r.csv", 'id,why\r\np5,fine\r\np1,"said\r\nX-7,yes, well"\r\n', 3),
        ("r.csv", 'id,why\rp1,"said\rp2,yes"\r', 2),
        ("r.csv", 'why,id\n"said,p1\nwell, no",p2\n', 2),
        ("r.csv", 'id,why,by\np1,"said\np2,yes",me\n', 2),
        ("r.csv", 'id,"why\np1,said\np2,yes"\np3,no\n', 1),
        ("r.tsv", 'id\twhy\np1\t"said\np2\tyes\n"\n', 2),
    ],
)
def test_a_cell_that_may_hold_other_rows_is_no_part_of_a_request(
    tmp_path: Path, name: str, content: str, line: int
) -> None:
    (tmp_path / name).write_text(content, newline="")
    with pytest.raises(RequestError, match=rf"1 cell holds lines that look like rows .* on lines {line}\. .*one line"):
        read_request(tmp_path / name)


def test_missing_request_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no request file .*gone.txt"):
        read_request(tmp_path / "gone.txt")


# Pairs of two pictures, and of nodes


@pytest.fixture
def several() -> PairData:
    def two(number: int, left: str, right: str) -> Pair:
        images, sources = (b"", b""), {"image": f"{left}|{right}", "text": f"text {number}"}
        return Pair(id=f"two-{number}", inputs={"image": images, "text": "t"}, sources=sources)

    train = [
        two(0, "a.png", "b.png"), two(1, "a.png", "b.png"), two(2, "b.png", "c.png"), two(3, "d.png", "e.png"),
        two(4, "b.png", "a.png"), two(5, "f.png", "g.png"),
    ]  # fmt: skip
    return PairData("nlvr", {"train": PairDataset(train, "train")})


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"images": ["a.png"]}, [0, 1, 4]),
        ({"images": ["b.png"]}, [0, 1, 2, 4]),
        ({"images": ["a.png|b.png"]}, [0, 1]),  # both together, in this order
        ({"ids": ["two-0"], "unit": "image"}, [0, 1]),  # everything attached to the same two
        ({"ids": ["two-0"]}, [0]),
        ({"images": ["c.png"], "unit": "image"}, [2]),
    ],
)
def test_an_image_is_both_pictures_of_a_pair_or_either(
    several: PairData, named: dict[str, object], expected: list[int]
) -> None:
    assert resolve_request(several, **named).ids == tuple(f"two-{n}" for n in expected)  # type: ignore[arg-type]


@pytest.fixture
def nodes() -> PairData:
    named = [("gene:1", "HP:1"), ("gene:1", "HP:2"), ("gene:2", "HP:1"), ("gene:3", "HP:3"), ("gene:4", "HP:4")]
    train = [
        Pair(id=f"p{n}", inputs={"graph": pair, "text": "t"}, sources={"graph": "|".join(pair), "text": f"text {n}"})
        for n, pair in enumerate(named)
    ]
    return PairData("relations", {"train": PairDataset(train, "train")})


def test_a_node_brings_all_pairs_that_name_it(nodes: PairData, tmp_path: Path) -> None:
    assert resolve_request(nodes, nodes=["HP:1"]).ids == ("p0", "p2")
    assert resolve_request(nodes, nodes=["gene:1"]).ids == ("p0", "p1")
    assert resolve_request(nodes, ids=["p0"], unit="node").ids == ("p0", "p1", "p2")
    (tmp_path / "r.csv").write_text("node\ngene:3\n")
    request = resolve_request(nodes, file=tmp_path / "r.csv", unit="node")
    assert request.ids == ("p3",)
    assert "named by 1 node, with all pairs of their nodes" in request.description
    assert "1 of 1 node is not among the training pairs" in problems_of(nodes, nodes=["gene:9"])[0]
    assert "have no images" in problems_of(nodes, images=["a.png"])[0]
    assert "1 pair has no image" in problems_of(nodes, ids=["p0"], unit="image")[0]


def test_requests_for_nodes_and_pictures_are_drawn_whole(nodes: PairData, several: PairData) -> None:
    for seed in range(8):
        for data, unit in ((nodes, "node"), (several, "image")):
            ids = draw_request(data.train, fraction=0.3, unit=unit, seed=seed)  # type: ignore[arg-type]
            assert ids
            drawn = {key for pair in data.train if pair.id in ids for key in unit_keys(pair, unit)}  # type: ignore[arg-type]
            others = [unit_keys(pair, unit) for pair in data.train if pair.id not in ids]  # type: ignore[arg-type]
            assert unit == "node" or not any(drawn & set(keys) for keys in others)
            assert any(all(key not in keys for keys in others) for key in drawn)


# Rows of request files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", "subject\nDoe, Jane\n", r"line 2 \(2\)"),
        ("r.csv", "subject,why\nDoe, Jane\n", "1 cell begins with a blank.*lines 2"),
        ("r.csv", "Doe, Jane\n", "has the columns Doe, Jane"),
        ("r.csv", "id,why\na,moved\n,left\n", "1 row names nothing.*line 3"),
        ("r.csv", 'id\na\n""\n', "1 row names nothing.*line 3"),
        ("r.csv", "subject\nnan\n", "1 row names 'nan', as programs write what is missing"),
        ("r.csv", "id,ID\na,b\n", "columns id, ID"),
        ("r.csv", "id;subject\na;b\n", "separated by semicolons"),
        ("r.csv", "id\na\n".encode("utf-16"), "UTF-16"),
        ("r.xlsx", b"PK\x03\x04", "workbook"),
        ("r.jsonl", '{"id": null}\n"a"\n""\nnull\n', "3 rows name nothing.*line 1, line 3, line 4"),
        ("r.jsonl", '{"id": ["a", "b"]}\n{"subject": {"a": 1}}\n', "2 rows hold a list or an object.*line 1, line 2"),
        ("r.jsonl", '{"id": "a", "id": "b"}\n', "line 1: not JSON .the key 'id' stands twice"),
        ("r.jsonl", "[" * 100_000, "nested too deeply"),
        ("r.json", "[]", r"name the file \.jsonl"),
    ],
)
def test_every_row_names_something_or_is_refused(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RequestError, match=message):
        read_request(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("r.csv", "ID,why\na,\n", ("a",)),
        ("r.csv", ",id\n0,a\n", ("a",)),
        ("r.csv", '"Doe, Jane"\nb;c\n', ("Doe, Jane", "b;c")),
        ("r.txt", "a\u2028b\n", ("a\u2028b",)),
        ("r.jsonl", '{"Id": 7}\n12345678901234567890123\n', ("7", "12345678901234567890123")),
        ("r.TSV", "id\twhy\na\tb\n", ("a",)),
    ],
)
def test_requests_are_read_as_text(tmp_path: Path, name: str, content: str, ids: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(content)
    assert read_request(tmp_path / name).ids == ids


@pytest.mark.parametrize(
    ("name", "content"),
    [("r.csv", "id,subject\npair-0,tom\n"), ("r.jsonl", '{"id": "pair-0", "subject": "tom"}\n')],
)
def test_rows_with_an_id_and_a_subject_need_a_unit(data: PairData, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = problems_of(data, file=tmp_path / name)
    assert "1 row carries id and subject" in found[0]
    assert "Which of the two do you mean? Say --unit pair or --unit subject" in found[0]
    assert resolve_request(data, file=tmp_path / name, unit="pair").ids == ("pair-0",)
    assert resolve_request(data, file=tmp_path / name, unit="subject").ids == ("pair-0", "pair-1")
    assert resolve_request(data, file=tmp_path / name, unit="image").ids == ("pair-0", "pair-1")


def test_rows_that_contradict_the_data_are_refused(data: PairData, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,subject\npair-0,tom\npair-2,tom\n")
    assert (
        "1 row gives what no pair of pets has together: line 3 (id 'pair-2' and subject 'tom')"
        in problems_of(data, file=tmp_path / "r.csv", unit="pair")[0]
    )
    (tmp_path / "r.csv").write_text("subject,image\ntom,cats/tom.png\n")
    assert "1 row names neither a pair nor an id: lines 2" in problems_of(data, file=tmp_path / "r.csv", unit="pair")[0]


@pytest.mark.parametrize("unit", [None, "pair", "image", "subject"])
@pytest.mark.parametrize(
    "row",
    [
        {"id": "pair-0", "subject": "kit"},
        {"id": "pair-0", "image": "cats/kit.png"},
        {"id": "pair-0", "file_name": "kit.png"},
        {"image": "cats/tom.png", "subject": "rex"},
        {"id": "pair-0", "text": "text 1"},
        {"subject": "tom", "caption": "text 5"},
        {"image": "cats/tom.png", "text": "text 2"},
        {"id": "pair-0", "subject": "nobody"},
        {"id": "pair-0", "node": "n1"},
        {"id": "pair-0", "subject": "tom", "image": "cats/tom.png", "text": "text 1"},
        {"id": "nothing", "subject": "tom"},
        {"key": "pair-2", "subject": "tom"},
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_that_name_things_of_different_pairs_are_refused(
    data: PairData, tmp_path: Path, row: dict[str, str], unit: str | None, form: str
) -> None:
    file = tmp_path / f"r.{form}"
    file.write_text(f"{','.join(row)}\n{','.join(row.values())}\n" if form == "csv" else json.dumps(row))
    problem = problems_of(data, file=file, unit=unit)[0]
    assert f"1 row gives what no pair of pets has together: line {2 if form == 'csv' else 1} (" in problem


def test_rows_that_say_the_same_of_one_pair_are_one_name(data: PairData, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,text,why\npair-0,Text  0,asked\n")
    assert resolve_request(data, file=tmp_path / "r.csv").ids == ("pair-0",)
    (tmp_path / "r.csv").write_text("id,subject,file_name,text\npair-0,tom,tom.png,text 0\n")
    assert resolve_request(data, file=tmp_path / "r.csv", unit="pair").ids == ("pair-0",)


def test_rows_that_name_nodes_of_other_pairs_are_refused(tmp_path: Path) -> None:
    pairs = [
        Pair(
            id=str(n),
            inputs={"graph": nodes, "text": f"t{n}"},
            sources={"graph": "|".join(nodes), "text": f"t{n}"},
            subject=f"s{n % 3}",
        )
        for n, nodes in enumerate([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("e", "f")])
    ]
    data = PairData("g", {"train": PairDataset(pairs, "train")})
    file = tmp_path / "r.csv"
    for row in ("id,node\n0,c\n", "subject,node\ns0,e\n", "node,text\na,t1\n", "id,nodes\n0,b|c\n"):
        file.write_text(row)
        for unit in ("pair", "subject", "node"):
            assert "line 2" in problems_of(data, file=file, unit=unit)[0]
    file.write_text("id,nodes,node\n0,a|b,a\n")
    assert "has the columns id, node, nodes" in problems_of(data, file=file)[0]
    file.write_text("id,nodes\n0,a|b\n")
    assert resolve_request(data, file=file, unit="pair").ids == ("0",)


@pytest.mark.parametrize("columns", ["id,key", "image,file_name", "Subject,person", "ID,id", "node,nodes"])
def test_two_columns_for_one_meaning_are_refused_in_requests(tmp_path: Path, columns: str) -> None:
    (tmp_path / "r.csv").write_text(f"{columns}\npair-0,pair-0\n")
    with pytest.raises(RequestError, match=r"has the columns .* once"):
        read_request(tmp_path / "r.csv")
    first, second = columns.split(",")
    (tmp_path / "r.jsonl").write_text(json.dumps({first: "pair-0", second: "pair-0"}))
    with pytest.raises(RequestError, match="or has one twice"):
        read_request(tmp_path / "r.jsonl")


def test_ids_in_other_spellings_of_a_number_are_pointed_out() -> None:
    pairs = [replace(pair(n, f"{n}.png"), id=f"{n:03}") for n in range(5)]
    data = PairData("d", {"train": PairDataset(pairs, "train")})
    for name in ("1", "1.0", "01"):
        assert f"the spelling of a number: {name!r} may be '001'." in problems_of(data, ids=[name])[0]


def test_ids_that_look_like_comments_are_not_skipped(tmp_path: Path) -> None:
    pairs = [replace(pair(n, f"{n}.png"), id=f"#{n}") for n in range(5)]
    data = PairData("d", {"train": PairDataset(pairs, "train")})
    (tmp_path / "r.txt").write_text("# who asked\n#1\n")
    assert (
        "1 line begins with # and would be skipped, but can be read as ids"
        in problems_of(data, file=tmp_path / "r.txt")[0]
    )


@pytest.mark.parametrize("ids", [[1], [None], "pair-0"])
def test_names_that_are_no_texts_are_refused(data: PairData, ids: object) -> None:
    assert re.search("1 id is not text|ids is the text", problems_of(data, ids=ids)[0])


def test_paths_of_other_files_mean_no_picture_by_their_ends(tmp_path: Path) -> None:
    for name, content in {
        "data/a.png": b"one",
        "data/b.png": b"two",
        "other/a.png": b"two",
        "other/c.png": b"three",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    pairs = [
        Pair(id=name, inputs={"image": tmp_path / "data" / f"{name}.png", "text": name},
             sources={"image": f"{name}.png", "text": name})
        for name in "ab"
    ]  # fmt: skip
    more = [Pair(id=str(n), inputs={"text": str(n)}, sources={"text": str(n)}) for n in range(4)]
    data = PairData("photos", {"train": PairDataset([*pairs, *more], "train")})
    assert resolve_request(data, images=[str(tmp_path / "other" / "a.png")]).ids == ("b",), "it holds b's bytes"
    for name in (str(tmp_path / "other" / "c.png"), "elsewhere/a.png"):
        with pytest.raises(RequestError, match="not among the training pairs"):
            resolve_request(data, images=[name])


@pytest.mark.parametrize("header", [",id", "Unnamed: 0,id", "index,id"])
def test_a_first_column_of_row_numbers_is_remarked_on_as_it_is_in_data(
    data: PairData, tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "r.csv").write_text(f"{header}\n0,pair-0\n")
    assert resolve_request(data, file=tmp_path / "r.csv").ids == ("pair-0",)
    assert "the first column of r.csv" in caplog.text
    assert "is read as no more than that" in caplog.text


def test_rows_with_another_kind_or_label_than_the_pair_has_are_refused(data: PairData, tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("id,kind,label\npair-0,x,3\n")
    assert resolve_request(data, file=file).ids == ("pair-0",)  # the data has neither
    pairs = [replace(p, label=n % 2, kind="ab"[n // 3]) for n, p in enumerate(data.train)]
    told = PairData("told", {"train": PairDataset(pairs, "train")}, classes=("Cat", "dog"))
    for row, fits in {"pair-0,a,cat": True, "pair-0,a,0": True, "pair-0,,00": True, "pair-0,a,dog": False,
                      "pair-0,b,Cat": False, "pair-0,a,1": False}.items():  # fmt: skip
        file.write_text(f"id,kind,label\n{row}\n")
        if fits:
            assert resolve_request(told, file=file).ids == ("pair-0",)
        else:
            assert "gives what no pair of told has together: line 2" in problems_of(told, file=file)[0]


@pytest.mark.parametrize(
    ("name", "content"), [("r.csv", "id,Unit\na,subject\n"), ("r.jsonl", '{"id": "a", "unit": "subject"}\n')]
)
def test_a_unit_in_a_row_is_not_passed_over(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RequestError, match=r"1 row carries a unit, .* say it with --unit, .*: line \d"):
        read_request(tmp_path / name)
