"""Kept pairs that are the same pairs as deleted ones."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset

from multidelete.data.pairs import Pair, PairDataset, text_source
from multidelete.data.readers import load_data
from multidelete.data.repeats import cached_note, kept_repeats, repeats_note
from multidelete.unlearning import unlearn
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
    done = unlearn(
        own_clip(data), again, [first.id, data.train.ids[-1]], method="neggrad", settings={"passes": 1, "device": "cpu"}
    )
    assert "1 pair to keep is the same pair as one to forget, under other ids: again." in caplog.text
    assert done.manifest["request"] == {**done.manifest["request"], "kept_repeats": 1}  # type: ignore[dict-item]


def test_copies_in_the_cache_of_datasets_are_named_with_how_to_delete_them(tmp_path: Path) -> None:
    rows = {"image": [f"{n}.bmp" for n in range(4)], "text": [f"secret {n}" for n in range(4)], "id": list("abcd")}
    for n in range(4):
        bitmap(tmp_path / f"{n}.bmp", middle=n)
    Dataset.from_dict(rows).to_parquet(tmp_path / "x.parquet")
    data = load_data(str(tmp_path / "x.parquet"))
    note = cached_note(data)
    assert note is not None
    (folder,) = data.cached
    assert note.endswith(f"delete it: rm -r {folder}")
    assert any(b"secret 0" in file.read_bytes() for file in folder.iterdir())
    shutil.rmtree(folder)
    assert load_data(str(tmp_path / "x.parquet")).train.ids == list("abcd")
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({k: v[n] for k, v in rows.items()}) for n in range(4)))
    assert cached_note(load_data(str(tmp_path / "x.jsonl"))) is None
    Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    assert load_data(str(tmp_path / "saved"), image_root=tmp_path).cached == ()
