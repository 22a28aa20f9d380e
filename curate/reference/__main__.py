"""`python -m curate.reference [DOCS]` brings the generated text of the pages up to the code."""

from __future__ import annotations

import sys
from pathlib import Path

from curate.reference.pages import pages


def main(docs: Path) -> None:
    """Write the pages whose text is no longer what the code says, and name them."""
    for page, text in pages(docs).items():
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page}")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or ["docs"]))
