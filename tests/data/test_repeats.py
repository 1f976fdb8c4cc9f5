"""Kept pairs that are the same pairs as deleted ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from multidelete.data.pairs import Pair, PairDataset, text_source
from multidelete.data.repeats import kept_repeats, repeats_note
from multidelete.pipeline import unlearn
from tests.data.test_identity import bitmap
from tests.tiny import own_clip, people


def pair(pair_id: str, image: Path, text: str) -> Pair:
    return Pair(
        id=pair_id, inputs={"image": image, "text": text}, sources={"image": image.name, "text": text_source(text)}
    )


def test_the_same_picture_and_text_under_another_id_are_named(tmp_path: Path) -> None:
    one, other = bitmap(tmp_path / "one.bmp", middle=1), bitmap(tmp_path / "other.bmp", middle=2)
    copy = Path(shutil.copy(one, tmp_path / "copy.bmp"))
    pairs = [
        pair("gone", one, "A dog runs"),
        pair("same", one, "A dog runs"),
        pair("spelt", one, " a DOG\truns"),
        pair("copy", copy, "A dog runs"),
        pair("other picture", other, "A dog runs"),
        pair("other text", one, "A dog sleeps"),
        pair("also gone", one, "A dog runs"),
    ]
    assert kept_repeats(PairDataset(pairs, "train"), ["gone", "also gone"]) == ["same", "spelt", "copy"]
    assert kept_repeats(PairDataset(pairs, "train"), ["other text"]) == []


def test_pairs_of_two_pictures_or_of_nodes_are_the_same_in_the_same_order() -> None:
    def nodes(pair_id: str, *names: str) -> Pair:
        inputs = {"graph": names, "text": "t"}
        return Pair(id=pair_id, inputs=inputs, sources={"graph": "|".join(names), "text": "t"})

    train = PairDataset([nodes("1", "a", "b"), nodes("2", "a", "b"), nodes("3", "b", "a"), nodes("4", "a")], "train")
    assert kept_repeats(train, ["1"]) == ["2"]


@pytest.mark.parametrize(
    ("names", "start"),
    [(["b"], "1 pair to keep is the same pair as one"), (["b", "c"], "2 pairs to keep are the same pairs as some")],
)
def test_the_note_counts_and_names_them(names: list[str], start: str) -> None:
    note = repeats_note(names)
    assert note.startswith(start)
    assert f"under other ids: {', '.join(names)}." in note
    assert "not done while they stay" in note


def test_unlearning_warns_and_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    data = people(4)
    first = data.train[0]
    again = replace(data, splits={**data.splits, "train": PairDataset([*data.train, replace(first, id="again")], "t")})
    done = unlearn(own_clip(data), again, [first.id], method="neggrad", settings={"passes": 1, "device": "cpu"})
    assert "1 pair to keep is the same pair as one to forget, under other ids: again." in caplog.text
    assert done.manifest["request"] == {**done.manifest["request"], "kept_repeats": 1}  # type: ignore[dict-item]
