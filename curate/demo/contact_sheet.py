"""One picture of what a run did: samples with captions, scores and reasons, a row per outcome."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from curate.demo.outcomes import KEPT, Outcome, threshold
from curate.demo.truth import SEEKS
from pipelines.pool.samples import read_pairs

PER_ROW = 10
PICTURE = 144
GAP = 16
MARGIN = 40
LINE = 17
CAPTION_LINES = 4
TILE_HEIGHT = PICTURE + 8 + LINE * (CAPTION_LINES + 2) + 14
HEADING = 62
WIDTH = 2 * MARGIN + PER_ROW * PICTURE + (PER_ROW - 1) * GAP

PAPER, TEXT, MUTED, RULE = (252, 251, 248), (34, 36, 44), (112, 114, 124), (222, 220, 214)
RIGHT, WRONG, EMPTY = (36, 138, 84), (206, 58, 48), (226, 226, 228)

KIND_WORDS = {
    "clean": "fine",
    "mismatched": "wrong caption",
    "exact_duplicate": "copy of a file",
    "same_pixels": "copy of the pixels",
    "junk_caption": "junk caption",
    "broken_image": "broken image",
    "truncated_tar": "cut off",
}


@dataclass(frozen=True)
class Section:
    """A row of the sheet."""

    title: str
    note: str
    samples: Sequence[Outcome]


def draw_contact_sheet(path: Path, outcomes: Sequence[Outcome], pool: Path, title: str) -> None:
    """Write the contact sheet of a run as a PNG.

    Parameters
    ----------
    path
        The PNG.
    outcomes
        Every sample of the run.
    pool
        The folder of the shards, ``NNNNN.tar``.
    title
        Stands on top.

    """
    sections = choose(outcomes)
    images = _read_images(pool, [sample for section in sections for sample in section.samples])
    height = 2 * MARGIN + 54 + sum(HEADING + TILE_HEIGHT for _ in sections)
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 6), title, TEXT, _font(28, bold=True))
    legend = "below each caption: what the run says, then what the sample really is"
    draw.text((WIDTH - MARGIN, MARGIN + 10), legend, MUTED, _font(14), anchor="ra")
    top = MARGIN + 54
    for section in sections:
        _draw_section(sheet, top, section, images)
        top += HEADING + TILE_HEIGHT
    sheet.save(path, optimize=True)


def choose(outcomes: Sequence[Outcome]) -> list[Section]:
    """Return the rows of the sheet; samples come as uids fall, so none is picked by its looks."""
    by_uid = sorted(outcomes, key=lambda each: each.uid)
    kept = [each for each in by_uid if each.stage == KEPT]
    scored = sorted((each for each in outcomes if each.score is not None), key=_score)
    cut = threshold(outcomes)
    below = [each for each in scored if each.stage != KEPT][-PER_ROW // 2 :]
    above = [each for each in scored if each.stage == KEPT][: PER_ROW // 2]
    return [
        Section("Kept", f"{len(kept):,} samples", kept[:PER_ROW]),
        Section("Lowest CLIP scores", "dropped by the filter network", scored[:PER_ROW]),
        Section("At the threshold", f"five just below and five just above {cut:.3f}", [*below, *above]),
        Section("Duplicates", "each survivor, then its copy", _pairs(by_uid)[:PER_ROW]),
        Section("Dropped by the rules", _count(by_uid, "rules"), _varied(by_uid, "rules")),
        Section("Set aside", f"{_count(by_uid, 'ingest')} that can't be read", _varied(by_uid, "ingest")),
    ]


def _score(outcome: Outcome) -> float:
    assert outcome.score is not None
    return outcome.score


def _count(outcomes: Iterable[Outcome], stage: str) -> str:
    return f"{sum(each.stage == stage for each in outcomes):,} samples"


def _pairs(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return survivor, copy, survivor, copy, ..., both sorts of copies in turn."""
    by_uid = {each.uid: each for each in outcomes}
    copies = _varied(outcomes, "duplicates")
    return [each for copy in copies if copy.survivor for each in (by_uid[copy.survivor], copy)]


def _varied(outcomes: Sequence[Outcome], stage: str) -> list[Outcome]:
    """Return samples that a stage took out, its reasons in turn."""
    by_reason: dict[str, list[Outcome]] = {}
    for each in outcomes:
        if each.stage == stage:
            by_reason.setdefault(each.reason or "", []).append(each)
    turns = [(n, reason, each) for reason, group in by_reason.items() for n, each in enumerate(group)]
    return [each for _, _, each in sorted(turns, key=lambda turn: turn[:2])][:PER_ROW]


def _read_images(pool: Path, samples: Iterable[Outcome]) -> dict[str, bytes]:
    """Return the image bytes of samples by key, reading each shard once."""
    wanted: dict[str, set[str]] = {}
    for sample in samples:
        wanted.setdefault(sample.shard, set()).add(sample.key)
    return {
        key: image
        for shard, keys in wanted.items()
        for key, image, _ in read_pairs(str(pool / f"{shard}.tar"))
        if key in keys
    }


def _draw_section(sheet: Image.Image, top: int, section: Section, images: Mapping[str, bytes]) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.line([(MARGIN, top), (WIDTH - MARGIN, top)], RULE, 1)
    draw.text((MARGIN, top + 14), section.title, TEXT, _font(20, bold=True))
    right = MARGIN + draw.textlength(section.title, _font(20, bold=True))
    draw.text((right + 14, top + 20), section.note, MUTED, _font(14))
    for n, sample in enumerate(section.samples):
        _draw_tile(sheet, MARGIN + n * (PICTURE + GAP), top + HEADING - 8, sample, images.get(sample.key))


def _draw_tile(sheet: Image.Image, left: int, top: int, sample: Outcome, data: bytes | None) -> None:
    draw = ImageDraw.Draw(sheet)
    picture = _decode(data)
    if picture is None:
        draw.rectangle((left, top, left + PICTURE - 1, top + PICTURE - 1), EMPTY)
        draw.multiline_text((left + 12, top + 46), _hex_dump(data), MUTED, _font(12), spacing=6)
    else:
        sheet.paste(picture, (left, top))
    top += PICTURE + 8
    for n, line in enumerate(caption_lines(sample.caption)):
        draw.text((left, top + n * LINE), line, TEXT, _font(13))
    top += CAPTION_LINES * LINE + 4
    draw.text((left, top), _said(sample), MUTED, _font(12))
    good = agrees(sample)
    draw.text((left, top + LINE), KIND_WORDS[sample.kind], RIGHT if good else WRONG, _font(12, bold=True))


def agrees(sample: Outcome) -> bool:
    """Tell whether the truth agrees with what became of a sample."""
    if sample.stage == KEPT:
        return sample.kind == "clean"
    return sample.kind in SEEKS.get(sample.stage, ())


def caption_lines(caption: str | None) -> list[str]:
    """Return a caption as at most `CAPTION_LINES` lines that fit a tile, what can't be drawn escaped."""
    if caption is None:
        return ["(lost)"]
    visible = "".join(
        c if ord(c) in _glyphs() and c.isprintable() else _escaped(c) for c in " ".join(caption.split())
    )
    if not visible:
        return ["(empty)"]
    lines = [""]
    for piece in _pieces(visible):
        if lines[-1] and _font(13).getlength(lines[-1] + piece.rstrip()) > PICTURE + 6:
            lines.append("")
        lines[-1] += piece
    shown = [line.rstrip() for line in lines[:CAPTION_LINES]]
    if len(lines) > CAPTION_LINES:
        whole_words = shown[-1][:18].rpartition(" ")[0]
        shown[-1] = (whole_words or shown[-1][:16]) + " …"
    return shown


def _pieces(text: str) -> list[str]:
    """Return the words of a text, each with the space behind it, long ones in parts."""
    return [word[n : n + 14] for word in re.findall(r"\S+\s?", text) for n in range(0, len(word), 14)]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _said(sample: Outcome) -> str:
    if sample.stage in (KEPT, "keep") and sample.score is not None:
        return f"{'kept' if sample.stage == KEPT else 'dropped'}, score {sample.score:.3f}"
    if sample.stage == KEPT:
        return "kept"
    return (sample.reason or sample.stage).replace("_", " ")


def _decode(data: bytes | None) -> Image.Image | None:
    if not data:
        return None
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError):
        return None
    return picture.resize((PICTURE, PICTURE), Image.Resampling.LANCZOS)


def _hex_dump(data: bytes | None) -> str:
    """Return the size of what is no image, and its first bytes."""
    if data is None:
        return "lost"
    return "\n".join([f"{len(data):,} bytes", data[:6].hex(" "), data[6:12].hex(" ")])


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(_font_file("DejaVuSans.ttf")).get_charmap())


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_file("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def _font_file(name: str) -> str:
    # DejaVu comes with matplotlib; Pillow's own font knows Latin letters only.
    return str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name)
