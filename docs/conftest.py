"""The code blocks of the pages are tests: ``python -m pytest docs``. They write files, and draw without a screen."""

import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
collect_ignore = ["conf.py", "mathml.py"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
