import base64
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multidelete.audits.judgement import ScoreRow
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.audits.verdict import Outcome, Verdict
from multidelete.report.build import Example, Extreme, Match, ReportContent, build_report
from multidelete.report.charts import ChartData
from tests.report.sample import Arguments, arguments, example, page

NASTY = """$a_1$<script>alert(1)</script> " onerror='steal()' --> &"""
Build = Callable[..., str]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def write(given: Arguments, *, show_forgotten: bool = False, forgotten: tuple[str, ...] = ()) -> str:
        content = ReportContent(**given, show_forgotten=show_forgotten, forgotten=forgotten)
        return page(tmp_path, build_report(tmp_path, content))

    return write


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the arguments as they are."""
    folder = tmp_path_factory.mktemp("plain")
    return page(folder, build_report(folder, ReportContent(**arguments(), show_forgotten=False)))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """That which shows what was deleted."""
    folder = tmp_path_factory.mktemp("shown")
    return page(folder, build_report(folder, ReportContent(**arguments(), show_forgotten=True)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """That without a retrained model."""
    folder = tmp_path_factory.mktemp("alone")
    given = arguments(("original", "unlearned"))
    return page(folder, build_report(folder, ReportContent(**given, show_forgotten=False)))


def undrawn() -> Arguments:
    """Without plots, which take most of the time."""
    return {**arguments(), "charts": ChartData()}


class Tags(HTMLParser):
    """Collects elements with their attributes, and the text between them."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_says_verdict_scorecard_and_settings(plain: str) -> None:
    text = " ".join(Tags(plain).text.split())
    assert (
        "✕ Damaged: the model has lost what it should have kept Of 4 people to be forgotten the original finds 4"
        in text
    )
    assert "What to do next Do not use this model." in text
    assert "1 of 4 met, 1 missed, 1 unclear, 1 not judged" in text
    for badge in ("✓ met", "✕ missed", "? unclear", "\N{EN DASH} not judged"):
        assert text.count(badge) == 1
    kept = text.partition("Other training pairs are found as before")[2]
    assert kept.startswith(" recall@1 image to text (retain sample) 0.744 0.648 to 0.840 n = 80 0.660")
    assert "+0.013 \N{MINUS SIGN}0.023 to +0.056" in text  # the gap to the yardstick with its interval
    assert "to retrained \N{MINUS SIGN}0.090" in kept  # the yardstick is the original: both distances are told
    assert "settings.weights.unimodal 0.1" in text
    assert "What this report does not show" in text


@pytest.mark.parametrize(
    ("outcome", "symbol"),
    [("forgotten", "✓"), ("unfinished", "✕"), ("over-forgotten", "✕"), ("damaged", "✕"), ("unjudged", "\N{EN DASH}")],
)
def test_every_outcome_has_its_headline_and_a_symbol(build: Build, outcome: Outcome, symbol: str) -> None:
    given = undrawn()
    given["verdict"] = replace(given["verdict"], outcome=outcome, headline="Word: what it means")
    text = " ".join(Tags(build(given)).text.split())
    assert f"Deletion report {symbol} Word: what it means Of 4 people to be forgotten" in text


def test_same_arguments_give_same_bytes(build: Build, plain: str, shown: str) -> None:
    assert build(arguments(), show_forgotten=True) == shown
    assert build(arguments()) == plain


@pytest.mark.parametrize("show_forgotten", [False, True])
def test_page_loads_nothing(plain: str, shown: str, show_forgotten: bool) -> None:
    markup = shown if show_forgotten else plain
    seen = Tags(markup)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(seen.tags)
    loaded = [v for name, v in seen.attributes if name in ("src", "href", "xlink:href", "srcset", "data", "action")]
    assert loaded  # the plots' own markers, and pictures where they are shown
    assert all(v.startswith(("#", "data:image/png;base64,")) for v in loaded)
    assert not re.search(r"https?://|url\((?!#)|@import", markup)


def test_ids_are_unique_and_references_resolve(plain: str) -> None:
    seen = Tags(plain)
    ids = [v for name, v in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    referred = {v[1:] for name, v in seen.attributes if name == "href"}
    referred |= {found for _, v in seen.attributes for found in re.findall(r"url\(#([^)]+)\)", v)}
    assert referred
    assert referred <= set(ids)


def test_default_keeps_nothing_of_forget_pairs(plain: str) -> None:
    given, markup = arguments(), plain
    for one in given["examples"]:
        for secret in (one.id, one.subject, one.caption, one.matches["original"][1][0]):
            assert secret is not None
            assert secret not in markup
    assert "Quellby" not in markup
    assert "Mirel" not in markup  # other people's captions are nobody's business either
    assert "<img" not in markup
    assert "data:image" not in markup.replace("img-src data:", "")
    assert len(re.findall(r"pair [0-9a-f]{6}", markup)) == len(given["examples"])
    assert "140.5" in markup  # the ranks stay


def test_hashes_cannot_be_recomputed_from_ids_alone(build: Build) -> None:
    given = undrawn()
    first = set(re.findall(r"pair [0-9a-f]{6}", build(given)))
    other_picture = replace(given["examples"][0], image=Image.new("RGB", (9, 9), "white"))
    second = set(re.findall(r"pair [0-9a-f]{6}", build({**given, "examples": [other_picture, *given["examples"][1:]]})))
    assert len(first) == len(second) == 4
    assert not first & second


def test_default_withholds_names_that_callers_left_in_run_and_notes(build: Build) -> None:
    given = undrawn()
    shown = given["examples"][0]
    given["run"] |= {"request": {"subject": shown.subject, "ids": [shown.id, "77"]}, "out": f"/data/{shown.id}_gone"}
    given["figures"].append(
        Figure(audit="utility", measure=Measure("x"), model="unlearned", absent=f"no gallery for {shown.id}")
    )
    given["verdict"] = replace(given["verdict"], sentences=[f"{shown.subject} is gone", "hidden friend is gone"])
    markup = build(given, forgotten=("77", "Hidden Friend"))
    assert shown.id not in markup
    assert "Quellby" not in markup
    assert "hidden friend" not in markup.lower()
    assert "no gallery for (withheld)" in markup
    assert "(withheld), (withheld)" in markup  # both ids of the request
    assert shown.id in build(given, show_forgotten=True)


def test_shown_examples_have_picture_caption_and_marked_match(shown: str) -> None:
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    assert len(pictures) == 4
    opened = Image.open(BytesIO(base64.b64decode(pictures[1])))
    assert opened.size == (77, 96)
    assert opened.getpixel((5, 5)) == (60, 120, 160)
    assert "Zorvan1 Quellby, clockmaker from Umberly" in shown
    assert shown.count("own caption</em>") == 4  # only the original finds it
    assert "(deleted too)" in shown


def test_thumbnails_drop_metadata_of_the_picture(build: Build) -> None:
    source = Image.new("RGB", (40, 40))
    source.info["comment"] = b"taken at home"
    source.getexif()[0x010E] = "taken at home"
    given = undrawn()
    given["examples"] = [replace(given["examples"][0], image=source)]
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', build(given, show_forgotten=True))
    assert b"taken at home" not in base64.b64decode(picture)


@pytest.mark.parametrize("show_forgotten", [False, True])
def test_everything_from_outside_is_escaped(build: Build, show_forgotten: bool) -> None:
    row = ScoreRow(criterion="forgetting", target=NASTY, note=NASTY)
    scores = {NASTY: {"forget": np.arange(9.0), "retain": np.arange(9.0)}}
    given: Arguments = {
        "run": {"model": NASTY, "data": [NASTY], "settings": {NASTY: NASTY}},
        "figures": [
            Figure(audit=NASTY, measure=Measure(NASTY), model=NASTY, split=NASTY, value=0.5, note=NASTY),
            Figure(audit=NASTY, measure=Measure("b"), model=NASTY, absent=NASTY),
        ],
        "verdict": Verdict("unjudged", NASTY, [NASTY], [row]),
        "charts": ChartData(
            scores=scores,
            members={NASTY: np.arange(4.0)},
            nonmembers={NASTY: np.arange(4.0)},
            embeddings={NASTY: next(iter(arguments()["charts"].embeddings.values()))},
            seconds={NASTY: 3.0, "retrained": 4.0},
        ),
        "examples": [
            Example(
                id="plain",
                subject=None if not show_forgotten else NASTY,
                image=None,
                caption=NASTY if show_forgotten else "plain caption",
                matches={NASTY: [Match(NASTY, 0.1, show_forgotten, show_forgotten)]},
                rank={NASTY: 1.0},
            )
        ],
    }
    markup = build(given, show_forgotten=show_forgotten)
    seen = Tags(markup)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert "<script" not in markup
    in_plots = Tags("".join(re.findall(r"<svg.*?</svg>", markup, flags=re.DOTALL)))
    assert in_plots.text.count("<script>alert(1)") >= 3  # histogram, attack and cost name the model,
    assert in_plots.text.count("$a_1$") >= 3  # and no formula was made of it


def test_absent_figures_stand_with_their_reason(plain: str) -> None:
    assert "absent: needs at least 20 forget pairs, there are 8" in plain
    assert "1 figure could not be measured" in plain


def test_void_figures_are_marked_with_their_reason_and_not_drawn(build: Build, plain: str) -> None:
    """An audit that got a control wrong: told once in words, at each of its values, and its plot is left out."""
    given = arguments()
    plots = plain.count("<svg")
    why = "random weights: auc of score is 0.900"
    given["figures"] = [replace(f, void=why) if f.audit == "membership" else f for f in given["figures"]]
    markup = build(given)
    of_audit = [f for f in given["figures"] if f.audit == "membership" and f.value is not None]
    assert markup.count('<span class="absent">void</span>') == len(of_audit) > 0
    assert (
        f"Void: the figures of membership do not count, since a model whose answers are known came out wrong ({why})"
        in (markup)
    )
    assert f"Not drawn: these figures are void ({why})" in markup
    assert markup.count("<svg") == plots - 1
    assert "Void:" not in plain


def test_missing_retrained_model_is_said_not_invented(plain: str, alone: str) -> None:
    text = " ".join(Tags(alone).text.split())
    assert "No retrained model was given" in text
    assert "Without a retrained model nobody knows the values to aim at" in text
    assert ">0.538<" not in alone
    assert ">0.538<" in plain
    assert "0 of 4 met, 4 not judged. No retrained model was given to measure them by." in text


def test_report_without_a_retrained_model_speaks_of_none(alone: str) -> None:
    """But for the sentences that say that there is none, wherever words, legends and plots stand."""
    text = " ".join(Tags(alone).text.split())
    speak = [sentence for sentence in re.split(r"(?<=[.:]) ", text) if "retrain" in sentence.lower()]
    assert [re.sub(r"^.*?(?=No retrained|Without)", "", sentence)[:30] for sentence in speak] == [
        "No retrained model was given t", "No retrained model was given, ", "Without a retrained model nobo",
    ]  # fmt: skip
    for word in (
        "yardstick is the retrained",
        "Unlearned should follow the diagonal",
        "coloured field should lie where",
    ):
        assert (word in text) == (not word.startswith("yardstick"))


def test_judged_models_and_request_are_named_by_digests(build: Build, plain: str) -> None:
    text = " ".join(Tags(plain).text.split())
    judged = text.partition("What was judged ")[2].partition("Scorecard")[0]
    assert f"original sha256 {60 * 'a'} unlearned sha256 {60 * 'b'}" in judged
    assert "What was judged" not in build(undrawn() | {"run": {}})


def test_lists_that_are_cut_say_so(build: Build) -> None:
    for show in (False, True):
        markup = build(undrawn() | {"deleted": 40}, show_forgotten=show)
        assert "Shown are 4 of 40 deleted pairs" in markup
        assert "Shown are" not in build(undrawn() | {"deleted": 4}, show_forgotten=show)
    few = build(arguments() | {"deleted": 40, "extremes": [extreme(1, 2.25)]})
    assert "These are the 1 deleted" not in few
    assert "This is the 1 deleted pair of 40 on which" in few
    assert "At most 60 deleted and 120 kept pairs are drawn." in few


def test_empty_run_gives_page_with_reasons(build: Build) -> None:
    given: Arguments = {
        "run": {},
        "figures": [],
        "verdict": Verdict("unjudged", "Nothing was measured", [], []),
        "charts": ChartData(),
        "examples": [],
    }
    markup = build(given)
    assert "<svg" not in markup
    assert markup.count("Not drawn: ") == 4
    assert "Not shown: the models were not asked which text of all belongs to a pair." in markup


def test_page_is_written_where_the_folder_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    assert build_report(out, ReportContent(**arguments(), show_forgotten=False)) == out / "report.html"


def test_arguments_are_not_changed(build: Build) -> None:
    given = arguments()
    before = json.dumps([given["run"], [asdict(f) for f in given["figures"]], asdict(given["verdict"])])
    build(given, forgotten=("clip",))
    assert json.dumps([given["run"], [asdict(f) for f in given["figures"]], asdict(given["verdict"])]) == before


def test_example_without_picture_and_with_plain_tuples_is_shown(build: Build) -> None:
    given = undrawn()
    bare = replace(example(0), image=None, matches={"original": [Match("found caption", 0.5, False, False)]})
    markup = build({**given, "examples": [bare]}, show_forgotten=True)
    assert "found caption" in markup
    assert "<img" not in markup


def extreme(number: int, gap: float) -> Extreme:
    picture = Image.new("RGB", (8, 8), (number, 0, 0))
    margin = {"original": 4.0, "unlearned": 1.5 + gap, "retrained": 1.5}
    return Extreme(
        id=f"far-{number}", subject=f"Remo {number}", image=picture, caption=f"Remo {number}, a glazier",
        about="gene 7 with fever; label: relation", margin=margin,
    )  # fmt: skip


def test_pairs_farthest_from_the_retrained_model_are_numbers_unless_shown(build: Build, plain: str) -> None:
    given = undrawn() | {"extremes": [extreme(1, 2.25), extreme(2, -0.75)]}
    hidden, shown = build(given), build(given, show_forgotten=True)
    for content in (hidden, shown):
        text = " ".join(Tags(content).text.split())
        assert "Farthest from the retrained model" in text
        assert re.search(r"\+2\.250 4\.000 3\.750 1\.500", text)
        assert re.search("\N{MINUS SIGN}0\\.750 4\\.000 0\\.750 1\\.500", text)
        above, below = text.index("Above the retrained model"), text.index("Below the retrained model")
        assert above < text.index("+2.250") < below < text.index("\N{MINUS SIGN}0.750 4.000")
    for secret in ("far-1", "Remo", "glazier", "gene 7 with"):
        assert secret not in hidden
        assert secret in shown
    assert shown.count("data:image/png") == hidden.count("data:image/png") + 4 + 2
    assert "Farthest from" not in plain


def test_numbers_of_a_pair_whose_content_is_unknown_cannot_be_guessed_by_its_id(build: Build) -> None:
    """Without examples too, the salt of the names is something that only holders of the pairs have."""
    given = undrawn() | {"examples": [], "extremes": [extreme(1, 1.0)]}
    other = undrawn() | {"examples": [], "extremes": [replace(extreme(1, 1.0), caption="another")]}
    names = [re.findall("pair [0-9a-f]{6}", build(g)) for g in (given, other)]
    assert len(names[0]) == len(names[1]) == 1
    assert names[0] != names[1]
