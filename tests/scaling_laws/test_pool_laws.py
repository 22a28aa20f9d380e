"""The laws against values of the published code and closed form, and what must hold for any law."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_laws import FORMS, RepetitionLaw, make_pool_law
from scaling_laws.effective_data import log_effective_samples, log_effective_samples_and_slope

FUNCTIONS = {"effective_utility": "code", "effective_data": "effective_data", "paper_closed_form": "paper"}
forms = st.sampled_from(FORMS)
half_lives = st.floats(0.05, 500)
epochs = st.floats(0.05, 60)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_single_pool_values_match_the_published_ones(law_values, function):
    for case in law_values["single"]:
        law = make_pool_law(FUNCTIONS[function], case["b"], case["tau"], 1e5 / case["a_code"], case["d"])
        value = law.predict(case["samples_seen"], case["samples_per_epoch"])
        assert value == pytest.approx(case[function], abs=1e-12, rel=0)


def test_effective_samples_match_the_published_ones(law_values):
    for case in law_values["single"]:
        anchor = 1e5 / case["a_code"]
        law = make_pool_law("effective_data", case["b"], case["tau"], anchor, case["d"])
        found = law.effective_samples(case["samples_seen"], case["samples_per_epoch"]) / anchor
        assert found == pytest.approx(case["effective_samples"], rel=1e-12)


@given(forms, half_lives, st.integers(1, 20))
def test_laws_are_continuous_at_the_end_of_an_epoch(form, half_life, count):
    law = make_pool_law(form, -0.15, half_life, 4e6, 0.1)
    around = law.predict(np.array([count - 1e-7, count, count + 1e-7]) * 1e7, 1e7)
    assert np.ptp(around) < 1e-6


@given(forms, half_lives, epochs, st.floats(1e-3, 1e3))
def test_nothing_depends_on_the_unit_of_samples(form, half_life, passes, unit):
    raw = make_pool_law(form, -0.2, half_life, 4e6, 0.1).predict(passes * 1e7, 1e7)
    scaled = make_pool_law(form, -0.2, half_life, 4e6 * unit, 0.1).predict(passes * 1e7 * unit, 1e7 * unit)
    assert scaled == pytest.approx(raw, rel=1e-9)


@given(forms, half_lives, epochs, epochs)
def test_more_samples_never_hurt(form, half_life, some, more):
    law = make_pool_law(form, -0.2, half_life, 4e6, 0.0)
    low, high = sorted((some, more))
    assert law.predict(high * 1e7, 1e7) <= law.predict(low * 1e7, 1e7) + 1e-12


@given(forms, half_lives, half_lives, epochs)
def test_a_longer_half_life_never_hurts(form, one, other, passes):
    short, long = sorted((one, other))
    n = passes * 1e7
    assert log_effective_samples(n, 1e7, long, form) >= log_effective_samples(n, 1e7, short, form) - 1e-12


@given(forms, epochs)
def test_without_decay_every_sample_is_fresh(form, passes):
    assert log_effective_samples(passes, 1.0, math.inf, form) == pytest.approx(math.log(passes), abs=1e-12)


@given(forms, half_lives, st.floats(1.01, 60))
def test_slope_in_the_half_life_is_the_derivative(form, half_life, passes):
    step = 1e-5
    slope = log_effective_samples_and_slope(passes, 1.0, half_life, form)[1]
    up, down = (log_effective_samples(passes, 1.0, half_life * math.exp(s), form) for s in (step, -step))
    assert slope == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_a_million_epochs_need_no_memory_and_agree_with_the_harmonic_limit():
    gain = log_effective_samples(1e6, 1.0, math.inf)
    assert gain == pytest.approx(math.log(1e6), rel=1e-12)


def test_below_the_anchor_the_error_exceeds_one():
    assert RepetitionLaw(-0.16, 6.73, 4.0e6, 0.1).predict(3.2e6, 12.8e6) > 1.0
    assert RepetitionLaw(-0.16, 6.73, 4.0e6, 0.1).predict(4.0e6, 12.8e6) == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"exponent": 0.1}, "exponent"),
        ({"half_life": 0.0}, "half_life"),
        ({"half_life": math.nan}, "half_life"),
        ({"anchor": -1.0}, "anchor"),
        ({"irreducible": -0.1}, "irreducible"),
        ({"form": "guess"}, "form"),
    ],
)
def test_nonsense_parameters_are_named(change, word):
    sound = {"exponent": -0.16, "half_life": 6.73, "anchor": 4e6, "irreducible": 0.1}
    with pytest.raises(ValueError, match=word):
        RepetitionLaw(**(sound | change))


@pytest.mark.parametrize("arguments", [(-1.0, 1e7), (0.0, 1e7), (1e7, 0.0)])
def test_samples_and_sizes_must_be_positive(arguments):
    with pytest.raises(ValueError, match="positive"):
        RepetitionLaw(-0.16, 6.73, 4e6, 0.1).predict(*arguments)
