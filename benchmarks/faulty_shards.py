"""The same faulty shards through curate and other readers: kept, lost, wrong, crashed, not done in a minute.

    python -m benchmarks.faulty_shards                            # those that are installed here
    python -m benchmarks.faulty_shards --peers PEERS/bin/python   # clip-retrieval and open_clip from there

Each shard holds a hundred samples with generated pictures, some of which are spoiled in one way. A reader may
not give those; all others it should. Each reader has a process of its own and a minute.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.faulty_readers import PEERS, READERS, SIDE

N = 100
SPOILED = range(0, N, 10)
_SECONDS = 60
_SCRIPT = Path(__file__).with_name("faulty_readers.py")

Parts = dict[str, bytes]


def picture(number: int, format: str = "JPEG") -> bytes:
    """Return a picture that shows a number, and some texture."""
    bits = np.array([number >> place & 1 for place in range(SIDE * SIDE)], np.uint8).reshape(SIDE, SIDE)
    pixels = np.kron(40 + 150 * bits, np.ones((24, 24), np.uint8))[..., None].repeat(3, 2)
    pixels += np.random.default_rng(number).integers(0, 40, pixels.shape, np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format)
    return sink.getvalue()


def sample(number: int) -> Parts:
    """Return a sample's files by suffix."""
    text = f"a picture that shows the number {number}"
    return {"jpg": picture(number), "txt": text.encode(), "json": json.dumps({"number": number}).encode()}


def tar(files: list[tuple[str, bytes]]) -> bytes:
    """Return a tar of files."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as out:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def _files(samples: dict[str, Parts]) -> list[tuple[str, bytes]]:
    return [(f"{key}.{suffix}", data) for key, parts in samples.items() for suffix, data in parts.items()]


def whole() -> dict[str, Parts]:
    """Return all samples by key."""
    return {f"{number:06d}": sample(number) for number in range(N)}


def _spoil(change: Callable[[Parts], Parts], which: range = SPOILED) -> bytes:
    """Return a shard in which some samples are changed."""
    samples = whole()
    for number in which:
        key = f"{number:06d}"
        samples[key] = change(samples[key])
    return tar(_files(samples))


def _scan_bomb(parts: Parts) -> Parts:
    sink = io.BytesIO()
    Image.new("L", (1500, 1500), 99).save(sink, "JPEG", progressive=True)
    image = sink.getvalue()
    again = image[image.rfind(b"\xff\xc4") : -2]
    return {**parts, "jpg": image[:-2] + again * 30_000 + image[-2:]}


def _pixel_bomb(parts: Parts) -> Parts:
    from tests.fuzzing.pictures import bomb

    return {**parts, "jpg": bomb(30_000, 30_000, 1)}


class _Code:
    """Leaves a file behind when its pickle is read."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (os.environ["CURATE_MARK"],)


def _shuffled() -> bytes:
    files = _files(whole())
    return tar(sorted(files, key=lambda file: file[0].rpartition(".")[2]))


def _same_key() -> bytes:
    """Every tenth sample has the key of the one behind it: which files belong together can't be known."""
    files = []
    for key, parts in whole().items():
        number = int(key)
        name = f"{number + 1:06d}" if number in SPOILED else key
        files += [(f"{name}.{suffix}", data) for suffix, data in parts.items()]
    return tar(files)


def _header(data: bytes) -> bytes:
    """Return a tar with one byte of the header of a member in the middle changed."""
    at = data.find(b"000050.txt")
    return data[: at + 3] + b"9" + data[at + 4 :]


@dataclass(frozen=True)
class Fault:
    """A way in which a shard is faulty; `bad` samples may not come out, the others should."""

    name: str
    make: Callable[[], bytes]
    bad: frozenset[int] = field(default_factory=frozenset)


_TEN, _ONE = frozenset(SPOILED), frozenset({50})
_MIDDLE = range(50, 51)
FAULTS = (
    Fault("none", lambda: tar(_files(whole()))),
    Fault("10 JPEGs cut short", lambda: _spoil(lambda p: {**p, "jpg": p["jpg"][:-400]}), _TEN),
    Fault("10 pages instead of images", lambda: _spoil(lambda p: {**p, "jpg": b"<html>404</html>"}), _TEN),
    Fault("10 captions that are no UTF-8", lambda: _spoil(lambda p: {**p, "txt": b"\xff\xfe 1"}), _TEN),
    Fault("10 samples without a caption", lambda: _spoil(lambda p: {"jpg": p["jpg"]}), _TEN),
    Fault("10 JSONs that are none", lambda: _spoil(lambda p: {**p, "json": b'{"number": '})),
    Fault("10 keys that stand twice", _same_key),
    Fault("all images first, then all captions", _shuffled),
    Fault("cut at two thirds", lambda: (d := tar(_files(whole())))[: len(d) * 2 // 3]),
    Fault("one bad byte in a header", lambda: _header(tar(_files(whole()))), _ONE),
    Fault("700 bytes of noise in the middle", lambda: _inserted(random.Random(0).randbytes(700))),
    Fault("1,111 bytes lost in the middle", lambda: _lost(1111)),
    Fault("a page instead of the tar", lambda: b"<html>503</html>"),
    Fault("a PNG of 900 megapixels", lambda: _spoil(_pixel_bomb, _MIDDLE), _ONE),
    Fault("a JPEG of 30,000 scans", lambda: _spoil(_scan_bomb, _MIDDLE), _ONE),
    Fault("a pickle beside an image", lambda: _spoil(lambda p: {**p, "pyd": pickle.dumps(_Code())}, _MIDDLE)),
)


def _middle(data: bytes) -> int:
    """Return where the JPEG of the sample in the middle begins."""
    return data.find(b"000050.jpg") + 512


def _inserted(noise: bytes) -> bytes:
    data = tar(_files(whole()))
    return data[: _middle(data) - 512] + noise + data[_middle(data) - 512 :]


def _lost(n: int) -> bytes:
    data = tar(_files(whole()))
    return data[: _middle(data) + 1000] + data[_middle(data) + 1000 + n :]


def _intact(fault: Fault, data: bytes) -> set[int]:
    """Return the samples whose picture and caption stand in a shard byte for byte, under one key."""
    samples = {number: sample(number) for number in set(range(N)) - fault.bad}
    return {n for n, parts in samples.items() if parts["jpg"] in data and parts["txt"] in data}


def read(reader: str, shard: Path, python: str) -> tuple[list[tuple[str, str]], str]:
    """Return (caption's number, picture's number) of what a reader gives, and how it ended."""
    mark = shard.with_suffix(".mark")
    command = [python, str(_SCRIPT), reader, str(shard)]
    environment = {**os.environ, "PYTHONPATH": str(_SCRIPT.parents[1]), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            out, error = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, error = process.communicate()
            ended = f"not done in {_SECONDS} s"
        else:
            ended = "" if out.endswith("end\n") else f"crashed ({_kind(error)})"
            ended = ended.replace(
                "crashed (StoppedError)", "stopped, says why"
            )  # with exit code 3, no traceback
    if mark.exists():
        mark.rmdir()
        ended = f"{ended}, ran the code".lstrip(", ")
    pairs = [tuple(line.split()) for line in out.splitlines() if line != "end"]
    return [(pair[0], pair[-1]) for pair in pairs], ended


def _kind(error: str) -> str:
    """Return the type of the exception that ends a traceback."""
    lines = [line for line in error.splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return re.split(r"\W", lines[-1].partition(":")[0])[-1] if lines else "no message"


def judged(fault: Fault, intact: set[int], pairs: list[tuple[str, str]]) -> dict[str, int]:
    """Return how many intact samples came out, how many did not, and how many came that should not."""
    right = {int(text) for text, shown in pairs if text == shown and int(text) not in fault.bad}
    kept = right & intact
    return {"kept": len(kept), "lost": len(intact - kept), "wrong": len(pairs) - len(right)}


def main() -> None:
    """Read every faulty shard by every reader, and print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default=sys.executable, help="the Python that has the other readers")
    parser.add_argument("--only", nargs="*", help="readers, all unless some are named")
    parser.add_argument("--faults", nargs="*", help="words of the faults to try")
    args = parser.parse_args()
    readers = args.only or list(READERS)
    print("| fault of the shard | intact | " + " | ".join(readers) + " |")
    print("|---" * (len(readers) + 2) + "|")
    with tempfile.TemporaryDirectory() as home:
        for number, fault in enumerate(FAULTS):
            if args.faults and not any(word in fault.name for word in args.faults):
                continue
            shard = Path(home, f"{number:05d}.tar")
            os.environ["CURATE_MARK"] = str(shard.with_suffix(".mark"))
            shard.write_bytes(fault.make())
            intact = _intact(fault, shard.read_bytes())
            cells = []
            for reader in readers:
                pairs, ended = read(reader, shard, args.peers if reader in PEERS else sys.executable)
                cells.append(_cell(judged(fault, intact, pairs), ended))
            print(f"| {fault.name} | {len(intact)} | " + " | ".join(cells) + " |", flush=True)


def _cell(counts: dict[str, int], ended: str) -> str:
    words = [f"{counts['kept']} kept"]
    words += [f"{counts[name]} {name}" for name in ("lost", "wrong") if counts[name]]
    return ", ".join([*words, *([f"**{ended}**"] if ended else [])])


if __name__ == "__main__":
    main()
