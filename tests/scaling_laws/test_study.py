"""A study survives its JSON, and its plots show what it says."""

import json
import math
import warnings

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from scaling_laws import FitWarning, Interval, RunsError, Study, StudyError, choice_to_json, study_runs
from scaling_laws.plots import plot_epochs, plot_frontier, plot_residuals
from tests.scaling_laws.simulated import SIZE, simulate


@pytest.fixture(scope="module")
def study():
    return study_runs(simulate(0.0024), n_draws=200)


def test_a_saved_study_answers_the_same(study, tmp_path):
    study.save(tmp_path / "law.json")
    loaded = Study.load(tmp_path / "law.json")
    one, other = (s.choose([3e7, 1e8], keep_ratios=(1.0, 0.5)) for s in (study, loaded))
    assert choice_to_json(one) == choice_to_json(other)
    assert loaded.intervals == dict(study.intervals)
    assert loaded.profiles == dict(study.profiles)
    assert loaded.warnings == study.warnings
    pd.testing.assert_frame_equal(loaded.runs, study.runs, check_dtype=False)


def test_the_document_is_plain_json_with_every_interval(study, tmp_path):
    study.save(tmp_path / "law.json")
    text = (tmp_path / "law.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    document = json.loads(text)
    assert set(document["parameters"]["half_life[a]"]) == {"estimate", "low", "high", "level"}
    assert set(document["half_life_profiles"]) == {f"half_life[{name}]" for name in "abcd"}
    assert document["measured"]["most_epochs"] == 10.0


def test_an_unbounded_half_life_is_null_in_json_and_infinite_again(tmp_path):
    runs = simulate(0.002, truth={"fresh": (-0.2, math.inf), "other": (-0.1, 3.0)})
    study = study_runs(runs, n_draws=100)
    study.save(tmp_path / "law.json")
    loaded = Study.load(tmp_path / "law.json")
    assert loaded.profiles["half_life[fresh]"].high == math.inf
    assert any("half_life[fresh]" in message for message in loaded.warnings)
    assert (loaded.draws.half_lives == study.draws.half_lives).all()


def test_seeds_make_the_bootstrap_parametric_and_a_study_warns_nobody_by_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitWarning)
        assert study_runs(simulate(0.002, n_seeds=3), n_draws=50).settings["bootstrap"] == "parametric"


def test_baselines_travel_with_the_study(study):
    assert study.baselines["single-scale ranking"] == "a"
    assert {"no decay", "data-constrained"} <= set(study.baselines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable"),
        ("[]", "no law"),
        ('{"document": "other"}', "no law"),
        ('{"document": "curate scaling law", "version": 99}', "version 99"),
        ('{"document": "curate scaling law", "version": 1}', "damaged"),
    ],
)
def test_what_is_no_study_is_named(tmp_path, text, message):
    (tmp_path / "law.json").write_text(text)
    with pytest.raises(StudyError, match=message):
        Study.load(tmp_path / "law.json")


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(StudyError, match="not readable"):
        Study.load(tmp_path / "law.json")


def test_runs_that_cannot_be_fitted_are_refused():
    with pytest.raises(RunsError):
        study_runs(simulate(epochs=(2,)))


def test_the_frontier_shows_every_winner_with_a_band_and_every_switch(study):
    choice = study.choose([3e7, 1e8])
    figure = plot_frontier(study, "subsets", choice)
    axes = figure.axes[0]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "a"
    assert {"frontier", "chosen"} <= set(labels)
    notes = [text.get_text() for text in axes.texts]
    assert any(note.startswith("switch at") for note in notes)
    assert axes.get_xscale() == "log"


def test_epoch_and_residual_plots_show_every_pool(study):
    for figure in (plot_epochs(study), plot_residuals(study)):
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert [label[0] for label in labels[:4]] == list("abcd")
        assert figure.axes[0].get_xlabel()
        assert figure.axes[0].get_ylabel()


def test_no_legend_lies_on_a_plot(study):
    for figure in (plot_frontier(study), plot_epochs(study), plot_residuals(study)):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        axes, legend = figure.axes[0].get_tightbbox(), figure.legends[0].get_window_extent()
        assert not axes.overlaps(legend)
        assert legend.y0 >= 0
        assert axes.height > 3 * figure.dpi  # inches


def test_interval_of_a_loaded_document_keeps_open_ends(tmp_path, study):
    assert isinstance(study.intervals["anchor"], Interval)
    assert study.pools.pool("a").size == SIZE
