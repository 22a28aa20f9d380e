"""The folder of a trained network: what open_clip loads, the log, the card, and how far training has come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipelines.errors import ConfigError
from pipelines.storage import Folder
from pipelines.training.plot import draw

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
LOG = "training.jsonl"
PLOT = "training.png"
CARD = "MODEL_CARD.md"
CHECKPOINT = "checkpoint.pt"

_MARK = "curate"  # a single key: safetensors writes several in any order, and the bytes should be the same


@dataclass(frozen=True)
class OutputFolder:
    """A folder that holds one network, or a checkpoint of it; every file appears whole or not at all."""

    path: Path

    @property
    def _files(self) -> Folder:
        return Folder(str(self.path))

    def finished_as(self) -> str | None:
        """Return the fingerprint of the network that lies here; None when there is none.

        Raises
        ------
        ConfigError
            When weights lie here that this command did not write.
        """
        weights = self.path / WEIGHTS
        if not weights.exists():
            return None
        try:
            with safe_open(weights, framework="np") as file:
                mark = json.loads((file.metadata() or {}).get(_MARK, "{}"))
        except (SafetensorError, OSError):
            mark = {}
        if "fingerprint" not in mark:
            raise ConfigError(
                f"output: {weights} was not written by curate; name another folder for the network"
            )
        return str(mark["fingerprint"])

    def holds(self, fingerprint: str) -> bool:
        """Tell whether the network of a fingerprint lies here, finished or on its way."""
        return self.finished_as() == fingerprint or self.checkpoint(fingerprint)[0] is not None

    def checkpoint(self, fingerprint: str) -> tuple[dict[str, Any] | None, bool]:
        """Return the checkpoint that belongs to this fingerprint, and whether one of another lies here."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None, False
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # unreadable is as good as none: training starts anew
            return None, True
        return (content, False) if content.get("fingerprint") == fingerprint else (None, True)

    def save_checkpoint(self, content: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        with self._files.create(CHECKPOINT) as stream:
            torch.save(dict(content), stream)

    def clear(self) -> None:
        """Remove what an earlier training left."""
        for name in (WEIGHTS, CONFIG, CARD, CHECKPOINT, LOG, PLOT):
            (self.path / name).unlink(missing_ok=True)

    def keep_log(self, steps: int) -> None:
        """Cut the log back to the first `steps` steps, those that will not be done again."""
        self.write_log(line for line in self.log() if line["step"] <= steps)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the log; a half-written last one, from a killed process, is left out."""
        path = self.path / LOG
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def add_to_log(self, line: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with (self.path / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def finish(
        self, model: Any, tokenizer: Any, model_config: Mapping[str, Any], fingerprint: str, card: str
    ) -> str:
        """Write a trained model and return its weights' sha256; from then on it is done."""
        preprocess = {
            key: value for key, value in model.visual.preprocess_cfg.items() if key not in ("size", "mode")
        }
        content = {"model_cfg": dict(model_config), "preprocess_cfg": preprocess}
        if hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(str(self.path))
        self._files.write(CONFIG, (json.dumps(content, indent=2) + "\n").encode())
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        return self.finish_with(state, fingerprint, card)

    def finish_with(self, state: Mapping[str, torch.Tensor], fingerprint: str, card: str) -> str:
        """Write weights, beside a configuration that is there, and return their sha256; it is done then."""
        if log := self.log():
            with self._files.create(PLOT) as stream:
                draw(log, stream)
        weights = save(dict(state), {_MARK: json.dumps({"fingerprint": fingerprint})})
        digest = hashlib.sha256(weights).hexdigest()
        self._files.write(CARD, card.replace("{weights_sha256}", digest).encode())
        self._files.write(WEIGHTS, weights)  # the last: they say that all is there
        (self.path / CHECKPOINT).unlink(missing_ok=True)
        return digest

    def write_log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Replace the log."""
        self._files.write(LOG, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def copy_from(self, other: OutputFolder) -> None:
        """Take another network's configuration and tokenizer."""
        for path in other._settings():
            self._files.write(path.name, path.read_bytes())

    def card(self) -> str:
        """Return the model card; empty where there is none."""
        path = self.path / CARD
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def move_to(self, other: OutputFolder) -> None:
        """Move the network, or the checkpoint of one, into another folder."""
        other.path.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in self._settings()] + [CARD, LOG, PLOT, CHECKPOINT, WEIGHTS]
        for name in names:  # what says that a network is here comes last, so that a second try finds it
            if (self.path / name).exists():
                (self.path / name).replace(other.path / name)

    def _settings(self) -> list[Path]:
        """Return the files of configuration and tokenizer."""
        return [path for path in self.path.iterdir() if path.suffix in (".json", ".txt", ".model")]
