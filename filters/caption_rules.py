"""What a caption looks like: a file name, a stock phrase, contacts, letters, words; on Arrow strings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_SUFFIXES = "jpe?g|jfif|png|gif|webp|svg|bmp|tiff?|heic|avif|psd|eps|pdf|mp4|mov"
_CAMERAS = "img|image|dsc|dscn|dscf|dscn|pict?|photo|gopr|screenshot|screen[ _-]shot|scan|untitled|unnamed"
FILE_NAME = (
    rf"(?i)^(\S*[^\s.]\.({_SUFFIXES})|[\w%+.-]+( ?[\w%+.()-]+)?\.({_SUFFIXES})"  # word or two words, suffix
    rf"|({_CAMERAS})[ _-]?\(?\d+[\w()-]*"  # what cameras and scanners call theirs
    r"|[0-9a-f]{16,}|\d+([_x-]\d+)+|([\w.~-]*/){2,}\S*)$"  # hashes, numbers with sizes, paths
)
STOCK = (
    r"(?i)^(image|images|img|photo|photograph|picture|pic|logo|icon|banner|thumbnail|thumb|untitled|unnamed|"
    r"screenshot|placeholder|avatar|spacer|default|null|none|undefined|n/?a|alt|alt text|caption|"
    r"(image|photo|picture|file|slide|figure|fig\.?|img|page) ?\d*( of \d+)?|"
    r"(no|missing) (image|photo|picture|caption|description|alt text)( .*)?|"
    r"click (here|to|for|on) .*|tap (here|to) .*|"
    r"(enlarge|zoom|view|see)( the| this)?( larger| full[ -]?size)? (image|photo|picture))[.!:]?$"
    r"|^(image may contain|may be an? (image|photo|picture|illustration|meme)|no photo description)"
)
CONTACT = (
    r"(?i)[\w.+-]+@[\w-]+\.[a-z]{2,}"  # mail
    r"|^(https?://|www\.)\S+$"  # nothing but a web address
    r"|(\+\d{1,3}[ .-]?)(\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}\b"  # phone, with the country's code
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[.-]\d{3}[.-]\d{4}\b"  # phone, as in America
)


def is_file_name(caption: pa.Array) -> Mask:
    """Return which captions are nothing but a file's name, a path, a hash or a number of pixels."""
    return _mask(pc.match_substring_regex(caption, FILE_NAME))


def is_boilerplate(caption: pa.Array) -> Mask:
    """Return which captions are stock phrases that say nothing of the picture, such as `image 3 of 7`."""
    return _mask(pc.match_substring_regex(caption, STOCK))


def has_contact(caption: pa.Array) -> Mask:
    """Return which captions hold a telephone number or mail address, or are nothing but a web address."""
    return _mask(pc.match_substring_regex(caption, CONTACT))


def letter_share(caption: pa.Array) -> NDArray[np.float64]:
    """Return the share of letters, of any script, among the characters but white space; 0 where none are."""
    others = pc.replace_substring_regex(caption, r"[\p{L}\p{M}\s]", "")
    letters = pc.replace_substring_regex(caption, r"[^\p{L}\p{M}]", "")
    n_letters = pc.utf8_length(letters).to_numpy(zero_copy_only=False)
    n_all = n_letters + pc.utf8_length(others).to_numpy(zero_copy_only=False)
    share: NDArray[np.float64] = n_letters / np.maximum(n_all, 1)
    return share


def repeated_word_share(caption: pa.Array) -> NDArray[np.float64]:
    """Return the share of words that stood earlier in the same caption, in small or capital letters."""
    shares = np.zeros(len(caption))
    for n, text in enumerate(caption.to_pylist()):
        words = text.casefold().split()
        shares[n] = 1 - len(set(words)) / len(words) if words else 0
    return shares


def word_count(caption: pa.Array) -> NDArray[np.int64]:
    """Return the number of words between white space, outer white space off."""
    words = pc.list_value_length(pc.utf8_split_whitespace(caption)).to_numpy(zero_copy_only=False)
    return np.where(_mask(pc.equal(caption, "")), 0, words)


def _mask(values: pa.Array) -> Mask:
    mask: Mask = values.to_numpy(zero_copy_only=False).astype(bool)
    return mask
