"""Counts the results of the demonstration, and shows the live table and the verdict.

An empty cell is a failure, and so is an epoch that was received before its start.
"""

from dataclasses import dataclass, field

from rich.table import Table


@dataclass(slots=True)
class Cell:
    """The results of one participant in one epoch. `tasks` maps each task to whether it was done."""

    milliseconds: float | None = None
    tasks: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class Scoreboard:
    """The results of all participants. `expected` has the tasks of each participant in each epoch, besides
    receiving it."""

    epochs: int
    expected: dict[str, tuple[str, ...]]
    epoch_ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def counts(self, epoch_id: str) -> bool:
        """Return whether this epoch belongs to the demonstration, which consists of the first pushed
        epochs."""
        if epoch_id not in self.epoch_ids and len(self.epoch_ids) < self.epochs:
            self.epoch_ids.append(epoch_id)
        return epoch_id in self.epoch_ids

    def received(self, who: str, epoch_id: str, milliseconds: float) -> None:
        cell = self._cell(who, epoch_id)
        if cell.milliseconds is not None:
            self.problems.append(f"{who} received {epoch_id} twice")
        if milliseconds < 0:
            self.problems.append(f"{who} received {epoch_id} {-milliseconds:.1f} ms before its start")
        cell.milliseconds = milliseconds

    def done(self, who: str, epoch_id: str, task: str) -> None:
        self._cell(who, epoch_id).tasks[task] = True

    def failed(self, who: str, epoch_id: str, task: str, reason: str) -> None:
        self.problems.append(f"{who} could not {task} in {epoch_id}: {reason}")

    def table(self) -> Table:
        starts = [epoch_id.partition("T")[2].replace("-", ":") for epoch_id in self.epoch_ids]
        table = Table("", *starts, title="received, in milliseconds after the start, signature verified")
        for who, tasks in self.expected.items():
            table.add_row(who, *(self._text(who, epoch_id, tasks) for epoch_id in self.epoch_ids))
        return table

    def missing(self) -> list[str]:
        """Return everything that was expected and is missing, and all errors."""
        absent = [
            f"{who}: {what} is missing in {epoch_id}"
            for epoch_id in self.epoch_ids
            for who, tasks in self.expected.items()
            for what in self._absent(self._cell(who, epoch_id), tasks)
        ]
        if len(self.epoch_ids) < self.epochs:
            absent.append(f"{self.epochs - len(self.epoch_ids)} epochs did not arrive")
        return self.problems + absent

    def summary(self) -> str:
        """Return one plain line, which begins with `demo passed` only if nothing is missing."""
        times = [cell.milliseconds for cell in self._cells.values() if cell.milliseconds is not None]
        received = f"{len(times)} of {self.epochs * len(self.expected)} epochs received and verified"
        span = f", {min(times):.1f} to {max(times):.1f} ms after their start" if times else ""
        tasks = sorted({task for tasks in self.expected.values() for task in tasks})
        counted = [f"{self._count(task)} of {self._due(task)} {task}s" for task in tasks]
        verdict = "demo failed" if self.missing() else "demo passed"
        return f"{verdict}: {received}{span}; {', '.join(counted)}"

    def _cell(self, who: str, epoch_id: str) -> Cell:
        return self._cells.setdefault((who, epoch_id), Cell())

    def _absent(self, cell: Cell, tasks: tuple[str, ...]) -> list[str]:
        absent = [task for task in tasks if task not in cell.tasks]
        return absent if cell.milliseconds is not None else ["receipt", *absent]

    def _count(self, task: str) -> int:
        return sum(task in cell.tasks for cell in self._cells.values())

    def _due(self, task: str) -> int:
        return self.epochs * sum(task in tasks for tasks in self.expected.values())

    def _text(self, who: str, epoch_id: str, tasks: tuple[str, ...]) -> str:
        cell = self._cell(who, epoch_id)
        if cell.milliseconds is None:
            return "…"
        marks = " ".join(task if task in cell.tasks else "…" for task in tasks)
        return f"{cell.milliseconds:6.1f} ms  {marks}"
