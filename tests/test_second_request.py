"""One request after another: what the first forgot plays no part in the second, and stays forgotten."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from multidelete.artifacts.card import model_card
from multidelete.artifacts.keys import key_of_run, read_keys
from multidelete.auditing import audit
from multidelete.core.errors import CheckpointError, UserError
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import Pair, PairData, PairDataset, open_image
from multidelete.data.request import Request, resolve_request
from multidelete.data.request_file import Named
from multidelete.experiments.store import ModelStore
from multidelete.experiments.tuning import tune
from multidelete.methods import METHODS, Retrain
from multidelete.models import load_adapter
from multidelete.models.lineage import known_lineage
from multidelete.models.tokens import tokenizer_of
from multidelete.unlearning import Unlearned, train, unlearn
from tests.methods.cell_settings import FEW
from tests.tiny import manifest_of, people, quick

FIRST, SECOND = ("person-0001", "person-0004"), ("person-0002", "person-0007")


@dataclass
class Recorded:
    """Pairs whose pictures note when they are looked at: whatever a pair is used for, it cannot be without that."""

    data: PairData
    seen: set[str] = field(default_factory=set)

    def request(self, *subjects: str) -> Request:
        return resolve_request(self.data, subjects=subjects, unit="subject")


def recorded() -> Recorded:
    plain = people(12, unseen=6)
    made = Recorded(plain)

    def noting(pair: Pair) -> Callable[[], Image.Image]:
        def look() -> Image.Image:
            made.seen.add(pair.id)
            return open_image(pair.inputs["image"])  # type: ignore[arg-type]

        return look

    splits = {
        split: PairDataset([replace(p, inputs={**p.inputs, "image": noting(p)}) for p in pairs], pairs.name)
        for split, pairs in plain.splits.items()
    }
    made.data = replace(plain, splits=splits)
    return made


@dataclass(frozen=True)
class Made:
    root: Path
    recorded: Recorded
    first: Request
    second: Request

    @property
    def data(self) -> PairData:
        return self.recorded.data

    def again(self, name: str = "finetune", **changes: object) -> Unlearned:
        """The second request, from the model that the first one made."""
        has_passes = METHODS[name].trains and name != "retrain"
        settings = {"device": "cpu"} | ({"passes": 1} if has_passes else {})
        given: dict[str, object] = {"method": METHODS[name](**FEW.get(name, {})), "settings": settings} | changes
        return unlearn(self.root / "unlearned", self.data, self.second, **given)  # type: ignore[arg-type]

    def audit(self, unlearned: str, original: str, request: Request, out: str, **changes: object) -> Path:
        done = audit(self.root / unlearned, self.root / original, self.data, request, out=self.root / out, device="cpu",
                     **changes)  # fmt: skip  # type: ignore[arg-type]
        return done.folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root, found = tmp_path_factory.mktemp("requests"), recorded()
    train(found.data, root / "original", start=TrainSettings(family="clip", image_size=32), settings=quick(passes=2))
    made = Made(root, found, found.request(*FIRST), found.request(*SECOND))
    settings = {"passes": 1, "device": "cpu"}
    unlearn(root / "original", found.data, made.first, method="npo", settings=settings, out=root / "unlearned")
    made.again(out=root / "second")
    return made


# What is left for a deletion is chosen before its method; these look at pairs in ways of their own.
OFTEN = ("multidelete", "retrain", "finetune", "salun", "slug")


@pytest.mark.parametrize("method", [m if m in OFTEN else pytest.param(m, marks=pytest.mark.slow) for m in METHODS])
def test_earlier_pairs_are_met_in_no_role(made: Made, method: str) -> None:
    made.recorded.seen.clear()
    made.again(method)
    assert made.recorded.seen, "nothing was looked at"
    assert not made.recorded.seen & set(made.first.ids)


def test_earlier_pairs_are_in_no_search_no_reference_model_no_audit_and_no_further_training(made: Made) -> None:
    root, seen = made.root, made.recorded.seen
    runs: dict[str, Callable[[], object]] = {
        "tune": lambda: tune(root / "unlearned", made.data, made.second, method="finetune", trials=1,
                             settings={"passes": 1, "device": "cpu"}),
        "retrained": lambda: ModelStore(root / "store").retrained(root / "unlearned", made.data, made.second, seed=0),
        "shadow": lambda: [ModelStore(root / "store").shadow(root / "unlearned", made.data, index=n) for n in (0, 1)],
        "train": lambda: train(made.data, root / "more", start=TrainSettings(start=str(root / "unlearned")),
                               settings=quick()),
        "audit": lambda: made.audit("second", "unlearned", made.second, "report"),
    }  # fmt: skip
    for name, run in runs.items():
        seen.clear()
        run()
        assert seen, f"{name} looked at nothing"
        assert not seen & set(made.first.ids), f"{name} met pairs of the first request"


def test_the_result_records_both_deletions_and_one_file_has_both_keys(made: Made) -> None:
    told, text = manifest_of(made.root / "second"), (made.root / "second" / "multidelete.json").read_text()
    rows = told["deletions"]
    assert [row["pairs"] for row in rows] == [len(made.first.ids), len(made.second.ids)]  # type: ignore[union-attr, attr-defined]
    assert list(read_keys(made.root / "second.key")) == [row["key"] for row in rows]  # type: ignore[attr-defined]
    assert rows[0] == manifest_of(made.root / "unlearned")["deletions"][0]  # type: ignore[index]
    for plain in (*made.first.ids, *FIRST, made.first.digest, made.second.digest, made.data.train.digest):
        assert plain not in text
    assert not list((made.root / "second").rglob("*key*"))


def test_a_second_deletion_and_both_together_can_be_audited(made: Made) -> None:
    both = made.recorded.request(*FIRST, *SECOND)
    for number, (original, request) in enumerate(
        (("unlearned", made.second), ("original", both), ("original", made.first))
    ):
        folder = made.audit("second", original, request, f"report {number}")
        run = json.loads((folder / "audit.json").read_text())["run"]
        assert run["counts"]["forget"] == len(request.ids)
        assert run["counts"]["retain"] == len(made.data.train) - len(both.ids)


def test_held_out_pairs_with_the_ids_of_deleted_ones_stay_in_every_command(tmp_path: Path) -> None:
    plain = people(12, unseen=6)
    numbered = {
        split: PairDataset([replace(pair, id=str(at)) for at, pair in enumerate(pairs)], split)
        for split, pairs in plain.splits.items()
    }
    data, settings = replace(plain, splits=numbered), {"passes": 1, "device": "cpu"}
    requests = [resolve_request(data, ids=[str(at) for at in some]) for some in (range(4), range(4, 8))]
    train(data, tmp_path / "0", start=TrainSettings(family="clip", image_size=32), settings=quick())
    for at, request in enumerate(requests):
        unlearn(tmp_path / f"{at}", data, request, method="finetune", settings=settings, out=tmp_path / f"{at + 1}")
    lineage, left = known_lineage(tmp_path / "2", data, None, removed=False)
    assert lineage.pairs == 8
    assert [len(data.splits[split]) - len(pairs) for split, pairs in left.splits.items()] == [8, 0, 0]
    done = audit(tmp_path / "2", tmp_path / "1", data, requests[1], out=tmp_path / "report", device="cpu")
    run = json.loads((done.folder / "audit.json").read_text())["run"]
    assert run["left out"] == {"pairs of other requests": 4}


def test_without_the_key_nothing_is_done_with_the_model(made: Made, tmp_path: Path) -> None:
    key, away = made.root / "unlearned.key", tmp_path / "mine.key"
    key.rename(away)
    refused: list[Callable[..., object]] = [
        made.again,
        lambda **more: tune(made.root / "unlearned", made.data, made.second, trials=1, **more),  # type: ignore[arg-type]
        lambda **more: train(made.data, tmp_path / "x", start=TrainSettings(start=str(made.root / "unlearned")),
                             settings=quick(), **more),  # type: ignore[arg-type]
        lambda **more: made.audit("unlearned", "original", made.first, "report without", **more),
        lambda **more: ModelStore(tmp_path / "s", **more).retrained(made.root / "unlearned", made.data, made.second, seed=0),  # type: ignore[arg-type]  # noqa: E501
    ]  # fmt: skip
    try:
        for run in refused:
            with pytest.raises(CheckpointError, match=r"has forgotten pairs before \(1 request, 8 pairs\)"):
                run()
        assert not list(tmp_path.glob("[xs]*")), "something was written"
        assert len(made.again(key=away).keys) == 2
        gone = replace(
            made.data, splits={**made.data.splits, "train": made.data.train.without(made.first.ids, "train")}
        )
        done = unlearn(made.root / "unlearned", gone, made.second, method="finetune", earlier_pairs_removed=True,
                       settings={"passes": 1, "device": "cpu"})  # fmt: skip
        assert done.manifest["earlier_pairs_removed"] is True
        assert len(done.manifest["deletions"]) == 2  # type: ignore[arg-type]
    finally:
        away.rename(key)


@pytest.mark.parametrize("form", ["adapter", "network", "loaded adapter", "loaded network"])
def test_a_model_in_memory_knows_what_it_has_forgotten(made: Made, form: str) -> None:
    loaded = load_adapter(made.root / "second") if "loaded" in form else made.again().adapter
    model = loaded if "adapter" in form else loaded.model
    made.recorded.seen.clear()
    done = unlearn(
        model, made.data, made.recorded.request("person-0009"), processor=None if model is loaded else loaded.processor,
        method="finetune", settings={"passes": 1, "device": "cpu"},
    )  # fmt: skip
    assert len(done.keys) == 3
    assert not made.recorded.seen & {*made.first.ids, *made.second.ids}


@pytest.mark.parametrize(
    ("retrained", "said"),
    [
        ("second", "was made by finetune from a model that had seen the pairs"),
        ("copy", "retrained .*copy is the same model as unlearned"),
        ("unlearned", "was made by npo from a model that had seen the pairs"),
        ("again", "was trained on all of these pairs"),
    ],
)
def test_what_saw_the_pairs_is_no_retrained_model(made: Made, retrained: str, said: str) -> None:
    copy, again = made.root / "copy", made.root / "again"
    if not copy.exists():
        shutil.copytree(made.root / "second", copy, ignore=shutil.ignore_patterns("multidelete.json"))
        load_adapter(made.root / "second").model.save_pretrained(copy, max_shard_size="200KB")
        train(made.data, again, start=TrainSettings(family="clip", image_size=32), settings=quick(passes=0.1), seed=1)
    both = made.recorded.request(*FIRST, *SECOND)
    with pytest.raises(UserError, match=said):
        made.audit("second", "original", made.first if retrained == "unlearned" else both, "refused",
                   retrained=made.root / retrained)  # fmt: skip


def test_the_original_and_its_copies_are_no_retrained_model(made: Made) -> None:
    with pytest.raises(CheckpointError, match="retrained in memory is the same model as original"):
        made.audit("second", "original", made.second, "refused", retrained=load_adapter(made.root / "original"))


@pytest.mark.parametrize(
    ("unlearned", "original", "said"),
    [
        (
            "unlearned",
            "unlearned",
            "original .*unlearned is the same model as unlearned .*unlearned and has itself forg",
        ),
        (
            "unlearned",
            "double",
            "original .*double is the same model as unlearned .*unlearned and has itself forgotten",
        ),
        (
            "original",
            "unlearned",
            "original .*unlearned has itself forgotten 8 of the 8 pairs.*original has not. Were the",
        ),
        ("original", "second", "original .*second has itself forgotten 8 of the 8 pairs.*Were the two swapped"),
        (
            "second",
            "unlearned",
            "original .*unlearned has itself forgotten 8 of the 8 pairs.*so that nothing can be seen",
        ),
    ],
)
def test_an_original_that_has_forgotten_the_request_is_told_apart(
    made: Made, unlearned: str, original: str, said: str
) -> None:
    double = made.root / "double"
    if not double.exists():
        shutil.copytree(made.root / "unlearned", double)
        shutil.copy(made.root / "unlearned.key", made.root / "double.key")
    with pytest.raises(CheckpointError, match=said) as told:
        made.audit(unlearned, original, made.first, "refused")
    assert len(told.value.problems) == 1
    assert not (made.root / "refused").exists()


def test_a_retrained_original_is_told_to_be_the_retrained_model(made: Made) -> None:
    retrained = made.root / "retrained"
    unlearn(made.root / "original", made.data, made.first, method="retrain", settings=quick(passes=0.1), out=retrained)
    with pytest.raises(CheckpointError, match=r"original .*retrained is the same model as retrained .* and has itself"):
        made.audit("unlearned", "retrained", made.first, "refused", retrained=retrained)
    with pytest.raises(
        CheckpointError, match=r"retrained .*retrained is the same model as unlearned .*its own yardstick"
    ):
        made.audit("retrained", "original", made.first, "refused", retrained=retrained)


def test_a_resumed_run_has_the_key_that_it_began_with(made: Made, tmp_path: Path) -> None:
    key = key_of_run(tmp_path / "work" / "key")
    assert key_of_run(tmp_path / "work" / "key") == key


def test_tokens_of_deleted_texts_alone_are_counted_and_a_fresh_tokenizer_has_none(made: Made) -> None:
    told, card = {}, ""
    for fresh in (False, True):
        done = unlearn(made.root / "original", made.data, made.first, method=Retrain(fresh_tokenizer=fresh),
                       settings=quick(passes=0.1))  # fmt: skip
        told[fresh] = done.manifest["tokenizer"]["tokens_of_deleted_texts_alone"]  # type: ignore[index]
        card = card if fresh else model_card(done.record)
        names = {str(pair.inputs["text"]).split()[0].lower() for pair in made.data.train
                 if pair.subject in FIRST and pair.kind == "sensitive"}  # fmt: skip
        kept = " ".join(str(p.inputs["text"]).lower() for p in made.data.train if p.subject not in FIRST).split()
        own = [name for name in names if name not in kept]
        vocabulary = tokenizer_of(done.adapter).get_vocab()
        assert own
        assert any(name in vocabulary for name in own) is not fresh
    assert told[False] >= len(own)
    assert told[True] == 0
    assert f"{told[False]} tokens that are words of deleted texts alone" in card


def test_representations_name_nothing(made: Made) -> None:
    pair = made.data.train[0]
    request = resolve_request(made.data, ids=[pair.id])
    told = (made.data, made.data.train, pair, made.second, made.again(), Named(ids=("p1",)), request)
    shown = " ".join(map(repr, told))
    assert len(shown) < 600
    texts = (pair.id, str(pair.subject), str(pair.inputs["text"]), pair.sources["text"], pair.sources["image"], "p1")
    assert not [secret for secret in texts if secret in shown]
