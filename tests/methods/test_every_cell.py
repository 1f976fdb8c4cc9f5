"""One contract over all methods, families and heads; `cells` has the bounds, and why a cell differs."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

from multidelete.artifacts.manifest import read_record, write_record
from multidelete.artifacts.record import MethodRecord, RunRecord
from multidelete.core.config import as_toml, resolve
from multidelete.core.errors import DivergedError, UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.data.pairs import Batch, Pair, PairDataset
from multidelete.methods import METHODS, Job, Method, Outcome
from multidelete.models import Adapter, load_adapter
from tests.methods.cell_settings import FEW, MORE, SETTINGS
from tests.methods.cells import (
    APART,
    BLIND,
    CELLS,
    EVERYWHERE,
    FORGOTTEN,
    HEADS,
    KEPT,
    KEPT_BY,
    MATCH_ALONE,
    REFUSED,
    TOGETHER,
    WHOLE,
    data_of,
    measure,
    refused,
    run,
    seldom,
    start,
    world,
)
from tests.models.cases import CASES, Case
from tests.tiny import differing, quick, record_collated, subjects_ids, weights


def built(cells: Sequence[tuple[str, Case]], *, slow: Callable[[str, Case], bool] = seldom) -> pytest.MarkDecorator:
    params = [pytest.param(*cell, marks=[pytest.mark.slow] if slow(*cell) else []) for cell in cells]
    return pytest.mark.parametrize(("name", "case"), params, ids=str)


def seldom_broken(name: str, case: Case) -> bool:
    """What is not finite is found where losses are summed and weights looked at, whatever the head."""
    return str(case) != HEADS[0] and name not in EVERYWHERE


def seldom_matched(name: str, case: Case) -> bool:
    """ALBEF's match meets the methods that treat a match by itself, and one that does not.

    What the others do to a match they do to embeddings and to classes.
    """
    is_match = case.family == "albef" and case.task == "retrieval"
    return seldom(name, case) or (is_match and name not in (*MATCH_ALONE, "multidelete", "clip_erase", "grad_diff"))


every_cell = built(CELLS, slow=seldom_matched)
every_method = pytest.mark.parametrize("name", sorted(METHODS))


def finite(outcome: Outcome) -> bool:
    rows = torch.tensor([value for row in outcome.history for value in row.values()])
    return bool(torch.isfinite(rows).all()) and all(torch.isfinite(p).all() for p in outcome.adapter.parameters())


# It forgets, keeps, and is loaded


READ_CLASSES = (*EVERYWHERE, "multidelete_paper", "grad_diff", "npo", "random_labels", "bad_teacher", "delete", "scrub")


def seldom_trained(name: str, case: Case) -> bool:
    """Of the cells of every run, those outside `HEADS` are trained with one method, and with one picture a pair.

    Of matching heads, which take longest, ALBEF's stands for the others. With classes go the methods whose losses read
    them; the others have no losses, or another method's.
    """
    is_another_matcher = case.task == "retrieval" and case.family in ("blip", "vilt")
    is_rare = str(case) not in HEADS and (name != "multidelete" or case.pictures > 1)
    is_as_of_embeddings = case.task == "classification" and name not in READ_CLASSES
    return seldom_matched(name, case) or is_rare or is_another_matcher or is_as_of_embeddings


@built(CELLS, slow=seldom_trained)
def test_what_was_memorised_is_forgotten_and_the_rest_kept_also_after_loading(
    name: str, case: Case, tmp_path: Path
) -> None:
    one = world(case)
    outcome = run(name, one)
    assert outcome.history
    assert finite(outcome)
    outcome.adapter.save(tmp_path)
    loaded = load_adapter(tmp_path)
    assert differing(weights(outcome.adapter.model), weights(loaded.model)) == []
    done, bound = measure(name, one, loaded), KEPT_BY.get(name, (KEPT, ""))[0]
    assert done.kept >= bound
    if name not in BLIND:
        assert done.way >= FORGOTTEN
        assert bound == 0 or (name, str(case)) in TOGETHER or done.apart >= APART


@pytest.mark.parametrize(("name", "case"), REFUSED, ids=str)
def test_what_a_head_lacks_is_said(name: str, case: Case) -> None:
    ids = subjects_ids(data_of(case).train, 2)
    with pytest.raises(UnsupportedError, match=refused(name, case)):
        few_steps(name, case, ids, data_of(case).train.without(ids, "retain"))


# It reads the pairs it is given, with the seed it is given, and trains what it may


def few_steps(
    name: str, case: Case, forget: Sequence[str], retain: PairDataset, *, adapter: Adapter | None = None, seed: int = 0
) -> tuple[Outcome, set[str]]:
    """A method on a model that knows nothing, of which only the joint parameters may change; and the ids it asked for.

    The adapter given takes the place of both the original and the start of its training.
    """
    data = data_of(case)
    given = copy.deepcopy(adapter) if adapter is not None else start(case)
    joint = set(given.joint_parameters())
    for parameter_name, parameter in given.named_parameters():
        parameter.requires_grad_(parameter_name in joint)
    begun = copy.deepcopy(given).requires_grad_(True)
    seen = [record_collated(one) for one in (given, begun)]
    settings = quick(passes=2 if name == "scrub" else 1, batch_size=4, lr=1e-3, retain_per_forget=2)
    method = METHODS[name](**FEW.get(name, {}))
    outcome = method.run(
        Job(given, data.train, data.train.only(forget, "forget"), retain, settings, seed=seed,
            holdout=data.splits["val"], start=lambda _: begun)
    )  # fmt: skip
    return outcome, {name for ids in seen for name in ids}


def asked(seen: set[str], ids: Sequence[str]) -> list[str]:
    """Those of the ids that the model was asked for, by themselves or with another pair's member."""
    return [name for name in ids if any(name in of_pair for of_pair in seen)]


def parameters(adapter: Adapter) -> dict[str, Tensor]:
    """A copy of each parameter, those that have two names under the first."""
    return {name: parameter.detach().clone() for name, parameter in adapter.named_parameters()}


@every_cell
def test_it_depends_on_the_pairs_and_the_seed_alone_and_trains_what_it_may(name: str, case: Case) -> None:
    """Two requests with the same retain pairs; methods that never see forget pairs tell them by what is left alone."""
    train = data_of(case).train
    ids = subjects_ids(train, 4)
    one, other = ids[:4], ids[4:]
    left = train.without(ids, "retain")
    outcome, seen = few_steps(name, case, one, left)
    first = parameters(outcome.adapter)
    assert finite(outcome)

    before = start(case)
    changed = set(differing(parameters(before), first))
    assert changed
    assert name in WHOLE or changed <= set(before.joint_parameters())

    again, _ = few_steps(name, case, one, left)
    assert differing(first, parameters(again.adapter)) == []

    if name in BLIND:
        assert not asked(seen, ids)
        assert differing(first, parameters(few_steps(name, case, other, left)[0].adapter)) == []
        more, seen = few_steps(name, case, one, train.without(one, "retain"))
        assert differing(first, parameters(more.adapter)) != []
        assert asked(seen, other)
        assert not asked(seen, one)
    else:
        assert asked(seen, one) == one
        assert not asked(seen, [*other, *data_of(case).splits["test"].ids])
        assert differing(first, parameters(few_steps(name, case, other, left)[0].adapter)) != []


@every_method
def test_another_seed_gives_other_weights(name: str) -> None:
    """Of ssd, l_codec and slug the seed draws what they take all of here; their own tests have more pairs."""
    case = Case("graph-text", "retrieval", 0)
    ids = subjects_ids(data_of(case).train, 2)
    retain = data_of(case).train.without(ids, "retain")
    first, other = (parameters(few_steps(name, case, ids, retain, seed=seed)[0].adapter) for seed in (0, 1))
    assert bool(differing(first, other)) is (name not in ("ssd", "l_codec", "slug"))


# Nothing that is not finite passes


@built(CELLS, slow=seldom_broken)
def test_a_weight_that_is_not_a_number_stops_every_method(name: str, case: Case) -> None:
    broken = start(case)
    with torch.no_grad():
        dict(broken.named_parameters())[broken.joint_parameters()[0]].view(-1)[0] = torch.nan
    ids = subjects_ids(data_of(case).train, 2)
    with pytest.raises(DivergedError, match=r"finite|is nan"):
        few_steps(name, case, ids, data_of(case).train.without(ids, "retain"), adapter=broken)


class Blotting:
    """A `collate` that hands on one picture as NaN."""

    def __init__(self, adapter: Adapter, source: str) -> None:
        self.real, self.source = adapter.collate, source

    def __call__(self, pairs: Sequence[Pair]) -> Batch:
        batch = self.real(pairs)
        for row, pair in enumerate(pairs):
            if pair.sources["image"] == self.source:
                batch.inputs["image"]["pixel_values"][row] = torch.nan
        return batch


@built([(name, case) for name, case in CELLS if case.pictures], slow=seldom_broken)
def test_a_picture_that_is_not_a_number_stops_every_method_that_sees_it(name: str, case: Case) -> None:
    data, adapter = data_of(case), start(case)
    ids = subjects_ids(data.train, 2)
    forget, retain = data.train.only(ids, "forget"), data.train.without(ids, "retain")
    begun = start(case)
    for one in (adapter, begun):
        one.collate = Blotting(one, forget[0].sources["image"])  # type: ignore[method-assign]
    settings = quick(passes=2, batch_size=4, retain_per_forget=1)
    job = Job(adapter, data.train, forget, retain, settings, seed=0, start=lambda _: begun)
    if name in BLIND:
        assert finite(METHODS[name]().run(job))
    else:
        with pytest.raises(DivergedError, match=r"finite|is nan"):
            METHODS[name]().run(job)


# Settings


def other_than_default(method: Method) -> Method:
    """The same method with another value in each field."""
    kinds, changes = get_type_hints(type(method)), {}
    for one in fields(method):
        value = getattr(method, one.name)
        if get_origin(kinds[one.name]) is Literal:
            changes[one.name] = next(choice for choice in get_args(kinds[one.name]) if choice != value)
        elif isinstance(value, bool):
            changes[one.name] = not value
        elif isinstance(value, str):
            changes[one.name] = "grad_diff"
        else:
            changes[one.name] = value + 3 if isinstance(value, int) else value * 0.37 + 1e-7
    return replace(method, **changes)


@every_method
def test_settings_survive_toml_and_the_manifest(name: str, tmp_path: Path) -> None:
    kind = METHODS[name]
    loop = kind().loop_settings_for(11)
    for method in (kind(), other_than_default(kind())):
        (tmp_path / "own.toml").write_text(as_toml(method, table="method") + "\n" + as_toml(loop, table="loop"))
        assert resolve(kind, tmp_path / "own.toml", table="method") == method
        assert resolve(LoopSettings, tmp_path / "own.toml", table="loop") == loop
        told = MethodRecord(name=name, rest=asdict(method))
        write_record(tmp_path, RunRecord(command="unlearn", seed=0, method=told, loop=asdict(loop)))
        stored = read_record(tmp_path)
        assert stored is not None
        assert stored.method is not None
        assert stored.method.name == name
        assert resolve(kind, None, stored.method.rest) == method
        assert resolve(LoopSettings, None, stored.loop) == loop


def test_the_tables_name_what_there_is() -> None:
    assert {name for name, _ in MORE} | set(KEPT_BY) | set(SETTINGS) <= set(METHODS)
    assert {case for _, case in MORE} | set(HEADS) <= set(map(str, CASES))
