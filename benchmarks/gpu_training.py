"""Training a filter network on a GPU against its bare step, whose input lies ready on the device.

    python -m benchmarks.gpu_training --model ViT-B-32 --batch-size 2048
    python -m benchmarks.gpu_training --model curate-tiny --batch-size 4096

Pictures are decoded once and kept in memory, as far as `--cache-megabytes` goes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.pools import write_pool
from pipelines.training.config import TrainConfig
from pipelines.training.gradient import Stepper
from pipelines.training.step import make_optimizer
from pipelines.training.train import as_configured, train_filter
from scoring.encoder import usable_device
from scoring.model_loading import new_model

_EVERY = 2  # steps between two looks at the clock


def bare(config: TrainConfig, steps: int) -> float:
    """Return samples a second of steps on one batch that lies on the device, without a pledge to repeat."""
    device = usable_device(config.device)
    loaded = new_model(config.model, 0, device)
    loaded.model.train()
    optimizer = make_optimizer(loaded.model, config)
    stepper = Stepper(loaded.model, optimizer, device, config.gradient_clip, config.precision)
    n, side = config.batch_size, loaded.model.visual.image_size
    images = torch.randn(n, 3, *side, device=device)
    tokens = loaded.tokenizer([f"caption number {row}" for row in range(n)]).to(device)
    started = 0.0
    for step in range(steps + 5):
        if step == 5:
            started = time.perf_counter()
        stepper.take(lambda rows: (images[rows], tokens[rows]), slice(0, n), 1e-4)  # it waits for the loss
    return steps * n / (time.perf_counter() - started)


def trained(config: TrainConfig) -> float:
    """Return samples a second of a whole training, once it goes."""
    seen: list[tuple[float, int]] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            seen.append((time.perf_counter(), event["step"]))

    train_filter(config, on_event=note)
    seen = [mark for mark in seen if mark[1] % _EVERY == 0]  # the last step is said in any case
    (first, a), (last, b) = seen[len(seen) // 5], seen[-1]
    return (b - a) * config.batch_size / (last - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cache-megabytes", type=int, default=16_000)
    parser.add_argument("--side", type=int, default=256, help="pixels of the JPEGs' sides")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pool = write_pool(Path(folder) / "pool", 4, args.samples // 4, args.side)
        config = TrainConfig(
            model=args.model,
            shards=str(pool),
            output=f"{folder}/network",
            batch_size=args.batch_size,
            precision=args.precision,
            samples_seen=args.batch_size * args.steps,
            cache_megabytes=args.cache_megabytes,
            log_every=_EVERY,
            checkpoint_every=10 * args.steps,
            augment={"smallest_crop": 0.8, "flip": True},
        )
        found: dict[str, Any] = {"model": args.model, "batch": args.batch_size, "precision": args.precision}

        def say(**rates: float) -> None:
            found.update({name: round(rate, 3) for name, rate in rates.items()})
            print(json.dumps(found), flush=True)

        say(bare=bare(config, args.steps // 2))
        with as_configured(config):
            say(bare_repeatable=bare(config, args.steps // 2))
        say(training=trained(config))
        say(of_bare=found["training"] / found["bare"])


if __name__ == "__main__":
    main()
