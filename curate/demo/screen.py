"""What the demo says on the terminal: its steps, the funnel, and the comparison with the truth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from curate.demo.outcomes import Outcome
from curate.demo.truth import SEEKS, Verdict, fit_share, judge, kept, separation, tally

BAR_WIDTH = 32
WIDTH = 78  # columns, of the tables and of a step's line

KINDS = {
    "clean": "fitting caption",
    "mismatched": "wrong caption",
    "exact_duplicate": "copy, same bytes",
    "same_pixels": "copy, same pixels",
    "junk_caption": "junk caption",
    "broken_image": "broken image",
    "truncated_tar": "cut off",
}
STAGES = {
    "ingest": ("ingest", "broken files"),
    "rules": ("rules", "junk captions"),
    "duplicates": ("duplicates", "further copies"),
    "keep": ("CLIP score", "wrong captions"),
}


class Step:
    """One step under way: a bar on a terminal, and at the end one line with what was done and its seconds."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        columns = (
            TextColumn("  {task.description:<12}"),
            BarColumn(min(BAR_WIDTH, max(6, console.width - 46))),
            TextColumn("{task.fields[note]}"),
        )
        # Nothing but the final lines where nobody watches.
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bar = self._bars.add_task(title, total=None, note="")
        self.detail = ""

    def show(self, done: float, total: float | None, note: str = "") -> None:
        """Set how much of the work is done; without a total, that it is under way."""
        self._bars.update(self._bar, completed=done, total=total, note=note)

    def say(self, what: str, detail: str, seconds: float) -> None:
        """Print the line of a part of this step."""
        self._print(f"  {what}", detail, seconds, "dim")

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if kind is None:
            seconds = time.monotonic() - self._started
            self._print(self._title, self.detail, seconds, "bold")

    def _print(self, what: str, detail: str, seconds: float, style: str) -> None:
        narrow = self._console.width < WIDTH
        line = (
            f"  {what}: {detail}, {seconds:.1f} s"
            if narrow
            else f"  {what:<12} {detail:<52} {seconds:6.1f} s"
        )
        self._console.print(Text(line), style=style, highlight=False)


def print_account(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print the funnel, the fate of each kind of sample, and how right each stage was."""
    for table in (_funnel(outcomes), _fates(outcomes), _verdicts(judge(outcomes))):
        # A narrow terminal breaks the lines; Rich would leave columns out.
        console.print(table, width=max(WIDTH, console.width), crop=False)
    before, after = fit_share(outcomes), fit_share(kept(outcomes))
    fit = f"Fit to train on: {before:.1%} of the raw pool, [bold green]{after:.1%}[/] of what was kept."
    auc = f"A fitting caption outscores a wrong one {separation(outcomes):.1%} of the time (AUC)."
    console.print(f"  {fit}\n  {auc}", highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n  {title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.collapse_padding = True
    for n, column in enumerate(columns):
        # Words come first, figures after them.
        justify: Literal["left", "right"] = "left" if n == 0 or column == "is to find" else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    return table


def _funnel(outcomes: Sequence[Outcome]) -> Table:
    table = _table("The funnel", "after", "taken out", "left")
    table.add_column("")
    left = len(outcomes)
    for stage in ("raw pool", *STAGES):
        gone = sum(each.stage == stage for each in outcomes)
        left -= gone
        bar = "█" * max(1, round(BAR_WIDTH * left / len(outcomes)))
        name = STAGES[stage][0] if stage in STAGES else stage
        table.add_row(name, f"{gone:,}" if gone else "", f"{left:,}", Text(bar, style="cyan"))
    return table


def _fates(outcomes: Sequence[Outcome]) -> Table:
    """Show who caught what; a stage's own prey is green, what it should have let pass is red."""
    table = _table("What each sample was, and which stage took it out", "kind", "samples")
    for name, _ in STAGES.values():
        table.add_column(name, justify="right")
    table.add_column("kept", justify="right")
    counts = tally(outcomes)
    for kind, words in KINDS.items():
        if kind not in counts:
            continue
        cells = [_cell(counts[kind][stage], "green" if kind in SEEKS[stage] else "red") for stage in STAGES]
        last = _cell(counts[kind]["kept"], "green" if kind == "clean" else "red")
        table.add_row(words, f"{counts[kind].total():,}", *cells, last)
    return table


def _cell(n: int, style: str) -> Text:
    return Text(f"{n:,}", style=style) if n else Text("·", style="dim")


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    table = _table(
        "Against the truth", "stage", "is to find", "there", "took out", "right", "precision", "recall"
    )
    for verdict in verdicts:
        name, prey = STAGES[verdict.stage]
        counts = (f"{n:,}" for n in (verdict.sought, verdict.removed, verdict.right))
        precision = f"{verdict.precision:.1%}" if verdict.removed else "-"
        recall = f"{verdict.recall:.1%}" if verdict.sought else "-"
        table.add_row(name, prey, *counts, precision, recall)
    return table
