import pytest

from multidelete.core.errors import ConfigError, DataError, RequestError
from multidelete.data.generated.personas import personas
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.split import draw_request, with_holdout


def captioned(count: int) -> PairData:
    """Two captions for each image; images 0 and 1 share one."""
    pairs = [
        Pair(
            id=f"{n}#{k}",
            inputs={"image": b"", "text": "t"},
            sources={"image": f"{n}.png", "text": "shared" if n < 2 and k == 0 else f"caption {n} {k}"},
        )
        for n in range(count)
        for k in range(2)
    ]
    return PairData("captions", {"train": PairDataset(pairs, "captions train")})


@pytest.mark.parametrize("seed", range(5))
def test_holdout_shares_no_image_and_no_caption_with_training_pairs(seed: int) -> None:
    data = with_holdout(captioned(50), fraction=0.2, seed=seed)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "val": 20, "test": 20}
    for modality in ("image", "text"):
        sources = [{pair.sources[modality] for pair in split} for split in data.splits.values()]
        assert len(set.union(*sources)) == sum(map(len, sources))
    assert "20 pairs were set aside as val and 20 as test, in whole groups of shared images" in data.notes[0]


def test_holdout_takes_whole_subjects() -> None:
    people = PairData("people", {"train": personas(people=20, unseen=0, size=16).train})
    data = with_holdout(people, fraction=0.1)
    subjects = [{pair.subject for pair in split} for split in data.splits.values()]
    assert [len(found) for found in subjects] == [16, 2, 2]
    assert len(set.union(*subjects)) == 20


def test_holdout_is_drawn_by_the_seed() -> None:
    first, again, other = (with_holdout(captioned(40), seed=seed).splits["test"].ids for seed in (1, 1, 2))
    assert first == again != other


def test_holdout_leaves_data_with_held_out_pairs_alone() -> None:
    data = personas(people=4, unseen=2, size=16)
    assert with_holdout(data) is data


@pytest.mark.parametrize("fraction", [0.0, 0.5, -1.0])
def test_holdout_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"must be above 0 and below 0\.5"):
        with_holdout(captioned(9), fraction=fraction)


def test_holdout_of_one_group_is_refused() -> None:
    with pytest.raises(DataError, match=r"4 training pairs form 1 group .* the largest of 4: too few or too large"):
        with_holdout(captioned(2))


@pytest.mark.parametrize(("unit", "pairs"), [("pair", 8), ("image", 8), ("subject", 8)])
def test_draw_request_takes_whole_units(unit: str, pairs: int) -> None:
    train = personas(people=20, unseen=0, size=16).train
    ids = draw_request(train, fraction=0.1, unit=unit, seed=0)  # type: ignore[arg-type]
    assert len(ids) == pairs
    chosen = train.only(ids, "chosen")
    if unit != "pair":
        keys = {pair.subject if unit == "subject" else pair.sources["image"] for pair in chosen}
        assert len(keys) == {"subject": 2, "image": 4}[unit]
    assert ids == chosen.ids


def test_draw_request_depends_on_the_seed_and_draws_at_least_one() -> None:
    train = captioned(30).train
    assert draw_request(train, fraction=0.2, unit="image", seed=1) == draw_request(
        train, fraction=0.2, unit="image", seed=1
    )
    assert draw_request(train, fraction=0.2, unit="image", seed=1) != draw_request(
        train, fraction=0.2, unit="image", seed=2
    )
    assert len(draw_request(train, fraction=0.001, unit="pair", seed=0)) == 1


def test_draw_request_errors() -> None:
    train = captioned(4).train
    with pytest.raises(RequestError, match="have no subjects to draw"):
        draw_request(train, fraction=0.1, unit="subject", seed=0)
    with pytest.raises(ConfigError, match="forget fraction is 1; it must be above 0 and below 1"):
        draw_request(train, fraction=1, unit="pair", seed=0)
    with pytest.raises(ConfigError, match="Unknown unit 'person'"):
        draw_request(train, fraction=0.1, unit="person", seed=0)  # type: ignore[arg-type]
