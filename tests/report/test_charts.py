import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from multidelete.audits.controls import RANDOM_WEIGHTS, UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN, UNLEARNED_AGAIN
from multidelete.report.charts import (
    cost_bars,
    embedding_maps,
    histogram_bins,
    membership_roc,
    model_colour,
    score_histograms,
)
from tests.report.sample import MODELS, chart_data


def test_roc_names_the_area_under_each_curve() -> None:
    svg = membership_roc({"original": np.array([2.0, 3.0])}, {"original": np.array([0.0, 1.0])}).svg
    assert svg is not None
    assert "original  1.00" in svg


@pytest.mark.parametrize(("values", "low", "high"), [([0.0], -0.1, 0.1), ([-3.0, -3.0], -3.3, -2.7)])
def test_bins_of_constant_scores_surround_them(values: list[float], low: float, high: float) -> None:
    np.testing.assert_allclose(histogram_bins([np.array(values)]), [low, high])


def test_bins_span_all_arrays() -> None:
    bins = histogram_bins([np.linspace(-1, 0, 500), np.array([2.0])])
    assert (bins[0], bins[-1]) == (-1, 2)
    assert len(bins) == 37


def test_plots_are_drawn_from_one_value_each() -> None:
    one = {
        model: {"forget": np.array([0.5]), "retain": np.array([0.5]), "holdout": np.array([0.5])} for model in MODELS
    }
    assert score_histograms(one).svg
    assert membership_roc({"original": np.array([0.5])}, {"original": np.array([0.5])}).svg
    assert cost_bars({"unlearned": 0.0, "retrained": 0.0}).svg


def test_missing_data_is_absent_with_a_reason() -> None:
    assert score_histograms({"original": {"forget": np.array([])}}).absent == "no association scores were collected"
    assert membership_roc({"original": np.array([1.0])}, {}).absent == "no membership scores were collected"
    assert cost_bars({}).absent == "no times were recorded"
    assert embedding_maps({})[0] == []
    assert "no place (embedding)" in embedding_maps({})[1]


def test_maps_need_three_retain_pairs_and_some_spread() -> None:
    full = chart_data().embeddings["original"]
    few = replace(full, retain_image=full.retain_image[:2], retain_text=full.retain_text[:2])
    assert embedding_maps({"original": few}) == (
        [],
        "Not drawn: a map needs at least three retain pairs and one forget pair.",
    )
    flat = replace(full, **{name: np.ones_like(array) for name, array in vars(full).items()})
    assert embedding_maps({"original": flat}) == ([], "Not drawn: all points are equal.")


def test_maps_of_all_models_share_their_frame() -> None:
    """A retain pair lies at (nearly) the same place in each plot; its models differ by noise and a rotation only."""
    maps, note = embedding_maps(chart_data().embeddings)
    assert [chart.title for chart in maps] == list(MODELS)
    cut, share = note.split(". ", 1)
    assert cut == "At most 60 deleted and 120 kept pairs are drawn"
    assert re.fullmatch(r"The map shows \d\d% of the spread of the original's embeddings\.", share)


def test_cost_is_told_relative_to_retraining() -> None:
    svg = cost_bars({"unlearned": 10.0, "retrained": 80.0}).svg
    assert svg is not None
    assert "10.0 s, 0.12 \N{MULTIPLICATION SIGN} retraining" in svg
    alone = cost_bars({"unlearned": 10.0}).svg
    assert alone is not None
    assert "retraining" not in alone


def test_colours_of_models_differ_and_unknown_names_have_one() -> None:
    meant = [*MODELS, RETRAINED_AGAIN, UNLEARNED_AGAIN, UNTOUCHED, RANDOM_WEIGHTS]
    assert len({model_colour(model) for model in meant}) == len(meant)
    assert model_colour("grad_diff") == model_colour("grad_diff")


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    first = score_histograms(chart_data().scores).svg
    assert dict(mpl.rcParams) == before
    assert first == score_histograms(chart_data().scores).svg


def test_names_in_other_scripts_are_drawn_without_warning() -> None:
    svg = cost_bars({"模型": 1.0}).svg  # a letter the layout font lacks: the reader's browser has it
    assert svg is not None
    assert "模型" in svg
