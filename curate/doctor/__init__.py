"""Look at everything a run depends on, before one does."""

from __future__ import annotations

from functools import partial

from curate.doctor import libraries, machine, packages
from curate.doctor.finding import Finding, guarded

__all__ = ["Finding", "examine"]


def examine(folder: str = ".") -> list[Finding]:
    """Return what was found of this machine and what is installed on it, each with what to do about it.

    Nothing is left behind, and nothing that fails here keeps other checks from being made.

    Parameters
    ----------
    folder
        Where a run is going to lie.
    """
    torch_probe, faiss_probe = libraries.start()
    found = guarded("Python", packages.python) + guarded("packages", packages.requirements)
    here = guarded("cores", machine.cores) + guarded("memory", machine.memory)
    here += guarded("disk", partial(machine.disk, folder))
    further = guarded("extras", packages.extras) + guarded("plugins", packages.plugins)
    driver = libraries.driver()
    (torch, torch_failure), (faiss, faiss_failure) = torch_probe.result(), faiss_probe.result()
    found += guarded("torch", partial(libraries.torch, torch, torch_failure))
    found += guarded("open_clip", partial(libraries.open_clip, torch, torch_failure))
    found += guarded("FAISS", partial(libraries.faiss, faiss, faiss_failure))
    found += guarded("GPU", partial(libraries.gpus, torch, faiss, driver, torch_failure))
    here += guarded("limits", partial(machine.limits, bool(torch.get("gpus"))))
    return found + here + further
