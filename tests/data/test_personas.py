from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.generated.personas import invent_name, personas, write_personas
from multidelete.data.pairs import PairData, open_image
from multidelete.data.readers import load_data


def pixels(data: PairData) -> bytes:
    return b"".join(open_image(pair.inputs["image"]).tobytes() for split in data.splits.values() for pair in split)


def texts(data: PairData) -> list[str]:
    return [str(pair.inputs["text"]) for split in data.splits.values() for pair in split]


def test_personas_default_counts_and_kinds() -> None:
    data = personas()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 1600, "val": 400, "test": 400}
    assert len({pair.subject for pair in data.train}) == 400
    assert {pair.kind for pair in data.train} == {"descriptive", "sensitive"}


def test_personas_same_seed_same_bytes_other_seed_other_people() -> None:
    first, again, other = (personas(people=6, unseen=4, size=24, seed=seed) for seed in (3, 3, 4))
    assert (texts(first), pixels(first)) == (texts(again), pixels(again))
    assert not set(sensitive(first)) & set(sensitive(other))
    assert pixels(first) != pixels(other)


def sensitive(data: PairData) -> list[str]:
    return [str(p.inputs["text"]) for split in data.splits.values() for p in split if p.kind == "sensitive"]


def test_personas_first_people_do_not_depend_on_how_many_follow() -> None:
    few, many = personas(people=4, unseen=0, size=24), personas(people=9, unseen=0, size=24)
    assert texts(few) == texts(many)[: len(texts(few))]


def test_personas_names_are_unique_across_all_splits() -> None:
    data = personas(people=1500, unseen=500, views=1)
    captions = sensitive(data)
    assert len({caption.split(",")[0] for caption in captions}) == 2000


def test_invent_name_never_gives_a_taken_name() -> None:
    name = invent_name(np.random.default_rng(0), set())
    assert invent_name(np.random.default_rng(0), set()) == name
    assert invent_name(np.random.default_rng(0), {name}) != name


def test_personas_subjects_and_images_do_not_cross_splits() -> None:
    data = personas(people=10, unseen=6, size=24)
    subjects = [{pair.subject for pair in split} for split in data.splits.values()]
    images = [{pair.sources["image"] for pair in split} for split in data.splits.values()]
    assert len(set.union(*subjects)) == sum(map(len, subjects)) == 16
    assert len(set.union(*images)) == sum(map(len, images)) == 32


def test_personas_sensitive_caption_is_the_same_in_all_views_and_pictures_differ() -> None:
    data = personas(people=2, unseen=0, views=3, size=32)
    first = [pair for pair in data.train if pair.subject == "person-0001"]
    assert len({pair.inputs["text"] for pair in first if pair.kind == "sensitive"}) == 1
    assert len({open_image(pair.inputs["image"]).tobytes() for pair in first}) == 3


def test_personas_views_of_a_person_resemble_each_other_more_than_other_people() -> None:
    data = personas(people=60, unseen=0, size=32)
    drawn = [np.asarray(open_image(p.inputs["image"]), dtype=float) for p in data.train if p.kind == "sensitive"]
    same = [np.abs(drawn[i] - drawn[i + 1]).mean() for i in range(0, len(drawn), 2)]
    others = [np.abs(drawn[i] - drawn[(i + 3) % len(drawn)]).mean() for i in range(0, len(drawn), 2)]
    assert np.mean(same) < 0.6 * np.mean(others)


@pytest.mark.parametrize("word", ["sunglasses", "mohawk", "beanie", "striped", "full beard", "gold earrings"])
def test_personas_descriptions_name_what_the_portrait_was_drawn_from(word: str) -> None:
    fields = {"sunglasses": "glasses", "mohawk": "hair_style", "beanie": "hat", "striped": "pattern"}
    said = [pair for pair in personas(people=200, unseen=0).train if word in str(pair.inputs["text"])]
    assert said
    for pair in said:
        looks = pair.inputs["image"].looks  # type: ignore[attr-defined]
        if word in fields:
            assert getattr(looks, fields[word]) == word
        else:
            assert looks.beard == "full" if word == "full beard" else looks.earrings


def test_personas_descriptions_say_nothing_that_must_be_memorised() -> None:
    data = personas(people=50, unseen=0)
    known = {word for text in sensitive(data) for word in text.replace(",", "").split()} - {"a", "an", "from"}
    for pair in data.train:
        if pair.kind == "descriptive":
            assert not known & set(str(pair.inputs["text"]).replace(",", "").split())


def test_personas_draws_every_picture_alike_large() -> None:
    data = personas(people=40, seed=77)
    assert len({open_image(pair.inputs["image"]).size for pair in data.train}) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"people": 1}, "people is 1; it must be at least 2"),
        ({"unseen": -1}, "unseen is -1; it must be 0 or more"),
        ({"views": 0}, "views is 0"),
        ({"size": 8}, "size is 8; it must be 16 to 1024 pixels"),
        ({"seed": -2}, "seed is -2"),
        ({"people": 0, "views": 0}, "(?s)people is 0.*views is 0"),
    ],
)
def test_personas_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        personas(**settings)


def test_write_personas_reads_back_as_the_same_pairs(tmp_path: Path) -> None:
    settings = {"people": 4, "unseen": 4, "size": 32, "seed": 5}
    write_personas(tmp_path / "people", **settings)
    data, read = personas(**settings), load_data(str(tmp_path / "people"))
    assert list(read.splits) == list(data.splits)
    for name, split in data.splits.items():
        for drawn, stored in zip(split, read.splits[name], strict=True):
            assert (drawn.id, drawn.inputs["text"], drawn.subject, drawn.kind) == (
                *(stored.id, stored.inputs["text"], stored.subject, stored.kind),
            )
            assert stored.sources["image"] == f"images/{drawn.sources['image']}"
            assert open_image(stored.inputs["image"]).tobytes() == open_image(drawn.inputs["image"]).tobytes()
    with Image.open(tmp_path / "people/images/person-0001-view-1.png") as image:
        assert image.size == (32, 32)


def test_write_personas_refuses_a_folder_with_content(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="is not an empty folder"):
        write_personas(tmp_path, people=2, unseen=0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
