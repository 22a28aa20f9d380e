"""Rules on a sample's own caption, size and address: cheap, so they come first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from filters import caption_rules, url_rules
from filters.base import Decision, Filter, drop_first_reason
from filters.language_id import in_languages, load_model

Share = Annotated[float, Field(ge=0, le=1)]


def _rising(bounds: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError("should be [least, most], least first and not below 0")
    return bounds


Bounds = Annotated[tuple[int, int], AfterValidator(_rising)]


class Rules(Filter):
    """Drop samples by caption, image size and shape, address and language; each rule is off unless given.

    A dropped sample's reason is the name of the first rule that it breaks, in the order of the fields.
    """

    kind = "rules"
    version = 2
    files: ClassVar[tuple[str, ...]] = ("language_model",)

    caption_words: Bounds | None = Field(None, description="least and most words, split at white space")
    caption_chars: Bounds | None = Field(None, description="least and most characters, outer white space off")
    file_names: bool = Field(False, description="drop captions that are just a file name: IMG_2034.jpg")
    boilerplate: bool = Field(False, description="drop stock phrases: image 3 of 7, untitled, …")
    contacts: bool = Field(False, description="drop captions with a telephone number or mail address")
    min_letters: Share | None = Field(
        None, description="least share of letters, of any script, among characters but white space"
    )
    max_repeated_words: Share | None = Field(
        None, description="greatest share of words that stood earlier in the same caption"
    )
    min_side: int | None = Field(None, gt=0, description="least shorter side, pixels")
    max_side: int | None = Field(None, gt=0, description="greatest longer side, pixels")
    max_aspect: float | None = Field(None, ge=1, description="greatest longer / shorter side")
    sides: Literal["stored", "original"] = Field(
        "stored", description="whose sides: the stored image's, or the original's where it is known"
    )
    blocked_hosts: tuple[str, ...] | None = Field(
        None, min_length=1, description="drop addresses on these hosts and below them: shop.com"
    )
    blocked_url_words: tuple[str, ...] | None = Field(
        None, min_length=1, description="drop addresses with one of these words: [logo, icon, sprite]"
    )
    languages: tuple[str, ...] | None = Field(None, min_length=1, description="ISO 639-1 codes to keep")
    language_certainty: Share = Field(
        0.0, description="drop only where the model is at least this sure of another language"
    )
    language_model: str | None = Field(
        None, description="your own fastText file, such as lid.176.bin; without it the small one of lid.176"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `decide`."""
        sided = self.min_side or self.max_side or self.max_aspect
        stored = ("width", "height") if sided else ()
        original = ("original_width", "original_height") if sided and self.sides == "original" else ()
        url = ("url",) if self.blocked_hosts or self.blocked_url_words else ()
        return ("caption", *stored, *original, *url)

    def check(self) -> None:
        """Raise `ValueError` when the language model is none."""
        if self.language_model:
            load_model(self.language_model)

    def decide(self, table: pa.Table, state: Any = None) -> Decision:
        """Return what the rules say of each row."""
        caption = pc.utf8_trim_whitespace(pc.fill_null(table["caption"].combine_chunks(), ""))
        broken = [*self._caption(caption), *self._sides(table), *self._address(table)]
        if self.languages:
            # Language id costs more than all else: ask only for what the other rules leave.
            asked = drop_first_reason(broken, len(table)).weight > 0
            wanted = frozenset(self.languages)
            known = in_languages(caption, wanted, asked, self.language_model, self.language_certainty)
            broken.append(("languages", ~known))
        return drop_first_reason(broken, len(table))

    def _caption(self, caption: pa.Array) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        if self.caption_words:
            yield "caption_words", _outside(caption_rules.word_count(caption), self.caption_words)
        if self.caption_chars:
            yield "caption_chars", _outside(pc.utf8_length(caption).to_numpy(), self.caption_chars)
        if self.file_names:
            yield "file_names", caption_rules.is_file_name(caption)
        if self.boilerplate:
            yield "boilerplate", caption_rules.is_boilerplate(caption)
        if self.contacts:
            yield "contacts", caption_rules.has_contact(caption)
        if self.min_letters is not None:
            yield "min_letters", caption_rules.letter_share(caption) < self.min_letters
        if self.max_repeated_words is not None:
            repeated = caption_rules.repeated_word_share(caption)
            yield "max_repeated_words", repeated > self.max_repeated_words

    def _sides(self, table: pa.Table) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        if not (self.min_side or self.max_side or self.max_aspect):
            return
        sides = np.stack([self._side(table, "width"), self._side(table, "height")])
        if self.min_side:
            yield "min_side", sides.min(0) < self.min_side
        if self.max_side:
            yield "max_side", sides.max(0) > self.max_side
        if self.max_aspect:
            yield "max_aspect", sides.max(0) > self.max_aspect * sides.min(0)

    def _side(self, table: pa.Table, name: str) -> NDArray[np.float64]:
        stored = table[name].cast(pa.float64())
        original = self.sides == "original"
        side = pc.coalesce(table[f"original_{name}"].cast(pa.float64()), stored) if original else stored
        known: NDArray[np.float64] = side.to_numpy()
        return known

    def _address(self, table: pa.Table) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        if self.blocked_hosts:
            yield "blocked_hosts", url_rules.on_hosts(table["url"].combine_chunks(), self.blocked_hosts)
        if self.blocked_url_words:
            found = url_rules.has_words(table["url"].combine_chunks(), self.blocked_url_words)
            yield "blocked_url_words", found


def _outside(values: NDArray[Any], bounds: tuple[int, int]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (values < bounds[0]) | (values > bounds[1])
    return result
