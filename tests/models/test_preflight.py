"""One batch of a run's own pairs, sent through the model before the run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import (
    CLIPImageProcessorPil,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    ViltImageProcessorPil,
    ViltProcessor,
)

from multidelete import unlearn
from multidelete.auditing import audit
from multidelete.cli import run
from multidelete.core.errors import CheckpointError, DataError
from multidelete.data.generated.personas import write_personas
from multidelete.data.images import check_images, check_pictures
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.models import Adapter, NewModel, adapter_for, new_adapter
from multidelete.models.fresh import train_tokenizer
from multidelete.models.preflight import oddest, preflight
from tests.tiny import SIDE, SIZE, captions, own_clip, people, quick, weights


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


def with_picture(data: PairData, at: int, size: tuple[int, int]) -> PairData:
    """The same data, the picture of one pair replaced by one of another size."""
    pairs = list(data.train)
    odd = Image.new("RGB", size, "red")
    pairs[at] = replace(
        pairs[at], inputs={**pairs[at].inputs, "image": odd}, sources={**pairs[at].sources, "image": "odd"}
    )
    return replace(data, splits={**data.splits, "train": PairDataset(pairs, "train")})


def vilt(data: PairData) -> Adapter:
    """A ViLT whose processor keeps the pictures' proportions."""
    wanted = NewModel(size=SIZE, image_size=64, tokenizer=train_tokenizer(captions(data), SIZE))
    adapter = new_adapter("vilt", wanted, seed=0)
    images = ViltImageProcessorPil(size={"shortest_edge": 64}, size_divisor=32)
    return adapter_for(adapter.model, ViltProcessor(images, wanted.tokenizer))


def test_a_picture_that_a_processor_cannot_take_is_named_before_training(data: PairData, tmp_path: Path) -> None:
    odd = with_picture(data, 7, (600, 20))
    with pytest.raises(DataError, match=rf"1 of \d+ pairs of the retain pairs .*{data.train[7].id} \(the picture odd"):
        unlearn(vilt(data), odd, [data.train[0].id], settings=quick(retain_sample=23), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_audit_names_the_picture_too(data: PairData, tmp_path: Path) -> None:
    odd = with_picture(data, 0, (600, 20))
    ids = [pair.id for pair in data.train[[0, 1]]]
    with pytest.raises(DataError, match=r"original cannot take .*the picture odd"):
        audit(vilt(data), vilt(data), odd, ids, out=tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
         r"cannot take any of .*Input image size \(64\*64\) doesn't match model"),
        (CLIPImageProcessorPil(size={"shortest_edge": SIDE}, do_center_crop=False), r"96x32 \(odd\)|\(32\*96\)"),
    ],
)  # fmt: skip
def test_an_image_processor_of_another_size_is_refused(
    images: CLIPImageProcessorPil, sentence: str, data: PairData
) -> None:
    clip = own_clip(data)
    adapter = adapter_for(clip.model, CLIPProcessor(images, clip.processor.tokenizer))
    odd = with_picture(data, 3, (120, 40))
    with pytest.raises((CheckpointError, DataError), match=sentence):
        preflight(adapter, {"train": odd.train}, check_pictures({"train": odd.train}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(value: float, data: PairData, tmp_path: Path) -> None:
    adapter = own_clip(data)
    with torch.no_grad():
        adapter.model.visual_projection.weight[0, 0] = value
    with pytest.raises(CheckpointError, match=r"original: 1 weight holds NaN or infinite .*visual_projection\.weight"):
        audit(own_clip(data), adapter, data, [data.train[0].id], out=tmp_path / "report")


def test_answers_that_are_no_numbers_are_refused(data: PairData) -> None:
    adapter = own_clip(data)
    with torch.no_grad():
        adapter.model.visual_projection.weight.fill_(3e38)  # finite, but its products are not
    with pytest.raises(CheckpointError, match=r"embeddings|image|joint.* NaN or infinite"):
        preflight(adapter, {"train": data.train}, {})


def test_the_model_is_the_same_afterwards(data: PairData) -> None:
    adapter = own_clip(data).train()
    adapter.model.vision_model.eval()
    modes = [module.training for module in adapter.modules()]
    before = weights(adapter)
    state = torch.get_rng_state()
    preflight(adapter, {"train": data.train}, check_pictures({"train": data.train}))
    assert [module.training for module in adapter.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_oddest_pairs_are_tried() -> None:
    sizes = [(30, 30)] * 20 + [(600, 20), (20, 600), (900, 900), (2, 2)] + [(30, 30)] * 20
    texts = ["a dog"] * 10 + ["dog " * 50, "x" * 90, ""] + ["a dog"] * 31
    pairs = [
        Pair(id=str(n), inputs={"image": Image.new("RGB", size), "text": text}, sources={"image": str(n), "text": "t"})
        for n, (size, text) in enumerate(zip(sizes, texts, strict=True))
    ]
    dataset = PairDataset(pairs, "odd")
    chosen = {pair.id for pair in oddest(dataset, check_images(dataset))}
    assert chosen == {"0", "43", "10", "11", "12", "20", "21", "22", "23"}


def test_each_picture_can_be_prepared_with_the_processor_in_hand(data: PairData) -> None:
    adapter = vilt(data)
    odd = with_picture(with_picture(data, 2, (600, 20)), 2, (600, 20))
    with pytest.raises(DataError, match=r"1 of \d+ images of train does not fit the model: odd \(the processor says:"):
        check_pictures({"train": odd.train}, lambda _, picture: adapter.check_picture(picture))
    clip = own_clip(data)
    uncropped = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, do_center_crop=False)
    adapter = adapter_for(clip.model, CLIPProcessor(uncropped, clip.processor.tokenizer))
    with pytest.raises(DataError, match=r"odd .it becomes 960x32 pixels, and others 32x32"):
        check_pictures({"train": odd.train}, lambda _, picture: adapter.check_picture(picture))


def test_check_tries_each_picture_with_a_model(
    data: PairData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vilt(data).save(tmp_path / "model")
    write_personas(tmp_path / "photos", people=4, unseen=2, size=32)
    command = ["data", str(tmp_path / "photos"), "--check", "--examples", "0", "--model", str(tmp_path / "model")]
    assert run(command) == 0
    assert "all images can be read, and" in capsys.readouterr().err
    Image.new("RGB", (600, 20)).save(tmp_path / "photos" / "images" / "person-0001-view-1.png")
    assert run(command) == 2
    said = capsys.readouterr().err
    assert "does not fit the model" in said
    assert "person-0001-view-1.png" in said
    assert run([part for part in command if part != "--check"]) == 2
    assert "Give --check too" in capsys.readouterr().err


def test_what_a_tokenizer_raises_without_a_class_of_its_own_is_a_sentence(data: PairData) -> None:
    adapter = own_clip(data)
    words = {"[PAD]": 0} | {f"word {n}": n for n in range(1, adapter.model.config.text_config.vocab_size)}
    content = Tokenizer(BPE(vocab=words, merges=[], unk_token="[UNK]"))  # which the vocabulary lacks
    adapter.processor.tokenizer = PreTrainedTokenizerFast(tokenizer_object=content, pad_token="[PAD]")
    fresh = adapter_for(adapter.model, adapter.processor)
    with pytest.raises(CheckpointError, match="Unk token"):
        preflight(fresh, {"train": data.train}, {})
