"""Requests of a lineage: received, found again, asked about, and made unknowable."""

import stat
from dataclasses import replace
from datetime import timedelta

import pytest

from multidelete.artifacts.keys import key_id, new_key, read_keys, write_keys
from multidelete.core.errors import LedgerError
from multidelete.data.pairs import PairData, PairDataset
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Audited, ModelDigest, Refused, Released, Unlearned
from multidelete.ledger.places import DATA_KEY
from multidelete.ledger.requests import add_near_duplicates, forget_key, is_in, key_path, pairs_of, receive
from multidelete.ledger.texts import naming
from tests.ledger.conftest import DAY, asked, of_one

DONE = ModelDigest(digest="1" * 64, files={"model.safetensors": "2" * 64})


def released(ledger: Ledger, *references: str, key: str | None = None) -> None:
    """Take requests to their end."""
    model = "1" * 64
    ledger.append(Unlearned(references=references, folder="m", before="0" * 64, after=DONE, method="npo", key=key))
    ledger.append(Audited(references=references, model=model, outcome="forgotten"))
    ledger.append(Released(references=references, by="officer", model=model))


def test_pairs_are_found_again_and_in_the_ledger_is_no_name(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    path = key_path(ledger.folder, "TICKET-17")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pairs_of(ledger, "TICKET-17", people).ids == of_one(people).ids
    assert "person" not in "".join(one.line for one in ledger.events()).replace("personal", "")


def test_pairs_are_found_under_other_ids(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    renamed = PairDataset([replace(pair, id=f"new {at}") for at, pair in enumerate(people.train)], "train")
    ids = pairs_of(ledger, "TICKET-17", replace(people, splits={**people.splits, "train": renamed})).ids
    assert [renamed[renamed.index[one]].subject for one in ids] == ["person-0001"] * len(of_one(people).ids)


def test_pairs_that_are_missing_or_others_are_refused(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    ids = of_one(people).ids
    without = replace(people, splits={**people.splits, "train": people.train.without(ids[:1], "train")})
    with pytest.raises(LedgerError, match=r"1 of \d+ pairs of TICKET-17 is not among the training pairs"):
        pairs_of(ledger, "TICKET-17", without)
    changed = PairDataset(
        [
            replace(p, inputs={**p.inputs, "text": "other"}, sources={**p.sources, "text": "other"})
            for p in people.train
        ],
        "train",
    )
    with pytest.raises(LedgerError, match="have another picture or text"):
        pairs_of(ledger, "TICKET-17", replace(people, splits={**people.splits, "train": changed}))


def test_same_reference_twice_is_refused_and_the_first_key_stays(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    for reference in ("TICKET-17", "ticket-17"):
        with pytest.raises(LedgerError, match="a request TICKET-17 stands in the ledger already"):
            asked(ledger, people, "person-0002", reference)
    assert pairs_of(ledger, "TICKET-17", people).ids == of_one(people).ids


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"due": "2026-11-30"}, "due is 2026-11-30, and today is 2026-12-01"),
        ({"due": "soon"}, "due is 'soon'; it must be a day such as"),
        ({"reference": "../x"}, "reference is '../x'; it must be 1 to 64 letters"),
        ({"reference": "_data"}, "begin with a letter or digit"),
        ({"reference": "person-0001"}, "reference 'person-0001' names a pair"),
        ({"reference": "PERSON-0001-view-1-descriptive"}, "names a pair"),
        ({"basis": "asked by person-0001 in March"}, "basis 'asked by person-0001 in March' names a pair"),
        ({"basis": " "}, "basis is empty"),
        ({"basis": "x" * 400}, "at most 300 characters"),
    ],
)
def test_what_cannot_be_received_is_refused(
    ledger: Ledger, people: PairData, settings: dict[str, str], told: str
) -> None:
    values = {"reference": "TICKET-17", "due": "2026-12-28", "basis": "GDPR Art. 17(1)(b)", **settings}
    with pytest.raises(LedgerError) as error:
        receive(ledger, of_one(people), people, **values, time=DAY)
    assert told in str(error.value)
    assert len(ledger.events()) == 1
    assert [file.name for file in (ledger.folder / "keys").iterdir()] == [DATA_KEY]


def test_numbers_and_short_words_in_a_text_are_no_names(people: PairData) -> None:
    pair = replace(people.train[0], id="17", subject="b")
    assert naming({"basis": "GDPR Art. 17(1)(b)"}, [pair]) == []
    assert len(naming({"basis": "17", "reference": "b"}, [pair])) == 2


@pytest.mark.parametrize(
    "text", ["Jose\u0301 Di\u0301az", "asked by JOSÉ-DÍAZ", "T_josé_díaz_1", "see portraits/jd-2024.png", "jd_2024"]
)
def test_names_in_other_spellings_are_names(people: PairData, text: str) -> None:
    pair = replace(people.train[0], subject="José Díaz", sources={"image": "portraits/jd-2024.png", "text": "x"})
    assert len(naming({"basis": text}, [pair])) == 1


def test_answer_is_what_the_keys_tell(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    asked(ledger, people, "person-0002", "TICKET-18")
    pair = people.train[people.train.index[of_one(people).ids[0]]]
    for one in (pair, pair.id, replace(pair, id="other")):
        answer = is_in(ledger, one)
        assert [request.reference for request in answer.requests] == ["TICKET-17"]
        assert (answer.unknown, answer.others) == ((), 1)
    assert is_in(ledger, "unheard of").requests == ()


def test_near_duplicates_belong_to_the_request(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    further = [pair for pair in people.train if pair.subject == "person-0003"][:2]
    add_near_duplicates(ledger, "TICKET-17", further)
    ids = {*of_one(people).ids, *(pair.id for pair in further)}
    assert set(pairs_of(ledger, "TICKET-17", people).ids) == ids
    assert ledger.requests()["TICKET-17"].pairs == len(ids)
    assert [request.reference for request in is_in(ledger, further[0].id).requests] == ["TICKET-17"]


def test_forgotten_key_leaves_nobody_who_could_tell(ledger: Ledger, people: PairData) -> None:
    asked(ledger, people)
    asked(ledger, people, "person-0002", "TICKET-18")
    own, other = new_key(), new_key()
    runs = ledger.folder / "keys" / "models.key"
    write_keys(runs, {key_id(own): own, key_id(other): other})
    with pytest.raises(LedgerError, match="its key can be destroyed only when it is released or refused"):
        forget_key(ledger, "TICKET-17")
    assert key_path(ledger.folder, "TICKET-17").is_file()
    released(ledger, "TICKET-17", key=key_id(own))
    forget_key(ledger, "TICKET-17", time=DAY + timedelta(days=30))
    assert sorted(file.name for file in (ledger.folder / "keys").iterdir()) == ["TICKET-18.key", "models.key"]
    assert set(read_keys(runs)) == {key_id(other)}
    answer = is_in(ledger, of_one(people).ids[0])
    assert answer.requests == ()
    assert [request.reference for request in answer.unknown] == ["TICKET-17"]
    with pytest.raises(LedgerError, match="was destroyed: nobody can tell its pairs"):
        pairs_of(ledger, "TICKET-17", people)
    with pytest.raises(LedgerError, match="was destroyed already"):
        forget_key(ledger, "TICKET-17")
    ledger.verify()


def test_destroying_a_key_that_was_cut_off_goes_on(ledger: Ledger, people: PairData) -> None:
    """The key is gone before the event stands there: never the other way about."""
    asked(ledger, people)
    ledger.append(Refused(reference="TICKET-17", reason="not ours"))
    key_path(ledger.folder, "TICKET-17").rename(key_path(ledger.folder, "TICKET-17").with_suffix(".key.old"))
    forget_key(ledger, "TICKET-17")
    assert list((ledger.folder / "keys").iterdir()) == []
    assert ledger.requests()["TICKET-17"].keys_gone
