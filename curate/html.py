"""HTML pages that need no network and run no script but their own, whatever texts they show."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["document", "escape", "shown", "visible"]

_SPACE = re.compile(r"[ \t\n\r\f\v\u00a0]+")
# Controls, what turns the direction of writing, what can't be seen, and halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_JOINERS = "\u200c\u200d"  # letters of some scripts, and faces made of several, hang together by these


def shown(text: str, limit: int = 300) -> str:
    """Return a text of unknown origin as one line that can be shown: cut, and nothing in it hidden.

    Characters that can't be seen, or that turn the direction of what stands behind them, come out as their
    number, such as ⟨U+202E⟩. It is still to be escaped where it goes into HTML.

    Parameters
    ----------
    text
        Anything, of any length.
    limit
        The most characters to take of it.
    """
    head = text[: 4 * limit]
    line = _SPACE.sub(" ", head).strip()
    cut = len(line) > limit or len(text) > len(head)
    return visible(line[:limit]) + ("…" if cut else "")


def visible(text: str) -> str:
    """Return a text in which characters that can't be seen, or that turn others, stand as their number."""
    return _HIDDEN.sub(_number, text)


def _number(match: re.Match[str]) -> str:
    return match[0] if match[0] in _JOINERS else f"⟨U+{ord(match[0]):04X}⟩"


def document(
    title: str, body: str, *, style: str, script: str = "", data: Mapping[str, Any] | None = None
) -> str:
    """Return a whole page that loads nothing and runs nothing but `script`.

    Parameters
    ----------
    title
        Plain text.
    body
        HTML, in which every text of others is escaped already. It can't hold style attributes or handlers:
        the page's policy forbids them.
    style, script
        The page's own CSS and JavaScript.
    data
        JSON values, each put into an element of that id for the script to parse.
    """
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script) if script else chr(39) + 'none' + chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    blocks = "".join(
        f'<script type="application/json" id="{escape(name)}">{_json(value)}</script>\n'
        for name, value in (data or {}).items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n{blocks}"
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    # No "<" can end the element early, and no "&" is left to be taken for something else.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
