"""What DataComp's baselines ask of a caption, a size and a vector, as functions on Arrow columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_ROWS_PER_BLOCK = 256


def basic_rules(table: pa.Table) -> list[tuple[str, Mask]]:
    """Return who breaks basic_filter's rules but for English: caption of over 2 words and 5 characters, size.

    Sides are those of the original image where they are known. The shorter one must have 200 pixels, the
    longer one at most 3 times as many as the shorter.
    """
    caption = table["caption"].to_pylist()
    words = np.fromiter((len((text or "").split()) for text in caption), np.int64, len(caption))
    sides = np.stack([_side(table, "width"), _side(table, "height")])
    return [
        ("few_words", words <= 2),
        ("few_chars", _chars(table) <= 5),
        ("small", ~(sides.min(0) >= 200)),
        ("long_shape", ~(sides.max(0) <= 3.0 * sides.min(0))),
    ]


def caption_rules(table: pa.Table) -> list[tuple[str, Mask]]:
    """Return who breaks image_based's rules on captions but for English: over 1 token and 5 characters.

    Tokens are fastText's: what stands between ASCII white space, and each line end is one of its own.
    """
    caption = table["caption"].to_pylist()
    tokens = np.fromiter((len(_tokens(text or "")) for text in caption), np.int64, len(caption))
    return [("few_words", tokens <= 1), ("few_chars", _chars(table) <= 5)]


def names_entity(caption: pa.ChunkedArray, entities: frozenset[str]) -> Mask:
    """Return whose caption has a word, between white space, that is one of the entities in small letters."""
    texts = caption.to_pylist()
    named = (not entities.isdisjoint((text or "").lower().split()) for text in texts)
    return np.fromiter(named, bool, len(texts))


def column_is_english(column: pa.ChunkedArray) -> Mask:
    """Return where a column says English: true, or the code en; null is not English."""
    said = column if pa.types.is_boolean(column.type) else pc.equal(column.cast(pa.string()), "en")
    mask: Mask = np.asarray(pc.fill_null(said, False).to_numpy(), bool)
    return mask


def nearest_centroid(vectors: pa.Array, centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of the centroid with the greatest dot product, shape (n,).

    Parameters
    ----------
    vectors
        Fixed-size lists of floats, shape (n, width).
    centroids
        Shape (clusters, width).

    Raises
    ------
    ValueError
        When the widths differ.
    """
    width = vectors.type.list_size
    if width != centroids.shape[1]:
        raise ValueError(
            f"the images' vectors are {width} wide and the centroids {centroids.shape[1]}: "
            "they must come from one encoder"
        )
    rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    blocks = range(0, len(rows), _ROWS_PER_BLOCK)
    found = [(rows[n : n + _ROWS_PER_BLOCK].astype(np.float32) @ centroids.T).argmax(1) for n in blocks]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _side(table: pa.Table, name: str) -> NDArray[np.float64]:
    known = pc.coalesce(table[f"original_{name}"].cast(pa.float64()), table[name].cast(pa.float64()))
    sides: NDArray[np.float64] = known.to_numpy()
    return sides


def _chars(table: pa.Table) -> NDArray[Any]:
    chars: NDArray[Any] = pc.fill_null(pc.utf8_length(table["caption"]), 0).to_numpy()
    return chars


def _tokens(text: str) -> list[str]:
    for space in "\r\t\v\f\0":
        text = text.replace(space, " ")
    return [token for token in text.replace("\n", " \n ").split(" ") if token]
