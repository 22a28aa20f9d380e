"""From image bytes to what a model sees: by open_clip's own transform, or a faster one that stays close."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.images import ImageProblem, decode_pil, decode_rgb

# A reduced decode stays this many times larger than the target, so that the resize still does the smoothing.
REDUCED_MARGIN = 1.5


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images, in open_clip's words; sizes in pixels, mean and std of values in 0…1."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str
    fill_color: int

    @classmethod
    def of(cls, model: Any) -> Preprocessing:
        """Read it from an open_clip model."""
        cfg = model.visual.preprocess_cfg
        size = cfg["size"]
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        return cls(
            height,
            width,
            tuple(float(value) for value in cfg["mean"]),
            tuple(float(value) for value in cfg["std"]),
            cfg["interpolation"],
            cfg["resize_mode"],
            int(cfg.get("fill_color", 0)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


class Transform(Protocol):
    """Two halves: the first runs in the decoder's threads, the second where the model runs."""

    def read(self, data: bytes, *, max_pixels: int) -> torch.Tensor:
        """Return one image of the size that the model wants, or raise `ImageProblem`."""

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        """Return a stack of them, normalised: float32 of shape (n, 3, height, width)."""

    @property
    def layout(self) -> tuple[tuple[int, ...], str]:
        """The shape and the dtype of what `read` returns."""


def make_transform(preprocessing: Preprocessing, resize: Literal["fast", "exact"]) -> Transform:
    """Return the transform of a model."""
    return Fast(preprocessing) if resize == "fast" else Exact(preprocessing)


class Exact:
    """open_clip's evaluation transform, on the image as PIL decodes it."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self._p = preprocessing
        size = (preprocessing.height, preprocessing.width)
        settings = {
            key: value for key, value in asdict(preprocessing).items() if key not in ("height", "width")
        }
        self._transform = image_transform_v2(PreprocessCfg(size=size, **settings), is_train=False)

    @property
    def layout(self) -> tuple[tuple[int, ...], str]:
        """The shape and the dtype of what `read` returns."""
        return (3, self._p.height, self._p.width), "float32"

    def read(self, data: bytes, *, max_pixels: int) -> torch.Tensor:
        """Return one normalised image, float32 of shape (3, height, width)."""
        decoded = decode_pil(data, max_pixels=max_pixels)
        self._refuse_ribbon(*decoded.size, max_pixels)
        image: torch.Tensor = self._transform(decoded)
        return image

    def _refuse_ribbon(self, width: int, height: int, max_pixels: int) -> None:
        """Raise where open_clip would scale a line of pixels up to gigabytes before it crops the middle."""
        long = max(width, height) / min(width, height) * max(self._p.height, self._p.width)
        if self._p.resize_mode == "shortest" and long * min(self._p.height, self._p.width) > max_pixels:
            detail = f"{width}x{height} would be resized to {long:,.0f} pixels long"
            raise ImageProblem("too_many_pixels", detail)

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images: they are finished."""
        return images


class Fast:
    """The same geometry by one PIL resize of the part that survives the crop, after a reduced decode.

    Without a reduced decode, pixels differ from `Exact` by PIL's rounding only, a grey level or two. With it,
    vectors had a cosine of at least 0.997 with the exact ones (mean 0.9997, scores correlated 0.9997) for a
    trained tiny CLIP on 540x360 pictures made of real photos, and at least 0.9999 for a ViT-B-32 of random
    weights.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._p = preprocessing
        self._min_side = int(REDUCED_MARGIN * max(preprocessing.height, preprocessing.width))
        bilinear = preprocessing.interpolation == "bilinear"
        self._filter = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
        if preprocessing.resize_mode == "shortest" and preprocessing.height != preprocessing.width:
            self._filter = Image.Resampling.BICUBIC  # as open_clip has it for sizes that are not square

    @property
    def layout(self) -> tuple[tuple[int, ...], str]:
        """The shape and the dtype of what `read` returns."""
        return (self._p.height, self._p.width, 3), "uint8"

    def read(self, data: bytes, *, max_pixels: int) -> torch.Tensor:
        """Return one image, uint8 of shape (height, width, 3)."""
        pixels = decode_rgb(data, max_pixels=max_pixels, min_side=self._min_side)
        return torch.from_numpy(self.resize(pixels))

    def resize(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image, uint8 (height, width, 3), in the size that the model wants."""
        height, width = pixels.shape[:2]
        target = (self._p.width, self._p.height)
        if (width, height) == target:
            return pixels
        image = Image.fromarray(pixels)
        if self._p.resize_mode == "squash":
            return np.array(image.resize(target, self._filter))
        ratios = height / self._p.height, width / self._p.width
        if self._p.resize_mode == "longest":
            return self._padded(image, max(ratios))
        return self._cropped(image, min(ratios))

    def _cropped(self, image: Image.Image, ratio: float) -> NDArray[np.uint8]:
        """Resize so that the shorter side fits, and keep the middle; what is cut off is never resized."""
        new_width, new_height = _scaled(image, ratio, self._p)
        left = round((new_width - self._p.width) / 2.0)
        top = round((new_height - self._p.height) / 2.0)
        x, y = image.width / new_width, image.height / new_height
        box = (left * x, top * y, (left + self._p.width) * x, (top + self._p.height) * y)
        inside = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
        return np.array(image.resize((self._p.width, self._p.height), self._filter, box=inside))

    def _padded(self, image: Image.Image, ratio: float) -> NDArray[np.uint8]:
        """Resize so that the longer side fits, and fill the borders."""
        size = max(1, round(image.width / ratio)), max(1, round(image.height / ratio))
        canvas = np.full((self._p.height, self._p.width, 3), self._p.fill_color, np.uint8)
        left, top = (self._p.width - size[0]) // 2, (self._p.height - size[1]) // 2
        canvas[top : top + size[1], left : left + size[0]] = np.asarray(image.resize(size, self._filter))
        return canvas

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        """Return a stack of them, normalised: float32 of shape (n, 3, height, width)."""
        mean, scale = _levels(self._p, images.device)
        planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return planes.sub_(mean).div_(scale)


@lru_cache(maxsize=8)
def _levels(p: Preprocessing, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and std in grey levels, shape (1, 3, 1, 1); made once, for a CUDA graph can't make them."""
    mean, std = (torch.tensor(values).mul_(255).view(1, 3, 1, 1) for values in (p.mean, p.std))
    return mean.to(device), std.to(device)


def _scaled(image: Image.Image, ratio: float, target: Preprocessing) -> tuple[int, int]:
    """Return (width, height) after scaling; torchvision cuts off fractions, open_clip's own class rounds."""
    if target.height == target.width:
        short = target.height
        if image.width <= image.height:
            return short, int(short * image.height / image.width)
        return int(short * image.width / image.height), short
    return round(image.width / ratio), round(image.height / ratio)
