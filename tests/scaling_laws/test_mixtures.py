"""Mixtures against published values, and the identities that any mixing rule must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_laws import FORMS, Mixture, Pool, RepetitionLaw, make_pool_law, mixture

FUNCTIONS = {"effective_utility": "code", "effective_data": "effective_data", "paper_closed_form": "paper"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_mixture_values_match_the_published_ones(law_values, recovered, function):
    for case in law_values["mixture"]:
        pools = recovered(case["param_set"], FUNCTIONS[function], case["num_buckets"])
        mixed = mixture(pools)
        assert mixed.size == case["total_unique"]
        assert mixed.predict(case["samples_seen"]) == pytest.approx(case[function], abs=1e-12, rel=0)


@given(st.sampled_from(FORMS), st.floats(0.1, 0.9), st.floats(0.3, 50), st.floats(0.1, 20))
def test_cutting_a_pool_in_two_unequal_parts_and_mixing_them_gives_the_pool_back(form, share, tau, passes):
    whole = Pool("whole", 1e7, make_pool_law(form, -0.15, tau, 1e6, 0.1))
    parts = [whole.subsample(share), whole.subsample(1 - share)]
    mixed = mixture([Pool(f"part{i}", part.size, part.law) for i, part in enumerate(parts)])
    assert mixed.predict(passes * 1e7) == pytest.approx(whole.predict(passes * 1e7), rel=1e-10)


@given(st.permutations(range(4)), st.floats(1e7, 1e9))
def test_the_order_of_pools_does_not_matter(order, samples):
    pools = [Pool(str(i), (i + 1) * 5e6, RepetitionLaw(-0.1 - 0.02 * i, 3.0 + i, 4e6, 0.1)) for i in range(4)]
    assert mixture([pools[i] for i in order]).predict(samples) == pytest.approx(
        mixture(pools).predict(samples)
    )


def test_a_mixture_of_one_is_the_pool():
    pool = Pool("a", 1e7, RepetitionLaw(-0.15, 5.0, 4e6, 0.1))
    samples = np.geomspace(1e6, 1e9, 7)
    assert mixture([pool]).predict(samples) == pytest.approx(pool.predict(samples))


def test_keep_ratios_shorten_half_lives_and_sizes():
    pool = Pool("a", 1e7, RepetitionLaw(-0.15, 5.0, 4e6, 0.1))
    half = mixture([pool], [0.5]).pools[0]
    assert (half.size, half.law.half_life) == (5e6, 2.5)
    assert half.predict(4e6) == pool.predict(4e6)
    assert half.predict(4e7) > pool.predict(4e7)


def test_mean_of_four_buckets_predicts_the_random_control_a_little_high(recovered):
    """Theorem 1 on real parameters: the sheet, section 1.4, gives +.005 to +.011 of error."""
    *buckets, control = recovered("tmars_imagenet1k_utility", "paper")
    quarter = mixture(buckets, [0.25] * 4)
    gap = quarter.predict(np.arange(2, 11, 2) * 12.8e6) - control.predict(np.arange(2, 11, 2) * 12.8e6)
    assert 0.004 < gap.min() < 0.007
    assert 0.009 < gap.max() < 0.012


def test_pools_that_do_not_belong_together_are_refused():
    a = Pool("a", 1e7, RepetitionLaw(-0.15, 5.0, 4e6, 0.1))
    b = Pool("b", 1e7, RepetitionLaw(-0.15, 5.0, 5e6, 0.1))
    with pytest.raises(ValueError, match="share"):
        mixture([a, b])
    with pytest.raises(ValueError, match="twice"):
        mixture([a, a])
    with pytest.raises(ValueError, match="at least one"):
        Mixture(())
    with pytest.raises(ValueError, match="keep_ratio"):
        a.subsample(1.5)
    with pytest.raises(ValueError, match="keep ratios"):
        mixture([a], [0.5, 0.5])
    with pytest.raises(ValueError, match="size"):
        Pool("a", -1, a.law)
