"""Groups of samples that grow together as pairs of duplicates are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def join(group: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return groups, (n,), after pairs of members are joined; a group is named after its lowest member."""
    from scipy.sparse import coo_matrix  # no command that joins nothing should wait for scipy
    from scipy.sparse.csgraph import connected_components

    n = len(group)
    a, b = group[pairs[:, 0]], group[pairs[:, 1]]
    _, label = connected_components(coo_matrix((np.ones(len(a), bool), (a, b)), (n, n)), directed=False)
    first = np.full(label.max(initial=-1) + 1, n)
    np.minimum.at(first, label, np.arange(n))
    joined: NDArray[np.int64] = first[label][group]
    return joined


def with_earlier(
    survivor: NDArray[np.int64],
    group: NDArray[np.int64],
    earlier: NDArray[np.int64],
    generation: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Return who survives of each sample's group, where groups may be like samples of earlier generations.

    All of such a group goes, as copies of what the earlier sample is a copy of, or of that itself: what an
    earlier generation kept stays. That is what chains across generations come to, one generation at a time.

    Parameters
    ----------
    survivor
        The survivor of each sample's own group, shape (n,).
    group
        Groups as of `join`, each within one generation, shape (n,).
    earlier
        The first sample of an earlier generation that each is like; n where there is none. Shape (n,).
    generation
        Shape (n,).
    """
    n = len(group)
    first = np.full(n, n)
    np.minimum.at(first, group, earlier)
    found = first[group]
    survivor = survivor.copy()
    copies = np.flatnonzero(found < n)
    for number in np.unique(generation[copies]):
        own = copies[generation[copies] == number]
        survivor[own] = survivor[found[own]]
    return survivor
