"""How far training, or compiling beforehand, is: on stderr, a bar of tqdm or rich, or plain lines."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Any


def start_bar(total: int, unit: str = "epoch") -> Any:
    """Return a bar of whichever library is installed, in a terminal or a notebook.

    Without either, or where nobody looks on, it is what prints a line after every tenth.
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

    def close(self) -> None:
        self._progress.stop()


class _PlainLines:
    def __init__(self, total: int, unit: str):
        self._total, self._unit, self._start, self._shown = total, unit, time.perf_counter(), 0
        self._latest = ""

    def advance(self, done: int, text: str) -> None:
        seconds = (time.perf_counter() - self._start) / done * (self._total - done)
        self._latest = f"{self._unit} {done} of at most {self._total}, {text}, at most {seconds:.0f} s left"
        if 10 * done // self._total > 10 * self._shown // self._total:
            self._print(done)

    def close(self) -> None:
        if self._latest:
            self._print(self._total)

    def _print(self, done: int) -> None:
        print(self._latest, file=sys.stderr, flush=True)
        self._shown, self._latest = done, ""
