"""DataComp's baseline filters by name, tie for tie (2304.14108, section 3.4 and its published program).

What needs ImageNet, WordNet or another language detector is given by the user: a column or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from filters.base import Decision, PoolFilter, drop_first_reason
from filters.datacomp_rules import (
    Mask,
    basic_rules,
    caption_rules,
    column_is_english,
    names_entity,
    nearest_centroid,
)
from filters.keep import Keep
from filters.language_id import in_languages, load_model
from filters.loading import once_per_content

LAION_THRESHOLD = 0.28  # the published program's; its page says 0.25
Name = Literal[
    "no_filter",
    "basic_filter",
    "clip_score",
    "laion2b",
    "text_based",
    "image_based",
    "image_based_intersect_clip_score",
]
_ENGLISH = {"basic_filter", "laion2b", "text_based", "image_based", "image_based_intersect_clip_score"}
_CLUSTERS = {"image_based", "image_based_intersect_clip_score"}
_CLIP = {"clip_score", "image_based_intersect_clip_score"}


class Baseline(PoolFilter):
    """One of DataComp's baselines; a CLIP score's threshold is found on all samples that get here."""

    kind = "baseline"
    files: ClassVar[tuple[str, ...]] = ("language_model", "entities", "centroids", "target_centroids")

    name: Name = Field(description="which baseline, as DataComp calls it")
    arch: Literal["b32", "l14"] = Field("l14", description="whose similarity clip_score takes")
    fraction: float | None = Field(None, gt=0, le=1, description="clip_score: keep this share, ties included")
    threshold: float | None = Field(None, allow_inf_nan=False, description="clip_score: keep from here on")
    score: str | None = Field(
        None, description="a score to take instead of DataComp's clip_<arch>_similarity_score"
    )
    english: str | None = Field(
        None, description="a column that says what is English: true or en; without it a model is asked"
    )
    language_model: str | None = Field(None, description="fastText model file, such as lid.176.bin")
    entities: str | None = Field(
        None, description="text_based: file of words whose first synset is in ImageNet-21k, one a line"
    )
    centroids: str | None = Field(None, description="image_based: .npy of shape (clusters, width)")
    target_centroids: str | None = Field(
        None, description="image_based: .npy of the numbers of the centroids nearest to ImageNet's images"
    )
    cluster: str | None = Field(
        None, description="image_based: a column with each sample's cluster, instead of centroids"
    )
    encoder: str | None = Field(None, description="image_based: whose vectors, one of the run's encoders")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        n_ways = (self.fraction is not None) + (self.threshold is not None)
        if n_ways != (self.name in _CLIP):
            raise ValueError("fraction or threshold, one of them, goes with clip_score and with no other")
        if self.name == "text_based" and self.entities is None:
            raise ValueError(
                "text_based needs entities: a file of words whose first WordNet synset is in ImageNet-21k"
            )
        if self.name in _CLUSTERS and self.target_centroids is None:
            raise ValueError(
                "image_based needs target_centroids: a .npy with the numbers of ImageNet's clusters"
            )
        if self.name in _CLUSTERS and (self.centroids is None) == (self.cluster is None):
            raise ValueError("image_based needs one of centroids (a .npy) and cluster (a column)")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `measure` and `decide`."""
        names = ["uid", *self.scores, *self.vectors]
        if self.name in _ENGLISH:
            names += ["caption", *([self.english] if self.english else [])]
        if self.name == "basic_filter":
            names += ["width", "height", "original_width", "original_height"]
        if self.name in _CLUSTERS and self.cluster:
            names += [self.cluster]
        return tuple(names)

    @property
    def scores(self) -> tuple[str, ...]:
        """The similarity that the baseline takes."""
        return (self.keep.by,) if self.keep else ()

    @property
    def vectors(self) -> Mapping[str, str | None]:
        """The image vectors, where centroids are given."""
        return {"image": self.encoder} if self.name in _CLUSTERS and self.centroids else {}

    @cached_property
    def keep(self) -> Keep | None:
        """The part of the baseline that goes by CLIP score."""
        if self.name == "laion2b":
            return Keep(by=self.score or "clip_b32_similarity_score", at_least=LAION_THRESHOLD)
        if self.name in _CLIP:
            by = self.score or f"clip_{self.arch}_similarity_score"
            return Keep(by=by, top=self.fraction, at_least=self.threshold, compat="datacomp")
        return None

    def check(self) -> None:
        """Raise `ValueError` when a file is not what it should be."""
        if self.language_model:
            load_model(self.language_model)
        if self.entities:
            load_entities(self.entities)
        if self.centroids:
            load_centroids(self.centroids)
        if self.target_centroids:
            load_numbers(self.target_centroids)

    def start(self) -> Any:
        """Return the state before the first pass."""
        return self.keep.start() if self.keep else []

    def finished(self, state: Any) -> bool:
        """Tell whether the threshold is known, if there is one."""
        return self.keep is None or self.keep.finished(state)

    def measure(self, table: pa.Table, state: Any) -> NDArray[np.int64]:
        """Return one shard's part of the search for the threshold."""
        assert self.keep
        return self.keep.measure(table, state)

    def advance(self, state: Any, part: NDArray[np.int64]) -> Any:
        """Return the state after a pass."""
        assert self.keep
        return self.keep.advance(state, part)

    def decide(self, table: pa.Table, state: Any) -> Decision:
        """Return which rows the baseline keeps."""
        broken: list[tuple[str, Mask]] = []
        if self.keep:
            low = self.keep.decide(table, state).weight == 0
            broken.append((f"low_{self.keep.by}", low))
        if self.name == "basic_filter":
            broken += basic_rules(table)
        if self.name in _CLUSTERS:
            broken += caption_rules(table)
            broken.append(("far_from_target", ~np.isin(self._clusters(table), self._targets())))
        if self.name == "text_based":
            assert self.entities
            broken.append(("no_entity", ~names_entity(table["caption"], load_entities(self.entities))))
        if self.name in _ENGLISH:
            asked = drop_first_reason(broken, len(table)).weight > 0
            broken.append(("not_english", ~self._english(table, asked)))
        return drop_first_reason(broken, len(table))

    def _english(self, table: pa.Table, asked: Mask) -> Mask:
        if self.english:
            return column_is_english(table[self.english])
        return in_languages(table["caption"].combine_chunks(), frozenset(["en"]), asked, self.language_model)

    def _targets(self) -> NDArray[np.int64]:
        assert self.target_centroids
        return load_numbers(self.target_centroids)

    def _clusters(self, table: pa.Table) -> NDArray[np.integer[Any]]:
        if self.cluster:
            found: NDArray[np.integer[Any]] = pc.fill_null(table[self.cluster], -1).to_numpy()
            return found
        assert self.centroids
        return nearest_centroid(table["image"].combine_chunks(), load_centroids(self.centroids))


@once_per_content
def load_entities(path: str) -> frozenset[str]:
    """Return the words of a file, one a line, in small letters.

    Raises
    ------
    ValueError
        When it holds none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from None
    words = frozenset(line.strip().lower() for line in lines) - {""}
    if not words:
        raise ValueError(f"{path} holds no words: give one a line")
    return words


@once_per_content
def load_centroids(path: str) -> NDArray[np.float32]:
    """Return the centroids of a .npy, shape (clusters, width).

    Raises
    ------
    ValueError
        When it holds no such matrix.
    """
    found = _load_npy(path)
    if found.ndim != 2 or found.dtype.kind != "f" or not np.isfinite(found).all():
        raise ValueError(
            f"{path} holds {found.dtype} of shape {found.shape}: centroids are (clusters, width) floats"
        )
    return found.astype(np.float32)


@once_per_content
def load_numbers(path: str) -> NDArray[np.int64]:
    """Return the numbers of a .npy, shape (n,).

    Raises
    ------
    ValueError
        When it holds no such list.
    """
    found = _load_npy(path)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(f"{path} holds {found.dtype} of shape {found.shape}: numbers of centroids are (n,)")
    return found.astype(np.int64)


def _load_npy(path: str) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as .npy: {error}") from None
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays: give a .npy with one")
    return found
