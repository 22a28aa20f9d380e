"""The theory of pruning: stored vectors, a simulation, the limits and the break-even table of the sheet."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.optimize import nnls
from scipy.stats import norm

from scaling_laws.sorscher import break_even, solve_perceptron, theory_error
from scaling_laws.sorscher_plots import LABEL, plot_abundance, plot_break_even, plot_kept_share

POINTS = json.loads((Path(__file__).parent / "vectors" / "perceptron.json").read_text())["points"]


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p['alpha_kept']}-{p['theta_deg']}-{p['f']}")
def test_stored_points(point):
    found = solve_perceptron(point["alpha_kept"], point["f"], point["keep"] or "random", point["theta_deg"])
    assert found.error == pytest.approx(point["eps"], rel=1e-9)
    assert found.margin == pytest.approx(point["kappa"], rel=1e-9)
    assert found.overlap == pytest.approx(point["R"], rel=1e-9)


@pytest.mark.parametrize(
    ("ratio", "errors"),
    [
        (1.0, [0.266, 0.188, 0.143, 0.114]),
        (0.5, [0.321, 0.136, 0.081, 0.061]),
        (0.1, [0.458, 0.076, 0.0176, 0.0126]),
        (0.02, [0.49, 0.044, 0.0035, 0.0025]),
    ],
)
def test_pruning_turns_a_power_law_into_a_steep_fall(ratio, errors):
    kept = np.array([1.0, 2.0, 3.0, 4.0])
    found = theory_error(kept / ratio, ratio, "hard")
    digits = [len(str(error)) - 2 for error in errors]
    assert [round(float(e), d) for e, d in zip(found, digits, strict=True)] == errors


def test_without_selection_error_falls_as_one_over_samples():
    assert 1000 * theory_error(1000.0) == pytest.approx(0.50049, abs=1e-5)


def test_hard_samples_of_plenty_are_worth_all_of_them():
    assert theory_error(80.0, 0.1, "hard") == pytest.approx(float(theory_error(80.0)), rel=0.01)


@pytest.mark.parametrize("keep", ["hard", "easy"])
@pytest.mark.parametrize("angle", [0.0, 20.0, 70.0])
def test_keeping_nearly_all_does_not_depend_on_the_probe(keep, angle):
    nearly = theory_error([0.5, 4.0, 50.0], 1 - 1e-7, keep, angle)
    np.testing.assert_allclose(nearly, theory_error([0.5, 4.0, 50.0]), rtol=1e-4)


def test_random_pruning_is_having_fewer_samples():
    assert theory_error(8.0, 0.25, "random", 30.0) == theory_error(2.0)


@pytest.mark.parametrize("keep", ["hard", "easy"])
@pytest.mark.parametrize("angle", [0.0, 1.0, 40.0, 85.0])
@pytest.mark.parametrize("ratio", [0.02, 0.5])
def test_error_falls_with_abundance_everywhere(keep, angle, ratio):
    errors = theory_error(np.geomspace(0.01, 1000, 15), ratio, keep, angle)
    assert (errors < 0.5).all()
    assert (np.diff(errors) < 0).all()


def test_the_result_has_the_order_and_shape_asked_for():
    asked = np.array([[4.0, 1.0], [2.0, 4.0]])
    found = theory_error(asked)
    assert found.shape == (2, 2)
    assert found[0, 0] == found[1, 1] < found[1, 0] < found[0, 1]


@pytest.mark.parametrize(
    ("kept", "angle", "ratio", "keep"),
    [(2.0, 0, 0.5, "hard"), (0.5, 0, 0.5, "easy"), (1.8, 40, 0.3, "hard"), (3.0, 30, 0.6, "easy")],
)
@pytest.mark.slow
def test_simulated_perceptrons_agree(kept, angle, ratio, keep):
    errors = [simulated_error(200, kept, angle, ratio, keep, seed) for seed in range(24)]
    spread = np.std(errors, ddof=1) / np.sqrt(len(errors))
    expected = float(theory_error(kept / ratio, ratio, keep, angle))
    assert np.mean(errors) == pytest.approx(expected, abs=4 * spread)


@pytest.mark.parametrize(
    ("angle", "ratio", "random", "easy"),
    [
        (0, 0.8, 1.40, 9.7),
        (0, 0.5, 2.90, 5.2),
        (0, 0.3, 5.5, 7.4),
        (0, 0.1, 18.4, 20.3),
        (10, 0.8, 1.44, 2.6),
        (10, 0.5, 3.09, 4.6),
        (10, 0.3, 6.6, 8.4),
        (10, 0.1, 47.8, 50.2),
        (20, 0.8, 1.56, 2.0),
        (20, 0.5, 3.77, 4.3),
        (20, 0.3, 10.1, 10.5),
        (20, 0.1, None, None),
        (40, 0.8, 2.03, 2.0),
        (40, 0.5, 6.3, 4.5),
        (40, 0.3, 22, 11),
        (40, 0.1, None, None),
    ],
)
@pytest.mark.slow
def test_break_even_table(angle, ratio, random, easy):
    # The sheet's entries were read off a grid of abundances: up to 3 % from where the errors are equal, which
    # the next test checks without a table.
    for rival, expected in (("random", random), ("easy", easy)):
        found = break_even(ratio, rival, angle)
        assert found == (expected if expected is None else pytest.approx(expected, rel=0.035))


@pytest.mark.parametrize(
    ("ratio", "rival", "angle"), [(0.5, "random", 0), (0.5, "easy", 0), (0.3, "easy", 10)]
)
def test_at_break_even_errors_are_equal_and_then_hard_wins(ratio, rival, angle):
    at = break_even(ratio, rival, angle)
    hard, other = (theory_error([at * 0.95, at, at * 1.05], ratio, k, angle) for k in ("hard", rival))
    assert hard[1] == pytest.approx(other[1], rel=1e-6)
    assert hard[0] > other[0]
    assert hard[2] < other[2]


def test_break_even_tends_to_the_capacity_of_a_perceptron():
    kept = [ratio * break_even(ratio, most_abundance=400) for ratio in (0.1, 0.03, 0.01)]
    assert kept == sorted(kept)
    assert kept[-1] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0.0,), "samples per parameter"),
        ((np.nan,), "samples per parameter"),
        ((1.0, 0.0), "keep_ratio"),
        ((1.0, 1.5), "keep_ratio"),
        ((1.0, 0.5, "middle"), "keep"),
        ((1.0, 0.5, "hard", 90.0), "probe_angle"),
        ((1.0, 0.5, "hard", -1.0), "probe_angle"),
    ],
)
def test_arguments_outside_their_range_are_refused(arguments, word):
    for function in (solve_perceptron, theory_error):
        with pytest.raises(ValueError, match=word):
            function(*arguments)


def test_break_even_needs_something_to_prune():
    with pytest.raises(ValueError, match="keep ratio"):
        break_even(1.0)
    with pytest.raises(ValueError, match="most_abundance"):
        break_even(0.5, most_abundance=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("plot", [plot_abundance, plot_kept_share, plot_break_even])
def test_every_plot_says_that_it_is_theory(plot):
    figure = plot(probe_angle=20.0)
    words = [text.get_text() for text in figure.findobj(Text)]
    assert any(LABEL in text for text in words)


def simulated_error(size, kept, angle, ratio, keep, seed):
    """Train one perceptron of greatest margin on selected Gaussian samples and return its error."""
    rng = np.random.default_rng(seed)
    teacher, other = np.eye(size)[:2]
    probe = np.cos(np.radians(angle)) * teacher + np.sin(np.radians(angle)) * other
    # Draw the coordinate along the probe from the part that is kept.
    share = rng.uniform(size=round(kept * size)) * ratio + (0 if keep == "hard" else 1 - ratio)
    along = norm.ppf((1 + share) / 2) * rng.choice([-1, 1], len(share))
    inputs = rng.normal(size=(len(share), size))
    inputs += np.outer(along - inputs @ probe, probe)
    rows = inputs * np.sign(inputs @ teacher)[:, None]
    # The greatest margin is the least point of the convex hull of the rows: one non-negative least squares.
    design = np.vstack([rows.T / np.sqrt(size), np.ones(len(rows))])
    student = rows.T @ nnls(design, np.r_[np.zeros(size), 1.0])[0]
    return np.arccos(student @ teacher / np.linalg.norm(student)) / np.pi
