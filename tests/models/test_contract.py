"""One contract for every family and head.

The registry says which there are. What a family promises beyond this is tested in its own file.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from multidelete.core.runtime import is_main_process, process_index
from multidelete.data.pairs import Pair, PairData
from multidelete.models import FAMILIES, Adapter, PairOutputs, adapter_for, load_adapter, recognise
from tests.models.cases import CLASSES, EVERY, Case, case_adapter, case_data, own_scores
from tests.tiny import differing, weights

ROWS = [0, 1, 3, 4, 7, 10, 13, 18]  # some share a member
UNREACHED = ("k_proj.bias", "key.bias")  # softmax cancels the biases of keys


@cache
def eight(case: Case) -> tuple[PairData, list[Pair]]:
    """Pairs, and eight of them."""
    data = case_data(case)
    pairs = [*data.train[ROWS[:-1]], replace(data.train[ROWS[-1]], id="short")]
    inputs, sources = {**pairs[-1].inputs, "text": "red"}, {**pairs[-1].sources, "text": "red"}
    return data, [*pairs[:-1], replace(pairs[-1], inputs=inputs, sources=sources)]


@cache
def world(case: Case) -> tuple[PairData, list[Pair], Adapter]:
    """The same, and a model that no test changes."""
    data, pairs = eight(case)
    return data, pairs, case_adapter(case, data)


def flat(outputs: PairOutputs) -> dict[str, Tensor]:
    """Everything that is said of a pair, by name."""
    named = {"joint": outputs.joint, "score": outputs.score, "logits": outputs.logits}
    named |= {f"unimodal {m}": t for m, t in outputs.unimodal.items()}
    named |= {f"embedding {m}": t for m, t in (outputs.embeddings or {}).items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def losses_and_gradients(case: Case, rows: slice) -> dict[str, Tensor]:
    """Task loss of some rows of a batch, and the gradient of its sum."""
    data, pairs = eight(case)
    adapter = case_adapter(case, data)
    batch = adapter.collate(pairs[rows])
    loss_B = adapter.task_loss(adapter(batch), batch)
    loss_B.sum().backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in adapter.named_parameters()}
    return {"loss": loss_B.detach(), **gradients}


every_case = pytest.mark.parametrize("case", EVERY, ids=str)


@every_case
def test_shapes_types_and_task(case: Case) -> None:
    _, pairs, adapter = world(case)
    batch = adapter.collate(pairs)
    outputs = adapter(batch)
    assert adapter.family == case.family
    assert (adapter.task, tuple(adapter.classes)) == (case.task, CLASSES if case.task == "classification" else ())
    assert tuple(adapter.modalities) == FAMILIES[case.family].modalities == tuple(batch.inputs)
    assert outputs.score.shape == (8,)
    assert outputs.joint.ndim == 2
    assert set(outputs.unimodal) == set(adapter.modalities)
    assert (outputs.logits is not None) == (case.task == "classification")
    assert outputs.logits is None or outputs.logits.shape == (8, 3)
    for name, tensor in flat(outputs).items():
        assert tensor.dtype == torch.float32, name
        assert len(tensor) == 8, name
        assert torch.isfinite(tensor).all(), name
    for embedding in (outputs.embeddings or {}).values():
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(8))
    assert adapter.task_loss(outputs, batch).shape == (8,)
    assert set(adapter.joint_parameters()) < {name for name, _ in adapter.named_parameters()}
    assert outputs.score.std() > 0.005, "scores that are all the same would agree with anything"


@every_case
def test_a_pair_alone_gets_the_same_outputs_as_among_others(case: Case) -> None:
    """Neither the order, nor the other pairs, nor the padding up to a longer text or a larger graph counts."""
    _, pairs, adapter = world(case)
    with torch.no_grad():
        together, turned = flat(adapter(adapter.collate(pairs))), flat(adapter(adapter.collate(pairs[::-1])))
        for row in (0, 4, 7):
            for name, tensor in flat(adapter(adapter.collate([pairs[row]]))).items():
                for others, at in ((together, row), (turned, 7 - row)):
                    torch.testing.assert_close(tensor[0], others[name][at], atol=2e-5, rtol=2e-5, msg=name)


@every_case
def test_scores_are_the_networks_own(case: Case) -> None:
    _, pairs, adapter = world(case)
    batch = adapter.collate(pairs)
    with torch.no_grad():
        torch.testing.assert_close(adapter(batch).score, own_scores(case, adapter, batch), atol=1e-4, rtol=1e-4)


@every_case
def test_repaired_batches_exchange_the_second_modality(case: Case) -> None:
    """As if the exchanged pairs had been collated; what the first members alone say stays."""
    _, pairs, adapter = world(case)
    batch, order = adapter.collate(pairs), torch.tensor([3, 0, 7, 6, 1, 2, 5, 4])
    first, second = adapter.modalities
    exchanged = [
        replace(one, id=f"{one.id}+{other.id}", label=None, inputs={**one.inputs, second: other.inputs[second]},
                sources={**one.sources, second: other.sources[second]})
        for one, other in ((pairs[i], pairs[j]) for i, j in enumerate(order.tolist()))
    ]  # fmt: skip
    with torch.no_grad():
        before, repaired = flat(adapter(batch)), flat(adapter(batch.repair(order)))
        expected = flat(adapter(adapter.collate(exchanged)))
    assert batch.repair(order).ids == [pair.id for pair in exchanged]
    for name, tensor in repaired.items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-5, rtol=2e-5, msg=name)
    assert torch.equal(repaired[f"unimodal {first}"], before[f"unimodal {first}"])
    torch.testing.assert_close(repaired[f"unimodal {second}"], before[f"unimodal {second}"][order])
    assert ((repaired["joint"] - before["joint"]).abs().amax(dim=1) > 1e-4).all()


@every_case
def test_gradients_reach_every_part(case: Case) -> None:
    found = losses_and_gradients(case, slice(None))
    assert [name for name, _ in world(case)[2].named_parameters()] == [name for name in found if name != "loss"]
    without = [name for name, gradient in found.items() if name != "loss" and not gradient.abs().sum() > 0]
    assert [name for name in without if not name.endswith(UNREACHED)] == []


@every_case
def test_saved_and_loaded_again_is_bit_equal(case: Case, tmp_path: Path) -> None:
    _, pairs, adapter = world(case)
    adapter.save(tmp_path / "model")
    assert (recognise(tmp_path / "model").family, recognise(tmp_path / "model").task) == (case.family, case.task)
    again = load_adapter(tmp_path / "model").eval()
    assert type(again) is type(adapter)
    assert (again.task, tuple(again.classes)) == (adapter.task, tuple(adapter.classes))
    assert differing(weights(adapter), weights(again)) == []
    batch, batch_again = adapter.collate(pairs), again.collate(pairs)
    for modality, tensors in batch.inputs.items():
        assert all(torch.equal(tensor, batch_again.inputs[modality][key]) for key, tensor in tensors.items())
    with torch.no_grad():
        first, second = flat(adapter(batch)), flat(again(batch_again))
    assert differing(first, second) == []
    again.save(tmp_path / "again")
    assert {p.name for p in (tmp_path / "again").iterdir()} == {p.name for p in (tmp_path / "model").iterdir()}
    for path in (tmp_path / "model").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@every_case
def test_transformers_own_classes_load_the_folder(case: Case, tmp_path: Path) -> None:
    """With plain ``from_pretrained``, where the network is theirs; `adapter_for` knows what was loaded."""
    _, pairs, adapter = world(case)
    own = getattr(transformers, type(adapter.model).__name__, None)
    if own is None:
        assert type(adapter.model).__module__.startswith("multidelete.")
        return
    adapter.save(tmp_path / "model")
    plain = own.from_pretrained(tmp_path / "model")
    assert differing(weights(plain), weights(adapter.model)) == []
    wrapped = adapter_for(plain, adapter.processor).eval()
    with torch.no_grad():
        batch = adapter.collate(pairs)
        assert torch.equal(wrapped(batch).score, adapter(batch).score)


# Two processes


def in_two_processes(folder: Path) -> None:
    """What each of the two processes does: its rows of the batch, and the sum of both gradients."""
    rows = slice(0, 5) if process_index() == 0 else slice(5, 8)
    found: dict[str, Tensor] = {}
    for case in EVERY:
        for name, tensor in losses_and_gradients(case, rows).items():
            if name == "loss":
                padded = torch.zeros(8)
                padded[rows] = tensor
                tensor = padded
            found[f"{case}/{name}"] = tensor
    everything = torch.cat([tensor.flatten() for tensor in found.values()])  # one exchange for all
    dist.all_reduce(everything)
    parts = everything.split([tensor.numel() for tensor in found.values()])
    found = {name: part.view(tensor.shape).clone() for (name, tensor), part in zip(found.items(), parts, strict=True)}
    if is_main_process():
        save_file(found, folder / "found.safetensors")


@every_case
def test_two_processes_give_the_losses_and_gradients_of_one(case: Case, of_two: Path) -> None:
    """Negatives come from both processes: the same losses, and gradients that add up to the same."""
    found = load_file(of_two / "contract" / "found.safetensors")
    alone = losses_and_gradients(case, slice(None))
    largest = max(tensor.abs().max().item() for name, tensor in alone.items() if name != "loss")
    for name, tensor in alone.items():
        torch.testing.assert_close(found[f"{case}/{name}"], tensor, atol=2e-5 * max(1, largest), rtol=1e-3, msg=name)
