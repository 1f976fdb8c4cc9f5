from pathlib import Path

from PIL import Image

from multidelete.report.withhold import WITHHELD, content_salt, hider, pair_name, withhold


def test_names_are_withheld_in_any_case_and_nesting() -> None:
    run = {"request": {"who": "ANNA LEE", "file": Path("/r/forget_anna lee.txt")}, "ids": ["a-1", ["17"]], "n": 17}
    hidden = withhold(run, ["Anna Lee", "a-1", "17"])
    assert hidden == {
        "request": {"who": WITHHELD, "file": f"/r/forget_{WITHHELD}.txt"},
        "ids": [WITHHELD, [WITHHELD]],
        "n": 17,  # a count that happens to look like an id stays
    }


def test_names_inside_other_words_stay() -> None:
    assert hider(["ann"])("annual planning by Ann") == f"annual planning by {WITHHELD}"


def test_longer_secret_is_withheld_before_its_part() -> None:
    assert hider(["Anna", "Anna Lee"])("Anna Lee and Anna") == f"{WITHHELD} and {WITHHELD}"


def test_secrets_are_taken_literally() -> None:
    assert hider(["a.b (c"])("axb (c, a.b (c") == f"axb (c, {WITHHELD}"


def test_keys_are_withheld() -> None:
    assert withhold({"Anna": 1}, ["anna"]) == {WITHHELD: 1}


def test_two_names_as_keys_do_not_swallow_each_other() -> None:
    assert withhold({"Anna": 1, "Bert": 2}, ["anna", "bert"]) == {WITHHELD: 1, f"{WITHHELD} 2": 2}


def test_nothing_to_withhold_changes_nothing() -> None:
    assert withhold({"a": [1, "b"]}, []) == {"a": [1, "b"]}


def test_pair_names_depend_on_id_and_salt() -> None:
    picture = Image.new("RGB", (2, 2), "red")
    salt, other = content_salt(["a caption"], [picture]), content_salt(["a caption"], [None])
    assert salt != other
    assert pair_name("x", salt) == pair_name("x", salt)
    assert len({pair_name("x", salt), pair_name("y", salt), pair_name("x", other)}) == 3
