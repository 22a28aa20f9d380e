"""What goes wrong in a crawled pool: useless captions, broken files, the same picture in another file."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from curate.demo.chance import pick

FILE_NAMES = (
    "IMG_{n:04d}.JPG",
    "DSC{n:05d}.jpg",
    "screenshot-{n}.png",
    "untitled-{n}.webp",
    "photo{n}_final_v2 (1).jpg",
    "/static/img/{n:08x}.png",
)
PAGE_FURNITURE = (
    "click here",
    "image",
    "Thumbnail",
    "share on facebook",
    "No photo description available.",
    "close menu",
    "loading...",
    "next >",
    "Sign up for our newsletter",
)
FOREIGN = (
    "Ein gemütliches Haus am Rande des Waldes",
    "Unser Ferienhof mit Blick auf die Berge",
    "Un petit bateau rouge dans le port de pêche",
    "Les enfants jouent devant la vieille maison",
    "Una casa blanca junto al mar en verano",
    "El coche de mi abuelo está en la calle",
    "Una vecchia barca sulla riva del lago",
    "Um gato preto dorme em cima do telhado",
    "Een fietser rijdt langs de molen in het weiland",
    "Mały domek nad jeziorem o zachodzie słońca",
    "Красная машина стоит перед старым домом",
    "Воздушный шар летит над зелёным полем",
    "海辺に立つ白い灯台と青い空",
    "一只猫坐在花园里的小房子旁边",
    "바닷가에 있는 작은 빨간 집",
    "قارب صغير على شاطئ البحر عند الغروب",
    "Kırmızı bir araba eski evin önünde duruyor",
    "Ένα μικρό σπίτι δίπλα στη θάλασσα",
)
KEYWORDS = (
    *("cheap", "best", "buy", "online", "sale", "discount", "free", "shipping", "wholesale", "2024", "new"),
    *("hot", "deal", "coupon", "price", "clipart", "vector", "stock", "wallpaper", "hd", "4k", "png", "jpg"),
    *("download", "royalty", "premium", "template", "banner", "logo", "poster", "print", "gift", "seo"),
)

ERROR_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>No such image.</body></html>\n"
)


def junk_caption(rng: np.random.Generator) -> str:
    """Return a text that says nothing about any picture."""
    return pick(rng, (_file_name, _page_furniture, _foreign, _keywords, _nothing))(rng)


def _file_name(rng: np.random.Generator) -> str:
    return pick(rng, FILE_NAMES).format(n=int(rng.integers(10_000)))


def _page_furniture(rng: np.random.Generator) -> str:
    return pick(rng, PAGE_FURNITURE)


def _foreign(rng: np.random.Generator) -> str:
    return pick(rng, FOREIGN)


def _keywords(rng: np.random.Generator) -> str:
    return " ".join(pick(rng, KEYWORDS) for _ in range(int(rng.integers(12, 120))))


def _nothing(rng: np.random.Generator) -> str:
    return ""


def break_image(data: bytes, rng: np.random.Generator) -> bytes:
    """Return what a failed download leaves of an image: part of it, nothing, an error page or noise."""
    breakages: tuple[Callable[[], bytes], ...] = (
        lambda: data[: int(len(data) * rng.uniform(0.2, 0.8))],
        lambda: b"",
        lambda: ERROR_PAGE,
        lambda: rng.bytes(len(data)),
    )
    return pick(rng, breakages)()


def rewrap(data: bytes, suffix: str) -> tuple[bytes, str]:
    """Return the same pixels in a file of other bytes, and its suffix.

    A JPEG gets a comment, which leaves its coefficients alone; other formats are stored anew, losslessly.
    """
    if suffix == "jpg":
        comment = b"saved again"
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment
        return data[:2] + segment + data[2:], suffix
    image = Image.open(io.BytesIO(data)).convert("RGB")
    stream = io.BytesIO()
    if suffix == "png":
        image.save(stream, "WEBP", lossless=True)
        return stream.getvalue(), "webp"
    image.save(stream, "PNG")
    return stream.getvalue(), "png"
