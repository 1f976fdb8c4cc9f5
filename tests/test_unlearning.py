"""Train and unlearn from end to end, on folders and on models in memory."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoProcessor, CLIPModel

from multidelete.artifacts.card import model_card
from multidelete.artifacts.folders import partial_folder
from multidelete.artifacts.manifest import digest_folder
from multidelete.artifacts.record import RunRecord
from multidelete.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    RequestError,
    UnsupportedError,
)
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import resolve_request
from multidelete.methods import GradDiff, NegGrad, Training
from multidelete.models import load_adapter
from multidelete.models.checkpoint import weights_digest
from multidelete.models.initial import starting_point
from multidelete.training.loop import run_loop
from multidelete.unlearning import train, unlearn
from tests.tiny import (
    differing,
    manifest_of,
    own_clip,
    people,
    quick,
    record_collated,
    subjects_ids,
    trained,
    vit_roberta,
    weights,
)

QUICK = {"passes": 1, "batch_size": 8, "device": "cpu"}
TINY = TrainSettings(family="clip", size="tiny", image_size=32)


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def forget(data: PairData) -> list[str]:
    return subjects_ids(data.train, 2)


@pytest.fixture
def original(tmp_path: Path, data: PairData) -> Path:
    own_clip(data).save(tmp_path / "original")
    return tmp_path / "original"


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# A model in memory


def test_a_users_own_model_is_not_changed(data: PairData, forget: list[str]) -> None:
    adapter = own_clip(data)
    model, processor = adapter.model, adapter.processor
    model.vision_model.requires_grad_(False)
    before, frozen = weights(model), [p.requires_grad for p in model.parameters()]
    result = unlearn(model, data, forget, processor=processor, method="grad_diff", settings=QUICK)
    assert isinstance(result.model, CLIPModel)
    assert result.model is not model
    assert differing(before, weights(model)) == []
    assert [p.requires_grad for p in model.parameters()] == frozen
    assert len(differing(before, weights(result.model))) > len(before) / 2
    assert result.folder is None
    assert not result.model.training
    assert result.manifest["request"]["pairs"] == 8  # type: ignore[index]


def test_an_adapter_is_not_changed(data: PairData, forget: list[str]) -> None:
    adapter = own_clip(data)
    before = weights(adapter)
    result = unlearn(adapter, data, forget, method=NegGrad(), settings=quick(passes=2))
    assert differing(before, weights(adapter)) == []
    assert differing(before, weights(result.adapter)) != []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_is_trained_in_full_and_saved_as_it_was(
    dtype: torch.dtype, tmp_path: Path, data: PairData, forget: list[str]
) -> None:
    adapter = own_clip(data)
    model = adapter.model.to(dtype)
    before = weights(model)
    result = unlearn(model, data, forget, processor=adapter.processor, method="grad_diff", settings=QUICK,
                     out=tmp_path / "out")  # fmt: skip
    assert {p.dtype for p in result.adapter.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert differing(before, weights(model)) == []
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        keys = list(file.keys())
        assert {file.get_tensor(key).dtype for key in keys} == {dtype}
    assert set(keys) == set(before)


def test_a_model_without_its_processor_is_refused(data: PairData, forget: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"a CLIPModel needs its processor too"):
        unlearn(own_clip(data).model, data, forget)


# A folder


def test_a_folder_becomes_a_folder_of_the_same_form(original: Path, data: PairData, forget: list[str]) -> None:
    before = digest_folder(original)
    out = original.parent / "deep" / "out"
    result = unlearn(original, data, forget, method="grad_diff", settings=QUICK, out=out, seed=3)
    assert digest_folder(original) == before
    assert result.folder == out
    added = {p.name for p in out.iterdir()} - {p.name for p in original.iterdir()}
    assert added == {".multidelete", "README.md", "multidelete.json"}
    assert leftovers(out.parent) == []
    plain = CLIPModel.from_pretrained(out)
    assert differing(weights(plain), weights(result.model)) == []
    assert AutoProcessor.from_pretrained(out).tokenizer.get_vocab() == result.adapter.processor.tokenizer.get_vocab()
    again = unlearn(str(original), data, forget, method="grad_diff", settings=QUICK, seed=3)
    assert differing(weights(again.adapter), weights(result.adapter)) == []


def test_the_manifest_tells_what_was_done_and_not_what_was_deleted(
    original: Path, data: PairData, forget: list[str]
) -> None:
    out = original.parent / "out"
    unlearn(original, data, forget, method=GradDiff(ascent=0.3), settings=QUICK, out=out, seed=3,
            trainable="projections", notes={"colour": "blue"})  # fmt: skip
    manifest = manifest_of(out)
    assert manifest is not None
    assert manifest["method"] == {"name": "grad_diff", "ascent": 0.3, "descent": 1.0}
    assert manifest["loop"]["passes"] == 1  # type: ignore[index]
    assert manifest["loop"]["lr"] == GradDiff().loop_settings_for(len(forget)).lr  # type: ignore[index]
    assert manifest["trainable"] == {"chosen": "projections", "parameters": 2}
    assert manifest["seed"] == 3
    assert manifest["colour"] == "blue"
    assert manifest["original"] == {"weights": weights_digest(load_adapter(original))}
    assert manifest["cost"]["pairs_backward"] == 32  # type: ignore[index]
    written = (out / "multidelete.json").read_text() + (out / "README.md").read_text()
    for pair in data.train.only(forget, "forget"):
        for secret in (pair.id, str(pair.subject), str(pair.inputs["text"])):
            assert secret not in written


def test_only_the_chosen_part_is_trained(original: Path, data: PairData, forget: list[str]) -> None:
    result = unlearn(original, data, forget, method="grad_diff", settings=QUICK, trainable=r"text_model.*layer_norm")
    changed = differing(weights(load_adapter(original)), weights(result.adapter))
    assert changed
    assert all("text_model" in name and "layer_norm" in name for name in changed)


@pytest.mark.parametrize(("method", "part"), [("multidelete", "text"), ("grad_diff", "all")])
def test_the_method_chooses_the_part_where_nobody_did(
    method: str, part: str, original: Path, data: PairData, forget: list[str]
) -> None:
    before = weights(load_adapter(original))
    result = unlearn(original, data, forget, method=method, settings=QUICK)
    changed = set(differing(before, weights(result.adapter)))
    assert result.manifest["trainable"]["chosen"] == part  # type: ignore[index]
    assert "model.text_projection.weight" in changed
    assert ("model.visual_projection.weight" in changed) == (part == "all")


def test_requests_come_as_ids_files_or_requests(original: Path, data: PairData, forget: list[str]) -> None:
    file = original.parent / "request.txt"
    file.write_text("\n".join(forget) + "\n")
    request = resolve_request(data, ids=forget)
    after = [
        weights(unlearn(original, data, given, method="neggrad", settings=QUICK).adapter)
        for given in (forget, file, str(file), request)
    ]
    for other in after[1:]:
        assert differing(after[0], other) == []


# Retraining


def test_retrain_repeats_the_originals_recipe_without_the_forget_pairs(
    tmp_path: Path, data: PairData, forget: list[str]
) -> None:
    """Bit for bit what training on the retain pairs alone gives, from the same initial weights and tokenizer."""
    settings = LoopSettings(passes=2, batch_size=16, lr=1e-3, weight_decay=0.1, checkpoint_steps=0, device="cpu")
    train(data, tmp_path / "original", start=TINY, settings=settings, seed=5)
    result = unlearn(tmp_path / "original", data, forget, method="retrain", out=tmp_path / "retrained", seed=9)
    scratch = starting_point(TINY, data, 5)
    retain = data.train.without(forget, "retain")
    seen = record_collated(scratch)
    run_loop(scratch, Training(), {"train": retain}, settings=settings, seed=9)
    assert differing(weights(result.adapter), weights(scratch)) == []
    assert not set(seen) & set(forget)
    recipes = [json.loads((tmp_path / n / "multidelete.json").read_text())["loop"] for n in ("original", "retrained")]
    assert recipes[0] == recipes[1]
    assert differing(weights(load_adapter(tmp_path / "original")), weights(scratch)) != []


def test_retrain_of_a_fine_tuned_model_starts_where_it_started(
    original: Path, tmp_path: Path, data: PairData, forget: list[str]
) -> None:
    train(data, tmp_path / "tuned", start=original, settings=quick(lr=1e-4), seed=5)
    result = unlearn(tmp_path / "tuned", data, forget, method="retrain", settings={"passes": 0.01, "lr": 1e-12})
    start, after = weights(load_adapter(original)), weights(result.adapter)
    for name, tensor in start.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)


def test_retrain_of_a_part_is_refused(original: Path, data: PairData, forget: list[str]) -> None:
    """It would train all of the model, and its manifest would tell of the part."""
    with pytest.raises(UnsupportedError, match=r"retrain trains a model of its own, all of it, .* 'text'. Leave it"):
        unlearn(original, data, forget, method="retrain", settings=QUICK, trainable="text", out=original.parent / "out")
    assert sorted(p.name for p in original.parent.iterdir()) == ["original"]


def test_retrain_without_a_recorded_start_is_refused(original: Path, data: PairData, forget: list[str]) -> None:
    with pytest.raises(UnsupportedError, match=r"has no multidelete.json of 'multidelete train'"):
        unlearn(original, data, forget, method="retrain", settings=QUICK, out=original.parent / "out")
    assert sorted(p.name for p in original.parent.iterdir()) == ["original"]


def test_training_is_recorded_and_depends_on_the_seed(tmp_path: Path, data: PairData) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(data, tmp_path / name, start=TINY, settings=quick(), seed=seed)
    a, b, c = (weights(load_adapter(tmp_path / name)) for name in "abc")
    assert differing(a, b) == []
    assert differing(a, c) != []
    manifest = manifest_of(tmp_path / "a")
    assert manifest is not None
    assert manifest["command"] == "train"
    assert manifest["model"]["family"] == "clip"  # type: ignore[index]
    assert manifest["cost"]["pairs_backward"] == len(data.train)  # type: ignore[index]


# What is refused leaves nothing behind


def with_image(data: PairData, at: int, image: Path) -> PairData:
    pairs = list(data.train)
    pairs[at] = replace(
        pairs[at], inputs={**pairs[at].inputs, "image": image}, sources={**pairs[at].sources, "image": str(image)}
    )
    return PairData("people with a broken picture", {**data.splits, "train": PairDataset(pairs, "train")})


def test_unreadable_images_are_named_before_training(original: Path, data: PairData, forget: list[str]) -> None:
    """A truncated picture of a pair to forget, one that is no picture, and one that is missing."""
    folder = original.parent / "images"
    folder.mkdir()
    data.train[0].inputs["image"]().save(folder / "cut.png")  # type: ignore[operator]
    whole = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    broken = with_image(with_image(with_image(data, 0, folder / "cut.png"), 1, folder / "text.png"), 9,
                        folder / "gone.png")  # fmt: skip
    adapter = load_adapter(original)
    seen = record_collated(adapter)
    for run in (
        lambda: unlearn(adapter, broken, forget, method="grad_diff", settings=QUICK, out=original.parent / "out"),
        lambda: train(broken, original.parent / "out", start=TINY, settings=quick()),
    ):
        with pytest.raises(DataError) as error:
            run()
        for name in ("cut.png", "text.png", "gone.png"):
            assert name in str(error.value)
        assert not (original.parent / "out").exists()
        assert leftovers(original.parent) == []
    assert seen == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"forget": []}, RequestError, "Nothing is named"),
        ({"forget": ["nobody"]}, RequestError, "nobody"),
        ({"method": "grad_dif"}, ConfigError, "grad_diff"),
        ({"settings": {"passes": -1}}, ConfigError, "passes"),
        ({"settings": {"pases": 1}}, ConfigError, "pases"),
        ({"settings": {"device": "cuda:99"}}, ConfigError, "cuda"),
        ({"settings": {"trackers": ("nothing",)}}, ConfigError, "tracker 'nothing' is unknown"),
        ({"settings": {"precision": "fp16", "device": "cpu"}}, ConfigError, "fp16"),
        ({"trainable": "no such part"}, ConfigError, "matches none"),
        ({"model": "nobody/no-such-model"}, CheckpointError, "as an id on the hub it cannot be read"),
        ({"model": "./no-such-folder"}, CheckpointError, "there is no such folder"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_input_is_named_and_leaves_nothing(
    changes: dict[str, object], error: type[Exception], message: str, original: Path, data: PairData, forget: list[str]
) -> None:
    given: dict[str, object] = {"model": original, "forget": forget, "method": "grad_diff", "settings": QUICK} | changes
    out = original.parent / "out"
    with pytest.raises(error, match=message):
        unlearn(given.pop("model"), data, given.pop("forget"), out=out, **given)  # type: ignore[arg-type]
    assert sorted(path.name for path in out.parent.iterdir()) == ["original"]


def test_existing_targets_and_inputs_are_never_written_over(original: Path, data: PairData, forget: list[str]) -> None:
    before = digest_folder(original)
    with pytest.raises(CheckpointError, match=r"inputs are never changed"):
        unlearn(original, data, forget, method="neggrad", settings=QUICK, out=original, overwrite=True)
    with pytest.raises(CheckpointError, match=r"inputs are never changed"):
        unlearn(original, data, forget, method="neggrad", settings=QUICK, out=original / "inside")
    with pytest.raises(CheckpointError, match=r"inputs are never changed"):
        train(data, original, start=replace(TINY, start=str(original)), settings=quick(), overwrite=True)
    out = original.parent / "out"
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(CheckpointError, match=r"out already exists"):
        unlearn(original, data, forget, method="neggrad", settings=QUICK, out=out)
    assert [p.name for p in out.iterdir()] == ["precious"]
    with pytest.raises(CheckpointError, match=r"was not written by multidelete"):
        unlearn(original, data, forget, method="neggrad", settings=QUICK, out=out, overwrite=True)
    (out / "precious").unlink()
    for _ in range(2):
        unlearn(original, data, forget, method="neggrad", settings=QUICK, out=out, overwrite=True)
    assert (out / "model.safetensors").is_file()
    assert digest_folder(original) == before


def test_a_diverged_run_writes_no_result_and_keeps_its_checkpoints(
    original: Path, data: PairData, forget: list[str]
) -> None:
    """Ascent at an absurd rate, without clipping; the weights become infinite or not numbers."""
    out = original.parent / "out"
    settings = {**QUICK, "passes": 40, "lr": 1e30, "optimizer": "sgd", "max_grad_norm": 0, "checkpoint_steps": 1}
    with pytest.raises(DivergedError, match=r"The last good checkpoint is .*checkpoint-0000000\d") as error:
        unlearn(original, data, forget, method="neggrad", settings=settings, out=out)
    assert not out.exists()
    (kept,) = (partial_folder(out) / "work").glob("checkpoint-*.safetensors")
    assert str(kept) in str(error.value)


def test_trackers_logs_stay_with_the_result(original: Path, data: PairData, forget: list[str]) -> None:
    out = original.parent / "out"
    unlearn(original, data, forget, method="grad_diff", settings={**QUICK, "trackers": ("tensorboard",)}, out=out)
    assert list((out / "logs").rglob("events.out.*"))
    assert not (out / "work").exists()


def test_a_run_that_finds_its_way_tells_its_legs(original: Path, data: PairData, forget: list[str]) -> None:
    """To trackers, in the record and on the card, which tell no rate that it did not use."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, memorised = original.parent / "out", trained(own_clip(data), data.train)
    settings = {"pace": "auto", "device": "cpu", "trackers": ("tensorboard",)}
    record = unlearn(memorised, data, forget, method=GradDiff(), settings=settings, out=out).manifest
    legs, undone = (int(record["decisions"][name]) for name in ("legs", "undone"))  # type: ignore[index, call-overload]
    events = EventAccumulator(str(next((out / "logs").rglob("events.out.*")).parent))
    events.Reload()
    assert [event.step for event in events.Scalars("accepted")] == list(range(1, legs + 1))
    assert manifest_of(out)["loop"].keys().isdisjoint({"passes", "lr", "schedule"})
    card = (out / "README.md").read_text()
    assert f"| {legs}, {undone} of them undone |" in card
    assert "| passes |" not in card
    assert "| learning rate |" not in card


def test_cut_captions_are_counted(original: Path, data: PairData, forget: list[str]) -> None:
    long = list(data.train)
    long[1] = replace(long[1], inputs={**long[1].inputs, "text": "hair " * 60})
    result = unlearn(
        original, replace(data, splits={**data.splits, "train": PairDataset(long, "train")}), forget,
        method="neggrad", settings=QUICK,
    )  # fmt: skip
    assert result.manifest["truncated_captions"] == 1


def test_a_model_with_dropout_is_unlearned_alike_with_the_same_seed(data: PairData, forget: list[str]) -> None:
    adapter = vit_roberta(data, dropout=0.2)
    after = [
        weights(unlearn(copy.deepcopy(adapter), data, forget, method="finetune", settings=QUICK, seed=seed).adapter)
        for seed in (1, 1, 2)
    ]
    assert differing(after[0], after[1]) == []
    assert differing(after[0], after[2]) != []


def test_your_own_method_is_found_and_run(original: Path, data: PairData, forget: list[str]) -> None:
    result = unlearn(original, data, forget, method="tests.tiny:RaiseScore", settings={**QUICK, "passes": 5})
    pairs = data.train.only(forget, "forget").pairs
    before = load_adapter(original).eval()
    with torch.no_grad():
        raised = result.adapter(result.adapter.collate(pairs)).score - before(before.collate(pairs)).score
    assert (raised > 0.01).all()
    assert result.manifest["method"] == {"name": "raise_score"}
    assert partial_folder(original.parent / "out").exists() is False


def test_a_card_says_where_the_run_gave_the_original_back() -> None:
    found = {"unchanged": 1.0, "forgotten": 0.0}
    assert "the original, which still knows these pairs" in model_card(RunRecord(decisions=found))
    for other in (
        {"unchanged": 0.0, "forgotten": 0.0},
        {"unchanged": 1.0, "forgotten": 1.0},
    ):  # it knew nothing of them
        assert "still knows" not in model_card(RunRecord(decisions=other))
