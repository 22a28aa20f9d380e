"""Embedding on a GPU against its two limits: the bare model on ready tensors, and the decoders' cores.

Needs a CUDA device. clip-retrieval is measured too where it is installed, with the same weights and shards.

    python -m benchmarks.gpu_embedding --model ViT-B-32 --batch-size 1024
    python -m benchmarks.gpu_embedding --model ViT-L-14 --batch-size 256 --samples 30000
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.decoders import Cores, decoding, places_of
from benchmarks.pools import write_pool
from pipelines.config import RunConfig
from pipelines.pool.samples import read_whole
from pipelines.run import execute
from scoring.cores import usable_cores
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderSpec
from scoring.model_loading import new_model

_BARE_SECONDS = 5.0


def weights(model: str, folder: Path) -> Path:
    """Write random weights, which take as long as trained ones."""
    path = folder / f"{model}.safetensors"
    state = new_model(model, 0, torch.device("cpu")).model.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def bare(encoder: Encoder) -> float:
    """Return pairs a second of both towers alone, recorded as a graph, their input on the device."""
    _, model = encoder._gpu
    n = encoder._spec.batch_size
    return n * _rate(lambda: model._run(), model._computing)


def eager(encoder: Encoder) -> float:
    """Return the same without a graph, as a plain loop would do it."""
    _, model = encoder._gpu
    return encoder._spec.batch_size * _rate(model._forward, model._computing)


@torch.inference_mode()
def _rate(step: Callable[[], object], stream: torch.cuda.Stream) -> float:
    with torch.cuda.stream(stream):
        for _ in range(5):
            step()
        torch.cuda.synchronize()
        started, n = time.perf_counter(), 0
        while time.perf_counter() - started < _BARE_SECONDS:
            for _ in range(10):
                step()
            torch.cuda.synchronize()
            n += 10
    return n / (time.perf_counter() - started)


def copies(encoder: Encoder) -> float:
    """Return GB a second from the decoders' memory to the device."""
    pool, model = encoder._gpu
    images, _ = pool._layout.arrays(pool.memory, 0)
    host = torch.from_numpy(images)
    return host.nbytes / 1e9 * _rate(lambda: model._arrived.copy_(host, non_blocking=True), model._copying)


def nvjpeg(shards: list[Path], n: int = 20_480) -> float | None:
    """Return JPEGs a second that the GPU's own decoder reads, in batches of 256; None where it has none."""
    from torchvision.io import decode_jpeg

    one = [torch.frombuffer(bytearray(image.data), dtype=torch.uint8) for _, image, _ in
           itertools.islice(read_whole(str(shards[0])), 1024)]  # fmt: skip
    images = one * (n // len(one))
    try:
        decode_jpeg(images[:256], device="cuda")
    except RuntimeError as error:
        print(f"nvJPEG is not here: {error}")
        return None
    torch.cuda.synchronize()
    started = time.perf_counter()
    for start in range(0, len(images), 256):
        decode_jpeg(images[start : start + 256], device="cuda")
    torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - started)


def pipeline(spec: EncoderSpec, pool: Path, home: Path) -> dict[str, float]:
    """Run `score: clip` over the pool; return samples a second of the embedding stage, whole and steady.

    With what the cores did in the steady part.
    """
    config = {
        "name": "gpu",
        "pool": {"shards": str(pool), "verify": "header"},
        "run": str(home / "run"),
        "engine": {"gpus": 1, "threads_per_worker": 1},
        "encoder": spec.model_dump(),
        "stages": [{"score": "clip"}, {"keep": {"by": "clip", "top": 10}}],
        "output": {"shards": str(home / "out")},
    }
    shards: list[tuple[float, int]] = []
    busy: list[Cores] = []
    done: dict[str, Any] = {}

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "shard" and event["stage"] == "embed":
            shards.append((time.perf_counter(), event["samples"]))
            busy.append(Cores())
        if event["event"] == "stage_done":
            done[event["stage"]] = event

    execute(RunConfig.model_validate(config), emit=note)
    head = max(2, len(shards) // 5)  # until then the model is loaded and recorded
    steady = sum(n for _, n in shards[head:]) / (shards[-1][0] - shards[head - 1][0])
    whole = done["embed"]["samples"] / done["embed"]["seconds"]
    print(json.dumps({stage: event["seconds"] for stage, event in done.items()}))
    return {"steady": steady, "whole": whole, **busy[head - 1].until(busy[-1].since)}


def clip_retrieval(
    encoder: Encoder, shards: list[Path], batch_size: int, home: Path
) -> dict[str, float] | None:
    """Return samples a second of clip-retrieval's reader, mapper and writer, whole and steady.

    With what the cores did in the steady part. Its processes work ahead of the model, so the clock of that
    part starts with their third batches.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    loader = types.ModuleType("all_clip")
    model = types.SimpleNamespace(
        encode_image=lambda x: encoder._model.encode_image(x.to(torch.bfloat16)).float(),
        encode_text=lambda x: encoder._model.encode_text(x).float(),
    )
    transform = image_transform_v2(PreprocessCfg(**encoder._model.visual.preprocess_cfg), is_train=False)
    loader.load_clip = lambda **_: (model, transform, encoder._tokenizer.wrapped)  # type: ignore[attr-defined]
    if not _without_its_servers("clip_retrieval", all_clip=loader):
        print("clip-retrieval is not here")
        return None
    from clip_retrieval.clip_inference.mapper import ClipMapper
    from clip_retrieval.clip_inference.reader import WebdatasetReader
    from clip_retrieval.clip_inference.writer import NumpyWriter

    reader = WebdatasetReader(
        lambda urls: urls, transform, encoder._tokenizer.wrapped, [str(path) for path in shards],
        batch_size, usable_cores(),
    )  # fmt: skip
    mapper = ClipMapper(True, True, False, False, "", False, "")
    writer = NumpyWriter(0, str(home / "clip-retrieval"), True, True, False, 1)
    times, busy = [(time.perf_counter(), 0)], [Cores()]
    for batch in reader:
        writer(mapper(batch))
        times.append((time.perf_counter(), len(batch["image_filename"])))
        busy.append(Cores())
    writer.flush()
    head = min(2 * usable_cores(), len(times) // 2)
    whole, steady = (
        sum(n for _, n in times[start + 1 :]) / (times[-1][0] - times[start][0]) for start in (0, head)
    )
    return {"steady": steady, "whole": whole, **busy[head].until(busy[-1].since)}


def _without_its_servers(package: str, **given: types.ModuleType) -> bool:
    """Let the inference of clip-retrieval be imported alone, with a loader of models; False: it isn't here.

    The package itself imports a web server, a logging service and a multilingual model, none of them used.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return False
    multilingual = types.ModuleType("sentence_transformers")
    multilingual.SentenceTransformer = None  # type: ignore[attr-defined]
    sys.modules |= {**given, "sentence_transformers": multilingual}
    for name, folder in ((package, ""), (f"{package}.clip_inference", "clip_inference")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(Path(found.submodule_search_locations[0], folder))]
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--samples", type=int, default=96_000)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--side", type=int, default=384, help="pixels of the JPEGs' sides")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement of the decoders")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        cores = usable_cores()
        n_shards = 2 * cores  # clip-retrieval gives its processes whole shards
        pool = write_pool(home / "pool", n_shards, args.samples // n_shards, args.side)
        shards = sorted(pool.glob("*.tar"))
        path = weights(args.model, home)
        spec = EncoderSpec(
            model=args.model,
            pretrained=str(path),
            precision=args.precision,
            batch_size=args.batch_size,
            activation="quickgelu" if args.model.endswith("quickgelu") else "gelu",
            device="cuda",
        )
        encoder = Encoder.load(spec)
        found: dict[str, Any] = {"model": args.model, "batch": args.batch_size}

        def say(**rates: Any) -> None:
            found.update(rates)
            print(json.dumps(found), flush=True)

        say(jpeg_kB=sum(shard.stat().st_size for shard in shards) / args.samples / 1000)
        say(bare_graph=bare(encoder), bare_eager=eager(encoder), copy_GB_s=copies(encoder))
        places = places_of(shards)
        say(decode_1=decoding(encoder, places, 1, args.seconds))
        say(decode_half=decoding(encoder, places, cores // 2, args.seconds))
        say(decode_all=decoding(encoder, places, cores, args.seconds), nvjpeg=nvjpeg(shards))
        say(pipeline=pipeline(spec, pool, home))
        say(clip_retrieval=clip_retrieval(encoder, shards, args.batch_size, home))
        limit = min(found["bare_graph"], found["decode_all"]["rate"])
        steady = found["pipeline"]["steady"]
        say(of_bare=steady / found["bare_graph"], of_limit=steady / limit)


if __name__ == "__main__":
    main()
