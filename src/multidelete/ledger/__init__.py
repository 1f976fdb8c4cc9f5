"""A lineage of models and its ledger: what was asked to be forgotten, what was done, and proof of it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidelete.ledger.certificate import issue
    from multidelete.ledger.chain import Ledger
    from multidelete.ledger.gone import check_gone, say_gone
    from multidelete.ledger.holders import Look, look_again
    from multidelete.ledger.judging import Beside, judge
    from multidelete.ledger.places import Places, begin
    from multidelete.ledger.plan import make_plan, write_plan
    from multidelete.ledger.releasing import refuse, release
    from multidelete.ledger.requests import forget_key, is_in, pairs_of, receive
    from multidelete.ledger.running import run
    from multidelete.ledger.work import How

__all__ = [
    "Beside",
    "How",
    "Ledger",
    "Look",
    "Places",
    "begin",
    "check_gone",
    "forget_key",
    "is_in",
    "issue",
    "judge",
    "look_again",
    "make_plan",
    "pairs_of",
    "receive",
    "refuse",
    "release",
    "run",
    "say_gone",
    "write_plan",
]

# Imported when first used, by the same few lines as the package: ``multidelete verify`` imports nothing else of ours.
_HOMES = {
    "certificate": "issue",
    "chain": "Ledger",
    "gone": "check_gone say_gone",
    "holders": "Look look_again",
    "judging": "Beside judge",
    "places": "Places begin",
    "plan": "make_plan write_plan",
    "releasing": "refuse release",
    "requests": "forget_key is_in pairs_of receive",
    "running": "run",
    "work": "How",
}
_HOME = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
