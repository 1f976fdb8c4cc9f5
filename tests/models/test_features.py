"""What a frozen image encoder gives of each picture is computed once, and changes nothing but the time."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from multidelete import personas, unlearn
from multidelete.core.errors import CheckpointError
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.models import Adapter, choose_trainable
from multidelete.models.base import evaluating
from multidelete.models.features import BLOCK, GIB, FeatureStore, KeptPictures, kept_features, shared_features
from multidelete.models.preflight import check_pairs
from tests.tiny import MODELS, SIDE, family_model, people, quick, resnet_bert, weights

TWO_ENCODERS = {**MODELS, **{family: partial(family_model, family) for family in ("albef", "blip")}}


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


def counted(data: PairData, opened: Counter[str]) -> PairData:
    """The same data; every opening of a picture is counted."""

    def opening(source: str, image: Callable[[], Image.Image]) -> Callable[[], Image.Image]:
        def load() -> Image.Image:
            opened[source] += 1
            return image()

        return load

    def of(pair: Pair) -> Pair:
        image = pair.inputs["image"]
        assert callable(image)
        return replace(pair, inputs={**pair.inputs, "image": opening(pair.sources["image"], image)})

    splits = {name: PairDataset([of(pair) for pair in pairs], name) for name, pairs in data.splits.items()}
    return replace(data, splits=splits)


def said(adapter: Adapter, pairs: PairDataset) -> dict[str, Tensor]:
    with evaluating(adapter):
        outputs = adapter(adapter.collate(pairs.pairs))
    return {"joint": outputs.joint, "score": outputs.score, **outputs.unimodal, **(outputs.embeddings or {})}


@pytest.mark.parametrize("family", TWO_ENCODERS)
def test_kept_features_give_what_pixels_give(family: str, data: PairData) -> None:
    adapter = TWO_ENCODERS[family](data)
    choose_trainable(adapter, "but-image")
    plain = said(adapter, data.train)
    with kept_features(adapter, 1.0) as kept:
        assert kept is not None
        check_pairs(adapter, {"pairs": data.train})
        assert set(kept.store.places) == data.train.sources("image")
        for name, tensor in said(adapter, data.train).items():
            torch.testing.assert_close(tensor, plain[name], rtol=1e-4, atol=1e-5)
        assert "pixel_values" not in adapter.collate(data.train.pairs[:2]).inputs["image"]
    assert "pixel_values" in adapter.collate(data.train.pairs[:2]).inputs["image"]


def test_a_run_opens_each_picture_once_and_ends_alike(data: PairData) -> None:
    forget = [pair.id for pair in data.train.pairs[:4]]
    results, openings = [], []
    for gib in (0.0, 1.0):
        opened: Counter[str] = Counter()
        settings = quick(passes=3, feature_cache=gib)
        done = unlearn(family_model("clip", data), counted(data, opened), forget, settings=settings)
        results.append(weights(done.adapter))
        openings.append(opened)
    for name, tensor in results[0].items():
        torch.testing.assert_close(results[1][name], tensor, rtol=1e-3, atol=1e-4)
    assert set(openings[1]) >= data.train.sources("image")
    assert set(openings[1].values()) == {1}
    assert max(openings[0].values()) > 1


@pytest.mark.parametrize(("family", "part"), [("clip", "all"), ("clip", "image"), ("vilt", "all")])
def test_nothing_is_kept_of_what_is_trained(family: str, part: str, data: PairData) -> None:
    adapter = family_model(family, data)
    choose_trainable(adapter, part)
    with kept_features(adapter, 1.0) as kept:
        assert kept is None


def test_a_copy_with_other_weights_reads_pixels(data: PairData) -> None:
    adapter = family_model("clip", data)
    choose_trainable(adapter, "text")
    with kept_features(adapter, 1.0):
        before = said(adapter, data.train)
        other = copy.deepcopy(adapter)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if "vision_model" in name:
                    parameter.mul_(1.5)
        assert isinstance(other.images, KeptPictures)
        changed = said(other, data.train)
        for (_, ours), (_, theirs) in zip(
            adapter.named_parameters(), family_model("clip", data).named_parameters(), strict=True
        ):
            torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(said(adapter, data.train)["image"], before["image"])
    assert (changed["image"] - before["image"]).abs().max() > 1e-2


def test_models_with_one_image_encoder_share_what_it_gives(data: PairData) -> None:
    first = family_model("siglip", data)
    second, third = copy.deepcopy(first), copy.deepcopy(first)
    with torch.no_grad():
        for name, parameter in second.named_parameters():
            parameter.add_(0.1 if "text_model" in name else 0.0)
        for parameter in third.parameters():
            parameter.mul_(1.1)
    opened: Counter[str] = Counter()
    pairs = counted(data, opened).train
    stores: dict[str, FeatureStore] = {}
    for adapter, openings in ((first, 1), (second, 1), (third, 2), (first, 3)):
        adapter.images.cache.clear()  # type: ignore[attr-defined]  # pixels kept in memory are not opened again either
        with shared_features(adapter, stores):
            shared = said(adapter, pairs)
        assert set(opened.values()) == {openings}
        for name, tensor in said(adapter, data.train).items():
            torch.testing.assert_close(shared[name], tensor, rtol=1e-4, atol=1e-5)
    assert len(stores) == 1


def test_what_finds_no_room_is_computed_each_time(data: PairData) -> None:
    adapter = family_model("clip", data)
    choose_trainable(adapter, "text")
    plain = said(adapter, data.train)
    with kept_features(adapter, 1.0) as kept:
        assert kept is not None
        kept.store.free_bytes = 0
        said_now = said(adapter, data.train)
        assert kept.store.left_out
        assert not kept.store.places
    torch.testing.assert_close(said_now["joint"], plain["joint"])


def test_rows_beyond_memory_lie_in_files_without_names(tmp_path: Path) -> None:
    rows = torch.randn(3 * BLOCK, 5, 7)
    store = FeatureStore(GIB, BLOCK * 5 * 7 * 4, tmp_path)
    store.put([str(i) for i in range(len(rows))], {"tokens": rows})
    assert store.free_memory == 0
    assert list(tmp_path.iterdir()) == []
    order = torch.randperm(len(rows)).tolist()
    torch.testing.assert_close(store.rows([str(i) for i in order])["tokens"], rows[order], rtol=0, atol=0)


def test_the_bound_holds_in_all() -> None:
    store = FeatureStore(2 * BLOCK * 4, GIB, Path())
    store.put([str(i) for i in range(3 * BLOCK)], {"pooled": torch.arange(3.0 * BLOCK).unsqueeze(1)})
    assert len(store.places) == 2 * BLOCK
    assert len(store.left_out) == BLOCK


@pytest.mark.parametrize(
    ("changes", "of"),
    [
        ({"size": {"height": 64, "width": 64}, "crop_size": {"height": 64, "width": 64}}, SIDE),
        ({"do_resize": False, "do_center_crop": False}, 40),
    ],
    ids=["bigger", "as they come"],
)
@pytest.mark.parametrize("family", ["clip", "vision-text"])
def test_pictures_that_do_not_fit_the_network_are_refused_before_anything_is_kept(
    family: str, changes: dict[str, object], of: int, tmp_path: Path
) -> None:
    data = personas(people=6, unseen=4, views=1, size=of, seed=0)
    family_model(family, data).save(tmp_path / "model")
    file = tmp_path / "model" / "processor_config.json"
    told = json.loads(file.read_text())
    told["image_processor"] |= changes
    file.write_text(json.dumps(told))
    forget = [pair.id for pair in data.train if pair.subject == "person-0001"]
    settings = {"passes": 1, "device": "cpu", "retain_sample": 16}
    if family == "clip":
        with pytest.raises(CheckpointError, match="do not fit each other"):
            unlearn(tmp_path / "model", data, forget, settings=settings, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:  # its ConvNeXt takes pictures of any size
        unlearn(tmp_path / "model", data, forget, settings=settings, out=tmp_path / "out")


def test_statistics_of_norms_are_part_of_what_an_encoder_is(data: PairData) -> None:
    """Two models that differ in nothing that is trained."""
    one = resnet_bert(data).eval()
    other = copy.deepcopy(one)
    for name, statistic in other.named_buffers():
        if name.endswith("running_mean") and "vision_model" in name:
            statistic.add_(0.3)
    expected = said(other, data.train)
    stores: dict[str, FeatureStore] = {}
    for adapter in (one, other):
        with shared_features(adapter, stores):
            found = said(adapter, data.train)
    torch.testing.assert_close(found, expected)


def test_what_encoders_share_is_not_frozen_where_one_of_them_is_trained(data: PairData) -> None:
    adapter = family_model("clip", data)
    adapter.model.vision_model.encoder = adapter.model.text_model.encoder
    shared = {name for name, _ in adapter.named_parameters() if ".encoder." in name}
    for modality in adapter.modalities:
        assert shared.isdisjoint(adapter.encoder_parameters(modality))
    choose_trainable(adapter, "all")
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_("vision_model" not in name)
    with kept_features(adapter, 1.0) as kept:
        assert kept is None
