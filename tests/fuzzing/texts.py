"""Captions, JSON and names as nobody would write them in good faith."""

from __future__ import annotations

import json
import random

CAPTIONS = (
    b"",
    b"a\0b\0",
    "\u202etxet desrever\u202c \u2066x\u2069".encode(),
    b"\xff\xfe\x00",
    b"caf\xe9",
    b"\xed\xa0\x80 half a character",
    b"\xef\xbb\xbfwith a mark",
    b"<script>alert(1)</script><img src=x onerror=alert(1)>",
    b"</script></style>-->]]>",
    b'=HYPERLINK("http://example.org")',
    b"\x1b[2J\x1b]0;title\x07 [bold red]markup[/] %s {0} ${HOME} $(id)",
    "e\u0301" * 1000 + "\u0300" * 5000,
    "\U0010ffff\ufffe\u2028\u2029\x85".encode(),
    b"a" * 100_000,
    b"word " * 50_000,
    b"\n\r\t \x0b\x0c" * 100,
)
NAMES = (
    "/absolute/name",
    "../../../up",
    "..",
    "...",
    "a//b",
    "./here",
    "C:\\windows",
    "\\\\host\\share",
    "same",
    "SAME",
    "Same",
    "n" * 5000,
    "d/" * 2000 + "deep",
    "line\nbreak",
    "\x1b[31mred",
    "bell\x07",
    "\u202eesrever",
    "e\u0301",
    "\u00e9",
    "sp ace ",
    "'; DROP TABLE",
    "<b>&amp;",
    "-rf",
    "%00%2e%2e",
    "con",
    "__meta__x",
)
SUFFIXES = ("jpg", "JPG", "txt", "json", "tar.gz", "j\u0301", "x" * 300, "\n", "npy", "cls")


def captions() -> list[bytes]:
    """Return the captions as bytes."""
    return [text.encode() if isinstance(text, str) else text for text in CAPTIONS]


def _value(chance: random.Random, depth: int) -> str:
    """Return a JSON value as text, or what only some parsers take for one."""
    match chance.randrange(16 if depth < 6 else 12):
        case 0:
            return chance.choice(["NaN", "Infinity", "-Infinity", "1e999", "-0.0", "1E400", "5e-324"])
        case 1:
            return chance.choice(["9" * 25, "-" + "9" * 400, "9" * 5000, "18446744073709551616", "1" * 19])
        case 2:
            return chance.choice(["true", "false", "null", "None", "undefined", ""])
        case 3:
            return chance.choice(['"\\ud800"', '"\\u0000"', '"\\x"', '"unclosed', '"' + "\x01" + '"'])
        case 4:
            return json.dumps(
                chance.choice(["a caption", "", "x" * 5000, "\u202e", "<b>", "0" * 32, "g" * 32])
            )
        case 5 | 6 | 7 | 8 | 9 | 10 | 11:
            return json.dumps(chance.choice([0, 1, -1, 3.5, "word", 1 << 31, 1 << 40, True, [1], {}]))
        case 12 | 13:
            return "[" + ",".join(_value(chance, depth + 1) for _ in range(chance.randrange(4))) + "]"
        case _:
            return metadata(chance, depth + 1)


def metadata(chance: random.Random, depth: int = 0) -> str:
    """Return a JSON object as text, with the keys that are read, some of them twice, of any type."""
    keys = ["uid", "caption", "url", "width", "height", "original_width", "score", "key", "", "\\ud800"]
    pairs = [f'"{chance.choice(keys)}": {_value(chance, depth)}' for _ in range(chance.randrange(8))]
    return "{" + ", ".join(pairs) + chance.choice(["}", "}", "}", "}", ",}", "", "}}"])


def document(seed: int) -> bytes:
    """Return a JSON file: an object of odd values, or something deep, huge, cut or in another encoding."""
    chance = random.Random(seed)
    text = metadata(chance)
    match chance.randrange(12):
        case 0:
            n = chance.choice([100, 1000, 5000, 200_000])
            return chance.choice([b"[", b'{"a":', b"[{"]) * n
        case 1:
            n = chance.choice([100, 1000, 1025])
            return b'{"caption": ' + b"[" * n + b"]" * n + b"}"
        case 2:
            return text.encode(chance.choice(["utf-16", "utf-32", "utf-8-sig", "latin-1"]), "replace")
        case 3:
            return text.encode()[: chance.randrange(len(text) + 1)]
        case 4:
            return b'{"url": "' + b"x" * chance.choice([10, 100_000, 3_000_000]) + b'"}'
        case 5:
            data = bytearray(text.encode())
            for _ in range(3):
                data[chance.randrange(len(data))] = chance.randrange(256)
            return bytes(data)
        case _:
            return text.encode()
