"""Embedding from JPEG bytes against the bare model loop on ready tensors, same threads, one run.

The aim is 95 % on a CPU: decoding, resizing and tokenizing should cost the model next to no time.

    python benchmarks/embedding.py --model ViT-B-32 --samples 64 --threads 1
    python benchmarks/embedding.py --model curate-tiny --samples 4096 --threads 1
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderSpec
from scoring.model_loading import new_model

Pair = tuple[bytes, str]


def photo(seed: int, width: int, height: int) -> bytes:
    """Return a JPEG with coarse and fine detail, about as large as a photo of its size."""
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 255, (n, n, 3), np.uint8) for n in (5, 20, 80)]
    images = [Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC) for layer in layers]
    mixed = Image.blend(Image.blend(images[0], images[1], 0.4), images[2], 0.2)
    sink = io.BytesIO()
    mixed.save(sink, "JPEG", quality=85)
    return sink.getvalue()


def load(model: str, batch_size: int) -> Encoder:
    """Return an encoder with random weights: they take as long as trained ones."""
    state = new_model(model, 0, torch.device("cpu")).model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({name: value.contiguous() for name, value in state.items()}, path)
        return Encoder.load(
            EncoderSpec(model=model, pretrained=str(path), batch_size=batch_size, device="cpu")
        )


def bare_loop(encoder: Encoder, pairs: list[Pair], batch_size: int) -> Callable[[], None]:
    """Return a loop over the model alone; its input is ready before the clock starts."""
    images = torch.stack([encoder.prepare_image(data) for data, _ in pairs])
    tokens = encoder.prepare_texts([caption for _, caption in pairs])
    batches = [slice(start, start + batch_size) for start in range(0, len(pairs), batch_size)]

    def run() -> None:
        for rows in batches:
            encoder.encode_images(images[rows])
            encoder.encode_tokens(tokens[rows])

    return run


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock and the processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 288), metavar=("WIDTH", "HEIGHT"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    encoder = load(args.model, args.batch_size)
    pairs = [
        (photo(n, *args.size), f"a photo of {n} things on a table, seen from above")
        for n in range(args.samples)
    ]
    bare = bare_loop(encoder, pairs, args.batch_size)
    bare()
    measured = [(seconds(bare), seconds(lambda: encoder.encode(pairs))) for _ in range(args.repeats)]
    for number, name in ((0, "wall clock"), (1, "processor")):
        model = statistics.median(run[0][number] for run in measured)
        whole = statistics.median(run[1][number] for run in measured)
        ratio = statistics.median(run[0][number] / run[1][number] for run in measured)
        print(
            f"{args.model}, {args.threads} threads, {name}: "
            f"model alone {args.samples / model:,.1f} samples/s, "
            f"from JPEG bytes {args.samples / whole:,.1f}, ratio {ratio:.1%}"
        )


if __name__ == "__main__":
    main()
