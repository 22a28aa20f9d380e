"""Samples that could not be read: how many of each kind, and the first of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from curate.html import escape, shown
from curate.report.finished import Finished
from pipelines.output.publish import SET_ASIDE
from pipelines.pool.placeholders import Placeholder

_PER_REASON = 8


def set_aside_table(run: Finished) -> str:
    """Return a table of samples that were set aside, some of every reason."""
    seen: Counter[tuple[str, str]] = Counter()
    rows = []
    for item in _rows(run):
        kind = (item["stage"], item["reason"])
        seen[kind] += 1
        if seen[kind] <= _PER_REASON:
            rows.append(item)
    rows.sort(key=lambda item: (item["stage"], item["reason"]))
    head = "<tr><th>reason</th><th>shard</th><th>key</th><th>what was found</th></tr>"
    body = "".join(
        f"<tr><td>{_cell(item['reason'])}</td><td>{_cell(item['shard'])}</td>"
        f"<td>{_cell(item['key'])}</td><td>{_cell(item['detail'])}</td></tr>"
        for item in rows
    )
    more = run.count("set_aside") - len(rows)
    note = (
        f"<p class=quiet>{more:,} more stand in <code>{SET_ASIDE}</code> in the run folder.</p>"
        if more
        else ""
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Samples set aside">'
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>{note}"
    )


def placeholder_table(found: Sequence[Placeholder]) -> str:
    """Return a table of pictures that stand under many captions."""
    head = "<tr><th>samples, at least</th><th>some of their captions</th><th>hash of the picture</th></tr>"
    body = "".join(
        f"<tr><td>{each.samples:,}</td><td>{'<br>'.join(map(_cell, each.captions))}</td>"
        f"<td><code>{escape(each.image)}</code></td></tr>"
        for each in found
    )
    return (
        "<p>Where an image is not available, sites serve a picture that says so; nothing can be learned from "
        "it. <code>- repeats: {max_image_repeats: 20}</code> drops images that stand more often than that."
        '</p><div class="scroll" tabindex="0" role="region" aria-label="Pictures under many captions">'
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _rows(run: Finished) -> Any:
    """Yield what stands in the run folder's list, until there is enough of every reason."""
    if not run.folder.exists(SET_ASIDE):
        return
    wanted = {
        (stage.name, reason): min(n, _PER_REASON)
        for stage in run.stages
        for reason, n in run.tallies[stage.name]["set_aside"].items()
    }
    with run.folder.open(SET_ASIDE) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(batch_size=10_000):
            for item in batch.to_pylist():
                kind = (item["stage"], item["reason"])
                wanted[kind] = wanted.get(kind, 0) - 1
                yield item
            if all(n <= 0 for n in wanted.values()):
                return


def _cell(value: str | None) -> str:
    return f"<bdi>{escape(shown(value or '', 200))}</bdi>"
