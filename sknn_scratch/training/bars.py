"""How far training, or compiling beforehand, is: on stderr, a bar of tqdm or rich, or plain lines."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Any


def start_bar(total: int, unit: str = "epoch") -> Any:
    """Return a bar of whichever library is installed, in a terminal or a notebook.

    Without either, or where nobody looks on, it is what prints a line after every tenth. ``complete`` says that no more
    is to come, also where that is less than ``total``; without it, ``close`` shows how far it came.
    """
    kind: Any = _PlainLines
    # A notebook shows bars, but is no terminal.
    if sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel."):
        kind = _TqdmBar if find_spec("tqdm") else _RichBar if find_spec("rich") else _PlainLines
    return kind(total, unit)


class _TqdmBar:
    def __init__(self, total: int, unit: str):
        from tqdm.auto import tqdm

        self._bar = tqdm(total=total, unit=unit)

    def advance(self, done: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def complete(self) -> None:
        done, start = self._bar.n, self._bar.start_t
        self._bar.reset(total=done)  # notebooks draw what is short of its total in red
        self._bar.start_t = start
        self._bar.update(done)

    def close(self) -> None:
        self._bar.close()


class _RichBar:
    def __init__(self, total: int, unit: str):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._progress.start()
        self._task = self._progress.add_task("", total=total)

    def advance(self, done: int, text: str) -> None:
        self._progress.update(self._task, completed=done, description=text)

    def complete(self) -> None:
        self._progress.update(self._task, total=self._progress.tasks[0].completed)

    def close(self) -> None:
        self._progress.stop()


class _PlainLines:
    def __init__(self, total: int, unit: str):
        self._total, self._unit, self._start, self._shown = total, unit, time.perf_counter(), 0
        self._latest = ""

    def advance(self, done: int, text: str) -> None:
        self._latest = f"{self._unit} {done} of at most {self._total}, {text}"
        if 10 * done // self._total > 10 * self._shown // self._total:
            left = self._seconds() / done * (self._total - done)
            self._print(f", at most {left:.0f} s left")
            self._shown = done

    def complete(self) -> None:
        self._print(f", ended after {self._seconds():.0f} s")

    def close(self) -> None:
        self._print("")

    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def _print(self, end: str) -> None:
        if self._latest:
            print(self._latest + end, file=sys.stderr, flush=True)
        self._latest = ""
