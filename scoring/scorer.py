"""What a scorer of one's own is: its parameters, what it asks to see of samples, and a number for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Scorer(BaseModel, ABC):
    """A score that a sample has by itself. Its fields are its parameters, as in the config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str]  # what `score:` calls it, and the name of its column
    # images, image_vectors, text_vectors, or columns: caption, width, an earlier score …
    needs: ClassVar[tuple[str, ...]]
    version: ClassVar[int] = 1  # raise it when the same parameters give other scores
    files: ClassVar[tuple[str, ...]] = ()  # parameters that name a file; what is in it counts, not its place
    batch_size: ClassVar[int] = 256  # samples at a time

    encoder: str | None = Field(None, description="whose vectors: a name from `encoders`; default `encoder`")

    def check(self) -> None:
        """Raise `ValueError` when a file that a parameter names is not what it should be."""

    @abstractmethod
    def score(self, samples: Mapping[str, Any]) -> Any:
        """Return a number for each of some samples.

        Parameters
        ----------
        samples
            What `needs` names: images as a list of arrays, vectors as a matrix, columns of numbers as an
            array, other columns as a list.

        Returns
        -------
        array or list
            Shape (n,); None where a sample has no score. NaN and infinity are refused.
        """
