"""Commands end with the one that follows, and it can be run as it stands."""

import shlex

import pytest

from multidelete.audits.sentences import Outcome
from multidelete.cli.following import after_audit, after_unlearn
from multidelete.cli.options import AuditOptions, DataOptions, ForgetOptions

DATA = DataOptions(data="my photos/", columns=("text=caption", "id=key"))
REQUEST = ForgetOptions(forget_subject=("Doe, Jane", "O'Neil"), unit="subject")
FLAGS = "--data 'my photos/' --columns text=caption,id=key --forget-subject 'Doe, Jane' --forget-subject 'O'\"'\"'Neil'"


def parsed(command: str) -> list[str]:
    program, *words = shlex.split(command)
    assert program == "multidelete"
    return words


def test_unlearn_is_followed_by_the_audit_of_its_result() -> None:
    command = after_unlearn("original", "unlearned/", "multidelete", [DATA, REQUEST])
    assert command == f"multidelete audit unlearned/ --original original {FLAGS} --unit subject --out unlearned-report"
    assert parsed(command)[parsed(command).index("--forget-subject") + 1] == "Doe, Jane"


def test_retraining_is_followed_by_an_audit_with_it_as_the_yardstick() -> None:
    words = parsed(after_unlearn("original", "retrained", "retrain", [DATA, REQUEST]))
    assert words[:6] == ["audit", "UNLEARNED", "--original", "original", "--retrained", "retrained"]


@pytest.mark.parametrize(
    ("outcome", "retrained", "again", "commands"),
    [
        ("forgotten", None, (), ["unlearn"]),
        ("unjudged", "retrained", (), ["references"]),
        ("forgotten", "retrained", ("other",), []),
        ("unfinished", None, (), ["tune", "unlearn"]),
        ("damaged", "retrained", (), ["tune"]),
    ],
)
def test_audit_is_followed_by_what_mends_or_tells_more(
    outcome: Outcome, retrained: str | None, again: tuple[str, ...], commands: list[str]
) -> None:
    run = AuditOptions(unlearned="unlearned", original="original", retrained=retrained, retrained_again=again)
    found = after_audit(outcome, run, "npo", [DATA, REQUEST])
    assert [parsed(command)[0] for command in found] == commands
    for command in found:
        assert FLAGS in command
        assert parsed(command)[1] == "original"
    if "tune" in commands:
        assert "--method npo --out unlearned-settings.toml" in found[0]


def test_retraining_is_not_offered_where_nothing_tells_how() -> None:
    run = AuditOptions(unlearned="unlearned", original="original")
    found = [after_audit(outcome, run, "npo", [DATA, REQUEST], has_recipe=False) for outcome in ("damaged", "unjudged")]
    assert [[parsed(command)[0] for command in commands] for commands in found] == [["tune"], []]


def test_no_search_is_offered_after_a_run_that_found_its_rate() -> None:
    run = AuditOptions(unlearned="unlearned", original="original", retrained="retrained")
    assert after_audit("unfinished", run, "multidelete", [DATA, REQUEST], finds_its_way=True) == []


def test_defaults_are_not_repeated() -> None:
    data, request = DataOptions(data="personas"), ForgetOptions(forget="request.txt")
    assert after_unlearn("a", "b", "npo", [data, request]) == (
        "multidelete audit b --original a --data personas --forget request.txt --out b-report"
    )
