"""Whether torch, open_clip and FAISS work, and which GPUs they see: tried in processes of their own.

A library that is broken may end its process, hang, or print what it likes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from curate.doctor.finding import Finding
from pipelines.machine import ask_driver, installed

_TOGETHER = "install torch and torchvision together, as https://pytorch.org/get-started says for this machine"
_SECONDS = 90  # of a first import from a slow disk
_TORCH = """
import json, warnings
warnings.simplefilter("ignore")
found = {}
def say(): print("\\n@" + json.dumps(found), flush=True)
import torch
found |= {"torch": torch.__version__, "cuda": torch.version.cuda}
say()
try:
    import torchvision
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    found["torchvision"] = torchvision.__version__
    say()
    import open_clip
    found["open_clip"] = open_clip.__version__
except Exception as error:
    found["error"] = f"{type(error).__name__}: {error}"
say()
gpus = []
try:
    for n in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(n)
        gpus.append([facts.name, facts.total_memory])
        (torch.ones(8, 8, device=f"cuda:{n}") @ torch.ones(8, 8, device=f"cuda:{n}")).sum().item()
except Exception as error:
    found["gpu_error"] = f"{type(error).__name__}: {error}"
found["gpus"] = gpus
say()
"""
_FAISS = """
import json
import faiss, numpy
index = faiss.IndexFlatIP(4)
index.add(numpy.eye(4, dtype="float32"))
assert index.search(numpy.eye(4, dtype="float32"), 1)[1].ravel().tolist() == [0, 1, 2, 3]
gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else None
print("@" + json.dumps({"faiss": faiss.__version__, "gpus": gpus}), flush=True)
"""


class Probe:
    """A script under way in a process of its own, which says what it finds in lines of JSON behind an @."""

    def __init__(self, script: str) -> None:
        # Files next to where the user stands must not be imported in place of the libraries: -P.
        command = [sys.executable, "-P", "-c", script]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def result(self) -> tuple[dict[str, Any], str | None]:
        """Return what it found in the end, and how it failed, if it did."""
        try:
            out, err = self._process.communicate(timeout=_SECONDS)
            last = next((line for line in reversed(err.splitlines()) if line.strip()), "no message")
            failure = f"ended with {self._process.returncode}: {last.strip()}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, _ = self._process.communicate()
            failure = f"did not answer within {_SECONDS} s"
        said = [line[1:] for line in out.splitlines() if line.startswith("@")]
        found: dict[str, Any] = json.loads(said[-1]) if said else {}
        return found, failure if self._process.returncode else None


def start() -> tuple[Probe, Probe]:
    """Start the probes of torch with what builds on it, and of FAISS; they take seconds, side by side."""
    return Probe(_TORCH), Probe(_FAISS)


def torch(found: dict[str, Any], failure: str | None) -> Iterator[Finding]:
    """Judge what the probe of torch found."""
    if "torch" not in found:
        yield Finding("torch", "wrong", failure or "not there", _TOGETHER)
        return
    cuda = f"for CUDA {found['cuda']}" if found["cuda"] else "without CUDA"
    yield Finding("torch", "ok", f"{found['torch']}, {cuda}")


def open_clip(found: dict[str, Any], failure: str | None) -> Iterator[Finding]:
    """Judge what the probe of torch found of torchvision and open_clip."""
    error = found.get("error") or failure
    if "torchvision" not in found:
        pair = f"torch {installed('torch')} and torchvision {installed('torchvision')}"
        yield Finding("torchvision", "wrong", f"{pair} do not fit each other: {error}", _TOGETHER)
        return
    yield Finding("torchvision", "ok", f"{found['torchvision']}, fits torch")
    if "open_clip" not in found:
        todo = "pip install --upgrade open_clip_torch timm"
        yield Finding("open_clip", "wrong", error or "no answer", todo)
        return
    yield Finding("open_clip", "ok", found["open_clip"])


def gpus(
    torch_found: dict[str, Any], faiss_found: dict[str, Any], driver: str | None, failure: str | None = None
) -> Iterator[Finding]:
    """Judge whether the driver, torch and FAISS see the same GPUs; `failure` is that of torch's probe."""
    if "gpus" not in torch_found:
        todo = "mend torch, torchvision, open_clip first; if they are well, torch does not fit the driver"
        found = f"{driver or 'the driver did not answer'}; torch could not look for GPUs: {failure}"
        yield Finding("GPU", "wrong", found, todo)
        return
    seen = torch_found["gpus"]
    names = ", ".join(f"{name} ({memory / 2**30:.0f} GiB)" for name, memory in seen)
    if driver is None and not seen:
        yield Finding("GPU", "ok", "none; all stages run on CPUs, models slowly")
        return
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not seen and hidden is not None:
        found = f"hidden by CUDA_VISIBLE_DEVICES={hidden!r}: all stages run on CPUs"
        yield Finding("GPU", "warn", found, "unset it to use the GPU")
        return
    if not seen:
        yield Finding("GPU", "wrong", f"{driver}, and torch sees none", _why_unseen(torch_found))
        return
    yield Finding("GPU", "ok", f"{names}; {driver or 'the driver did not answer'}")
    if error := torch_found.get("gpu_error"):
        todo = "this torch was not built for this GPU or driver: install one that is, or update the driver"
        yield Finding("GPU", "wrong", f"torch can't compute on it: {error.splitlines()[0]}", todo)
    if faiss_found and faiss_found["gpus"] != len(seen):
        todo = "clusters are made on CPUs; for GPUs: pip uninstall faiss-cpu, then pip install faiss-gpu"
        yield Finding("FAISS", "warn", f"sees {faiss_found['gpus'] or 'no'} GPUs of {len(seen)}", todo)


def _why_unseen(found: dict[str, Any]) -> str:
    if found.get("gpu_error"):
        return str(found["gpu_error"]).splitlines()[0]
    if not found.get("cuda"):
        return "this torch has no CUDA: install one that has, see https://pytorch.org/get-started"
    return f"torch was built for CUDA {found['cuda']}, which the driver may be too old for: update it"


def faiss(found: dict[str, Any], failure: str | None) -> Iterator[Finding]:
    """Judge what the probe of FAISS found."""
    if failure or "faiss" not in found:
        todo = "pip install --force-reinstall faiss-gpu (on Linux) or faiss-cpu"
        yield Finding("FAISS", "wrong", failure or "no answer", todo)
        return
    count = found["gpus"]
    yield Finding("FAISS", "ok", f"{found['faiss']}, {f'sees {count} GPUs' if count else 'sees no GPU'}")


def driver() -> str | None:
    """Return what NVIDIA's driver says of itself; None where there is none."""
    versions = ask_driver("driver_version")
    return f"driver {versions[0]}" if versions else None
