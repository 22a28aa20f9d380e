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
