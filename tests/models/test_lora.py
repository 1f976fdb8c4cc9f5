"""LoRA on every family: what is trained, what stays, and what is written, read, merged and refused."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BlipForImageTextRetrieval, CLIPModel

from multidelete import LoraSettings, audit, merge, unlearn
from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.methods import METHODS, GradDiff, Job
from multidelete.models import Adapter, choose_trainable, load_adapter
from multidelete.models.lora import add_lora, merge_lora, original
from multidelete.training.loop import run_loop
from tests.models.cases import CASES, Case, case_adapter, case_data
from tests.tiny import differing, own_clip, parted, people, quick, scores, subjects_ids, weights

LORA = LoraSettings(r=2, alpha=4.0)
QUICK = {"passes": 1, "batch_size": 8, "device": "cpu", "lr": 1e-2}


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


def outputs(adapter: Adapter, data: PairData) -> list[Tensor]:
    with torch.no_grad():
        found = adapter.eval()(adapter.collate(data.train.pairs[:6]))
    return [found.joint, found.score, *found.unimodal.values()]


def base_weights(adapter: Adapter) -> dict[str, Tensor]:
    """Everything but LoRA, under its own names."""
    return {n.replace(".base_layer", ""): t for n, t in weights(adapter).items() if ".lora_" not in n}


# In memory, every family and head


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lora_trains_alone_and_off_it_is_the_original(case: Case) -> None:
    """Bit-equal outputs before training and with LoRA off after it; every matrix learns; all else stays bit-equal."""
    data = case_data(case)
    adapter = case_adapter(case, data)
    before, said = weights(adapter), outputs(adapter, data)
    names = add_lora(adapter, LORA, seed=0)
    assert names
    assert all(".lora_" in name for name in names)
    assert all(torch.equal(a, b) for a, b in zip(said, outputs(adapter, data), strict=True))
    datasets = dict(zip(("forget", "retain"), parted(data, 2), strict=True))
    run_loop(adapter, GradDiff(), datasets, settings=quick(lr=1e-2, passes=2), seed=0)
    assert differing(before, base_weights(adapter)) == []
    written = (".lora_B.", ".lora_embedding_A.")
    still = [n for n, p in adapter.named_parameters() if any(one in n for one in written) and not p.any()]
    assert still == [], "LoRA stands beside layers that nothing calls"
    after = outputs(adapter, data)
    assert not any(torch.equal(a, b) for a, b in zip(said[:2], after[:2], strict=True))
    with original(adapter):
        assert all(torch.equal(a, b) for a, b in zip(said, outputs(adapter, data), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(after, outputs(adapter, data), strict=True))
    merge_lora(adapter)
    assert list(weights(adapter)) == list(before)
    for found, wanted in zip(outputs(adapter, data), after, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.takes_lora))
def test_every_gradient_method_trains_lora_alone(name: str, data: PairData) -> None:
    adapter = own_clip(data)
    before = weights(adapter)
    add_lora(adapter, LORA, seed=0)
    started = weights(adapter)
    job = Job(adapter, data.train, *parted(data, 2), quick(lr=1e-2), seed=0, holdout=data.splits["val"])
    after = METHODS[name]().run(job).adapter
    assert differing(before, base_weights(after)) == []
    moved = differing(started, weights(after))
    assert sum(".lora_B." in one for one in moved) > 10


def test_lora_stands_beside_the_trainable_part_alone(data: PairData) -> None:
    adapter = own_clip(data)
    choose_trainable(adapter, "text")
    names = add_lora(adapter, LORA, seed=0)
    assert all(name.startswith("model.text_") for name in names)
    linear = [n for n, m in own_clip(data).named_modules() if isinstance(m, nn.Linear) and n.startswith("model.text_")]
    assert len(names) == 2 * (len(linear) + 1)  # and the table of words


def test_what_is_learned_is_the_product_of_the_two_matrices(data: PairData) -> None:
    """W becomes W + alpha / r B A: with A all 1, B all 2, r 2 and alpha 4, every entry rises by 4 / 2 x (1x2 + 1x2)."""
    adapter = own_clip(data)
    before = weights(adapter)
    add_lora(adapter, LORA, seed=0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if ".lora_" in name:
                parameter.fill_(1.0 if ".lora_A." in name else 2.0)
    merge_lora(adapter)
    moved = weights(adapter)["model.text_projection.weight"] - before["model.text_projection.weight"]
    torch.testing.assert_close(moved, torch.full_like(moved, 8.0))


def test_what_is_learned_of_a_table_is_a_product_too(data: PairData) -> None:
    """An entry e becomes e + alpha / r a B', with its own row a: of a word that no text has none changes."""
    adapter = own_clip(data)
    table = "model.text_model.embeddings.token_embedding"
    before = weights(adapter)[f"{table}.weight"]
    add_lora(adapter, LORA, seed=0)
    writes = adapter.get_parameter(f"{table}.lora_embedding_B.default")
    assert writes.std().item() == pytest.approx(before.std().item() / 4, rel=0.2)  # of the entries' size, not 1
    with torch.no_grad():
        writes.fill_(2.0)
        adapter.get_parameter(f"{table}.lora_embedding_A.default")[:, 5] = 1.0
    merge_lora(adapter)
    moved = weights(adapter)[f"{table}.weight"] - before
    expected = torch.zeros_like(moved)
    expected[5] = 8.0
    torch.testing.assert_close(moved, expected)


def test_tables_of_positions_and_small_ones_are_left_as_they_are() -> None:
    """Their weights are read without a lookup, to stretch them; and what is smaller than the rank saves nothing."""
    case = Case("vilt", "retrieval", 1)
    adapter = case_adapter(case, case_data(case))
    names = add_lora(adapter, LoraSettings(r=8, alpha=4.0), seed=0)
    beside = {name.partition(".lora_embedding_")[0] for name in names if ".lora_embedding_" in name}
    assert beside == {"model.vilt.embeddings.text_embeddings.word_embeddings"}


def test_beside_a_weight_of_a_table_and_a_linear_layer_there_is_no_lora(data: PairData) -> None:
    """Merged, what one of the two learned would be in both."""
    adapter = own_clip(data)
    model = adapter.model
    model.text_projection.weight = model.text_model.embeddings.token_embedding.weight
    names = add_lora(adapter, LORA, seed=0)
    assert names
    assert [name for name in names if "token_embedding" in name or "text_projection" in name] == []


def test_tables_that_share_their_entries_share_what_is_learned(data: PairData) -> None:
    adapter = own_clip(data)
    first = adapter.model.text_model.embeddings.token_embedding
    adapter.model.other = nn.Embedding(*first.weight.shape)
    adapter.model.other.weight = first.weight
    drawn = own_clip(data)
    for each in (adapter, drawn):
        add_lora(each, LORA, seed=0)
    name = "model.text_model.embeddings.token_embedding.lora_embedding_B.default"
    assert adapter.model.other.lora_embedding_B is adapter.model.text_model.embeddings.token_embedding.lora_embedding_B
    torch.testing.assert_close(adapter.get_parameter(name), drawn.get_parameter(name))  # scaled once
    with torch.no_grad():
        adapter.get_parameter(name.replace("_B", "_A")).fill_(1.0)
    expected = first.weight + adapter.get_parameter(name).sum(dim=1) * LORA.alpha / LORA.r
    merge_lora(adapter)
    torch.testing.assert_close(adapter.model.other.weight, expected)
    assert adapter.model.other.weight is adapter.model.text_model.embeddings.token_embedding.weight


def test_the_seed_draws_the_matrices_and_disturbs_nothing(data: PairData) -> None:
    made = []
    for seed in (0, 0, 1):
        adapter = own_clip(data)
        torch.manual_seed(7)
        add_lora(adapter, LORA, seed=seed)
        made.append((weights(adapter), torch.rand(1)))
    assert differing(made[0][0], made[1][0]) == []
    assert differing(made[0][0], made[2][0])
    assert made[0][1] == made[2][1]


def test_parts_without_linear_layers_are_refused(data: PairData) -> None:
    adapter = own_clip(data)
    choose_trainable(adapter, "logit_scale")
    with pytest.raises(UnsupportedError, match="beside linear layers and tables of words, and none is trained here"):
        add_lora(adapter, LORA, seed=0)


def test_a_rank_above_that_of_every_layer_is_refused() -> None:
    adapter = own_clip(people(4))
    with pytest.raises(ConfigError, match=r"LoRA's r is 100000, and no layer .* has a rank above \d+\. Give at most"):
        add_lora(adapter, LoraSettings(r=100000), seed=0)


def test_batch_statistics_are_not_trained_beside_lora(data: PairData) -> None:
    adapter = own_clip(data)
    adapter.model.extra = nn.BatchNorm1d(3)
    with pytest.raises(UnsupportedError, match="batch statistics"):
        add_lora(adapter, LORA, seed=0, training_mode=True)
    add_lora(adapter, LORA, seed=0)


@pytest.mark.parametrize("setting", ["r", "alpha"])
def test_sizes_are_checked(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is 0; it must be"):
        LoraSettings(**{setting: 0})  # type: ignore[arg-type]


# Folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, data: PairData) -> Path:
    """An original CLIP, and what unlearning with LoRA made of it."""
    folder = tmp_path_factory.mktemp("lora")
    own_clip(data).save(folder / "original")
    forget = subjects_ids(data.train, 2)
    unlearn(folder / "original", data, forget, method="grad_diff", settings=QUICK, lora=LORA, out=folder / "adapter")
    return folder


def test_the_result_is_a_small_adapter_and_says_so(folders: Path, data: PairData) -> None:
    files = sorted(path.name for path in (folders / "adapter").iterdir())
    assert files == [
        ".multidelete",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "multidelete.json",
    ]
    size = sum(path.stat().st_size for path in (folders / "adapter").iterdir())
    assert size < (folders / "original" / "model.safetensors").stat().st_size
    manifest = json.loads((folders / "adapter" / "multidelete.json").read_text())
    assert manifest["lora"] == {"r": 2, "alpha": 4.0, "merged": False}
    assert manifest["trainable"]["parameters"] == len(load_file(folders / "adapter" / "adapter_model.safetensors"))
    assert "is a LoRA adapter for the model it was made from" in (folders / "adapter" / "README.md").read_text()
    config = json.loads((folders / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str((folders / "original").resolve())


def test_peft_itself_loads_the_adapter(folders: Path, data: PairData) -> None:
    ours = load_adapter(folders / "adapter")
    theirs = load_adapter(folders / "original")
    loaded = PeftModel.from_pretrained(CLIPModel.from_pretrained(folders / "original"), folders / "adapter").eval()
    theirs.model = loaded.merge_and_unload()
    torch.testing.assert_close(scores(ours, data.train.pairs), scores(theirs, data.train.pairs), rtol=1e-5, atol=1e-6)
    before = scores(load_adapter(folders / "original"), data.train.pairs)
    assert (before - scores(ours, data.train.pairs)).abs().max() > 1e-3


def test_the_folder_holds_what_the_model_in_memory_is(folders: Path, data: PairData) -> None:
    forget = subjects_ids(data.train, 2)
    done = unlearn(folders / "original", data, forget, method="grad_diff", settings=QUICK, lora=LORA)
    assert isinstance(done.model, CLIPModel)
    assert any(isinstance(module, BaseTunerLayer) for module in done.model.modules())
    torch.testing.assert_close(
        scores(done.adapter, data.train.pairs), scores(load_adapter(folders / "adapter"), data.train.pairs),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_merging_writes_a_model_of_the_same_form(folders: Path, data: PairData, tmp_path: Path) -> None:
    merge(folders / "adapter", tmp_path / "full")
    with (
        safe_open(folders / "original" / "model.safetensors", "pt") as one,
        safe_open(tmp_path / "full" / "model.safetensors", "pt") as other,
    ):
        assert sorted(one.keys()) == sorted(other.keys())
    CLIPModel.from_pretrained(tmp_path / "full")
    merged, apart = load_adapter(tmp_path / "full"), load_adapter(folders / "adapter")
    assert differing(weights(merged), weights(apart)) == []
    manifest = json.loads((tmp_path / "full" / "multidelete.json").read_text())
    assert manifest["lora"]["merged"] is True
    assert manifest["request"] == json.loads((folders / "adapter" / "multidelete.json").read_text())["request"]
    assert "has the format of the model it was made from" in (tmp_path / "full" / "README.md").read_text()


def test_half_precision_models_are_merged_as_they_were(data: PairData, tmp_path: Path) -> None:
    adapter = own_clip(data)
    adapter.model.half()
    adapter.save(tmp_path / "original")
    forget = subjects_ids(data.train, 2)
    unlearn(
        tmp_path / "original", data, forget, method="grad_diff", settings=QUICK, lora=LORA, out=tmp_path / "adapter"
    )
    merge(tmp_path / "adapter", tmp_path / "full")
    found = load_file(tmp_path / "full" / "model.safetensors")
    assert {t.dtype for t in found.values()} == {torch.float16}


def test_an_audit_judges_an_adapter_folder(folders: Path, data: PairData, tmp_path: Path) -> None:
    forget = subjects_ids(data.train, 2)
    result = audit(folders / "adapter", folders / "original", data, forget, out=tmp_path / "report", device="cpu")
    run = json.loads((tmp_path / "report" / "audit.json").read_text())["run"]
    assert run["unlearned"]["lora"]["merged"] is False
    assert any(figure.model == "unlearned" and figure.value is not None for figure in result.figures)


@pytest.mark.parametrize(
    "case",
    [Case("blip", "retrieval", 1), Case("albef", "classification", 2), Case("graph-text", "classification", 0)],
    ids=str,
)
def test_fusion_and_graph_models_are_written_and_merged(case: Case, tmp_path: Path) -> None:
    """A graph loses the edges of forgotten pairs, so it goes with the adapter; a base model's must stay."""
    data = case_data(case)
    case_adapter(case, data).save(tmp_path / "original")
    files = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    forget = subjects_ids(data.train, 2)
    done = unlearn(
        tmp_path / "original", data, forget, method="grad_diff", settings=QUICK, lora=LORA, out=tmp_path / "adapter"
    )
    merge(tmp_path / "adapter", tmp_path / "full")
    after, merged = outputs(done.adapter, data), outputs(load_adapter(tmp_path / "full"), data)
    for found, wanted in zip(merged, after, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()} == files
    if case.family == "blip":
        BlipForImageTextRetrieval.from_pretrained(tmp_path / "full")
    if case.family == "graph-text":
        edges = [load_adapter(tmp_path / name).processor.graph.digest for name in ("original", "adapter", "full")]
        assert edges[0] != edges[1] == edges[2]


# What is refused


def test_another_base_model_than_the_one_trained_on_is_refused(folders: Path, data: PairData, tmp_path: Path) -> None:
    shutil.copytree(folders / "adapter", tmp_path / "adapter")
    own_clip(data, seed=3).save(tmp_path / "other")
    config = tmp_path / "adapter" / "adapter_config.json"
    named = json.loads(config.read_text())

    def name(base: object) -> None:
        config.write_text(json.dumps(named | {"base_model_name_or_path": base}))

    name(str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"was trained on other weights than those that are in .*other now"):
        load_adapter(tmp_path / "adapter")
    name(str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match=r"belongs to the model .*gone, which is not there. Put it back"):
        load_adapter(tmp_path / "adapter")
    name(None)
    with pytest.raises(CheckpointError, match=r"names no model that the adapter belongs to"):
        load_adapter(tmp_path / "adapter")
    name(str(folders / "adapter"))
    with pytest.raises(CheckpointError, match=r"an adapter itself. Merge that one first"):
        load_adapter(tmp_path / "adapter")
    config.write_text("{")
    with pytest.raises(CheckpointError, match=r"adapter_config.json is not valid JSON"):
        load_adapter(tmp_path / "adapter")


def test_adapters_that_do_not_fit_are_refused(folders: Path, tmp_path: Path) -> None:
    for kind in ("missing", "unreadable", "foreign"):
        shutil.copytree(folders / "adapter", tmp_path / kind)
    tensors = load_file(folders / "adapter" / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), tmp_path / "missing" / "adapter_model.safetensors")
    (tmp_path / "unreadable" / "adapter_model.safetensors").write_bytes(b"no tensors")
    LoraConfig(r=3, target_modules=["nothing"], base_model_name_or_path=str(folders / "original")).save_pretrained(
        str(tmp_path / "foreign")
    )
    with pytest.raises(CheckpointError, match=r"missing does not fit its base model: .*lora_"):
        load_adapter(tmp_path / "missing")
    with pytest.raises(CheckpointError, match=r"unreadable cannot be read as a LoRA folder"):
        load_adapter(tmp_path / "unreadable")
    with pytest.raises(CheckpointError, match=r"foreign does not fit its base model"):
        load_adapter(tmp_path / "foreign")


@pytest.mark.parametrize("method", ["retrain", "ssd", "slug", "kfade", "descent_to_delete"])
def test_methods_that_change_the_weights_themselves_are_refused(method: str, folders: Path, data: PairData) -> None:
    with pytest.raises(UnsupportedError, match=rf"{method} changes the weights themselves .*grad_diff"):
        unlearn(folders / "original", data, subjects_ids(data.train, 2), method=method, lora=LORA)


def test_models_in_memory_and_adapters_have_no_base_to_name(folders: Path, data: PairData, tmp_path: Path) -> None:
    forget, model = subjects_ids(data.train, 2), own_clip(data)
    with pytest.raises(ConfigError, match="the model is given in memory"):
        unlearn(model, data, forget, method="grad_diff", lora=LORA, out=tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"adapter is an adapter itself. Make it a model"):
        others = [name for name in subjects_ids(data.train, 4) if name not in forget]
        unlearn(folders / "adapter", data, others, method="grad_diff", lora=LORA, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    kept = copy.deepcopy(weights(model))
    unlearn(model, data, forget, method="grad_diff", settings=QUICK, lora=LORA)
    assert differing(kept, weights(model)) == []


def test_only_adapters_can_be_merged_and_only_elsewhere(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"original is no adapter folder"):
        merge(folders / "original", tmp_path / "full")
    for target in (folders / "adapter", folders / "original"):
        with pytest.raises(CheckpointError, match="inputs are never changed"):
            merge(folders / "adapter", target, overwrite=True)
    assert list(tmp_path.iterdir()) == []


PEFT = {
    "whole modules": {"target_modules": ["q_proj"], "modules_to_save": ["visual_projection", "text_projection"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"token_embedding": [5, 6, 7]}},
    "biases": {"target_modules": ["q_proj"], "bias": "all"},
    "DoRA": {"target_modules": ["q_proj"], "use_dora": True},
    "embeddings": {"target_modules": ["token_embedding", "q_proj"]},
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True, "rank_pattern": {"text_model.*q_proj": 2}},
    "convolutions": {"target_modules": ["patch_embedding", "fc1"]},
    "pissa": {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
}


@pytest.mark.parametrize("settings", PEFT.values(), ids=PEFT)
def test_adapters_of_peft_are_what_peft_makes_of_them(
    settings: dict[str, object], data: PairData, tmp_path: Path
) -> None:
    adapter = own_clip(data).eval()
    adapter.save(tmp_path / "base")
    torch.manual_seed(1)
    tuned = get_peft_model(CLIPModel.from_pretrained(tmp_path / "base"), LoraConfig(r=4, lora_alpha=8, **settings))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    tuned.save_pretrained(str(tmp_path / "adapter"))
    name_base(tmp_path / "adapter", tmp_path / "base")
    batch = adapter.collate(data.train[[0, 1, 2]])
    of_peft = PeftModel.from_pretrained(CLIPModel.from_pretrained(tmp_path / "base"), str(tmp_path / "adapter")).eval()
    pixels, text = batch.inputs["image"], batch.inputs["text"]
    with torch.no_grad():
        wanted = of_peft(**pixels, **text)
        base_said = adapter(batch).embeddings
        said = load_adapter(tmp_path / "adapter").eval()(batch).embeddings
    merge(tmp_path / "adapter", tmp_path / "merged")
    plain, report = CLIPModel.from_pretrained(tmp_path / "merged", output_loading_info=True)
    with torch.no_grad():
        merged = plain.eval()(**pixels, **text)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for at, of_plain, of_tuned in (
        ("image", merged.image_embeds, wanted.image_embeds), ("text", merged.text_embeds, wanted.text_embeds)
    ):  # fmt: skip
        torch.testing.assert_close(said[at], of_tuned, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(of_plain, of_tuned, atol=1e-5, rtol=1e-5)
    assert any((base_said[at] - said[at]).abs().max() > 1e-3 for at in ("image", "text"))


def name_base(folder: Path, base: Path, **entries: object) -> None:
    """Say in an adapter's configuration which model it belongs to, and whatever else."""
    path = folder / "adapter_config.json"
    content = json.loads(path.read_text()) | {"base_model_name_or_path": str(base), **entries}
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "names code of Megatron"),
        ({"r": 10**9}, "says rank 1000000000, and no stored matrix is that large"),
        ({"rank_pattern": {"q_proj": 10**9}}, "says rank 1000000000"),
        ({"r": "four"}, "cannot be read as a LoRA folder|does not fit its base model"),
        ({"target_modules": 3}, "cannot be read as a LoRA folder|does not fit its base model"),
        ({"peft_type": "EVIL"}, "cannot be read as a LoRA folder"),
        ({"layer_replication": [[0, 1], [0, 2]]}, "does not fit its base model|leaves its base model"),
    ],
)
def test_adapter_configurations_that_ask_for_more_are_refused(
    entries: dict[str, object], match: str, folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(folders / "adapter", tmp_path / "adapter")
    name_base(tmp_path / "adapter", folders / "original", **entries)
    with pytest.raises(CheckpointError, match=match):
        load_adapter(tmp_path / "adapter")
