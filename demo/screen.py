"""What the tour shows while it runs and when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_PLAIN: dict[str, Any] = {
    "box": box.SIMPLE_HEAD,
    "title_justify": "left",
    "title_style": "bold",
    "header_style": "dim",
    "pad_edge": False,
}


class Stage:
    """One line of the screen: its name, what it is doing, and for how long."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.state = "waiting"
        self.started = 0.0
        self.seconds = 0.0
        self.spinner = Spinner("dots", style="cyan")

    def elapsed(self) -> float:
        """Return the seconds the stage took, or has taken so far."""
        return time.monotonic() - self.started if self.state == "running" else self.seconds


class Screen:
    """A live list of stages on a terminal; the same as plain lines where the output is not a terminal."""

    def __init__(self, console: Console, titles: dict[str, str]) -> None:
        self.console = console
        self.stages = {key: Stage(title) for key, title in titles.items()}
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8, transient=False)

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    @contextmanager
    def stage(self, key: str) -> Iterator[Stage]:
        """Run one stage: its line spins until the block ends, then shows its time; a failure marks it red."""
        stage = self.stages[key]
        stage.state, stage.started = "running", time.monotonic()
        try:
            yield stage
        except BaseException:
            stage.seconds, stage.state = stage.elapsed(), "failed"
            self._say(stage)
            raise
        stage.seconds, stage.state = stage.elapsed(), "done"
        self._say(stage)

    def seconds(self) -> dict[str, float]:
        """Return the seconds per stage that has run."""
        return {key: round(stage.seconds, 1) for key, stage in self.stages.items() if stage.state == "done"}

    def _say(self, stage: Stage) -> None:
        if not self.console.is_terminal:
            mark = "done" if stage.state == "done" else "FAILED"
            self.console.print(
                f"{mark:6} {stage.title:42} {stage.seconds:6.1f} s  {stage.detail}", soft_wrap=True, highlight=False
            )

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True, width=8)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for stage in self.stages.values():
            mark: Any = {
                "waiting": Text("·", style="dim"),
                "running": stage.spinner,
                "done": Text("✔", style="green"),
                "failed": Text("✘", style="bold red"),
            }[stage.state]
            clock = f"{stage.elapsed():.1f} s" if stage.state != "waiting" else ""
            style = "dim" if stage.state == "waiting" else ""
            table.add_row(mark, Text(stage.title, style=style), Text(clock, style="dim"), Text(stage.detail))
        return table


def show_summary(console: Console, summary: dict[str, Any], notes: list[str]) -> None:
    """Print the last screen: documents, the model beside the best achievable, who approved, whom to look at."""
    documents = Table(title="Documents", **_PLAIN)
    documents.add_column("data stream")
    for column in ("read", "indexed", "duplicate", "rejected"):
        documents.add_column(column, justify="right")
    for stream, counts in summary["documents"].items():
        documents.add_row(stream, *(f"{counts[c]:,}" for c in ("read", "indexed", "duplicate", "rejected")))

    model, best, hours = summary["model"], summary["best_achievable"], summary["user_hours"]
    figures = Table(title="Model", show_header=False, **_PLAIN)
    figures.add_column(no_wrap=True)
    figures.add_column(no_wrap=True)
    for name, value in (
        ("trained model", model["id"]),
        ("alias", model["alias"]),
        ("AUC on the holdout", f"{model['auc_roc']:.3f}   (best achievable {best['auc_roc']:.3f})"),
        ("average precision", f"{model['average_precision']:.3f}   (best achievable {best['average_precision']:.3f})"),
        ("holdout documents", f"{model['holdout_documents']:,}"),
        ("approved by", summary["approved_by"]),
        ("events scored on arrival", f"{summary['scored_documents']:,}"),
        ("second model", hours["id"] if hours else "none was promoted"),
        ("user-hours scored", f"{hours['scored']:,}   (AUC on the holdout {hours['auc_roc']:.3f})" if hours else "0"),
        ("anomalies noticed", f"{summary['anomalies']:,}"),
    ):
        figures.add_row(name, str(value))

    people = Table(title=f"Most suspicious on {summary['days']['scored']}", **_PLAIN)
    for column, justify in (("user", "left"), ("name", "left"), ("score", "right"), ("events", "right")):
        people.add_column(column, justify=justify)  # type: ignore[arg-type]
    people.add_column("reasons, strongest first")
    for person in summary["suspicious_users"]:
        people.add_row(
            person["user"],
            person["name"],
            f"{person['score']:.3f}",
            f"{person['events']:,}",
            ", ".join(person["reasons"][:3]),
        )

    seconds = summary["seconds"]
    times = "   ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items() if stage != "total")
    console.print()
    for table in (documents, figures, people):
        console.print(table)
    console.print(f"[bold]{seconds['total']:.0f} s[/bold]  ({times})", highlight=False)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)


def show_failure(console: Console, message: str, log_folder: str) -> None:
    """Print why the tour stopped and where to look."""
    body = Text(message)
    body.append(
        f"\n\nLogs: {log_folder}\nWhat had been done is kept; run `make demo` again to go on, or `make clean` first."
    )
    console.print(Panel(body, title="The demo stopped", title_align="left", border_style="red"))
