"""Files: written whole or not at all, whatever happens meanwhile; and read without trusting what is in them."""

import io
import os
import pickle
import stat
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from long import damage_files
from numpy.testing import assert_array_equal
from tasks import make_task, our_estimator

from sknn_scratch import ModelCheckpoint
from sknn_scratch.files import whole as whole_file
from sknn_scratch.files.whole import UNFINISHED

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
unix = pytest.mark.skipif(os.name == "nt", reason="permissions, pipes and locks of Unix")
LONG = Path(__file__).parent / "long"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def write(path, content):
    with whole_file.whole_file(path) as file:
        file.write(content)


# Writing --------------------------------------------------------------------------------------------------------------


# An interrupt between two lines can leave a file to the garbage collector.
interrupts = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


class Interrupted:
    """Raises KeyboardInterrupt before the n-th line that is run in whole_file.py, wherever that is."""

    def __init__(self, n):
        self.left, self.line = n, None

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _trace(self, frame, event, argument):
        if frame.f_code.co_filename != whole_file.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.line = frame.f_lineno
                raise KeyboardInterrupt
        return self._trace


@interrupts
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_file(path):
    lines = set()
    for n in range(1, 1000):
        path.write_bytes(b"old")
        with Interrupted(n) as interrupted:
            try:
                write(path, b"new")
            except KeyboardInterrupt:
                lines.add(interrupted.line)
        assert path.read_bytes() in (b"old", b"new")
        if interrupted.line is None:
            break
    assert len(lines) > 40
    write(path, b"newer")
    assert list(path.parent.iterdir()) == [path]


@interrupts
def test_an_interrupt_at_any_line_leaves_the_training(path):
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=3, hidden_layer_sizes=2, engine="numpy")
    for n in range(1, 1000):
        with Interrupted(10**9) as interrupted:

            def begin_to_count(model, interrupted=interrupted, n=n):
                interrupted.left = n if model.n_iter_ == 2 else 10**9

            model.set_callbacks(ModelCheckpoint(path), begin_to_count)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                model.fit(X, y)
        if interrupted.line is None:
            break
        assert "Training interrupted by user." in [str(warning.message) for warning in caught]
        assert model.n_iter_ == 2
        our_estimator("binary", max_iter=3, hidden_layer_sizes=2).fit(X, y, resume_from=path)
    assert n > 40


@unix
def test_permissions_are_those_of_the_file_that_is_replaced_or_of_the_umask(path):
    umask = os.umask(0o027)
    try:
        write(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o666, 0o604):
            path.chmod(mode)
            write(path, b"newer")
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(umask)


@unix
def test_a_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    link.symlink_to("elsewhere/target")
    for content in (b"through a link to nothing", b"through a link to a file"):
        write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert sorted(tmp_path.rglob("*")) == [target.parent, target, link]


@unix
def test_only_files_are_written_and_read(tmp_path):
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=1).fit(X, y)
    for place, kind in ((pipe, "a pipe"), (folder, "a folder"), (Path(os.devnull), "a device")):
        with pytest.raises(ValueError, match=f"{place} cannot be written: it is {kind}, not a file"):
            model.save_weights(place)
        with pytest.raises(ValueError, match=f"{place} cannot be written: it is {kind}, not a file"):
            our_estimator("binary").set_callbacks(ModelCheckpoint(place)).fit(X, y)
        with pytest.raises(ValueError, match=f"{place} cannot be read: it is {kind}, not a file"):
            model.load_weights(place)
        with pytest.raises(ValueError, match=f"{place} cannot be read: it is {kind}, not a file"):
            model.fit(X, y, resume_from=place)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_a_killed_process_has_left_is_removed(path):
    left = path.with_name(f".file.0123abcd{UNFINISHED}")
    others = [
        path.with_name(name)
        for name in ("file.bak", ".file.half", f".other.0123abcd{UNFINISHED}", f".file{UNFINISHED}")
    ]
    for file in (left, *others):
        file.write_bytes(b"half")
    write(path, b"new")
    assert sorted(path.parent.iterdir()) == sorted([path, *others])


@unix
def test_what_a_living_process_is_writing_is_not_removed(path):
    with whole_file.whole_file(path) as slow:
        slow.write(b"slow ")
        write(path, b"quick")
        assert path.read_bytes() == b"quick"
        slow.write(b"and steady")
    assert path.read_bytes() == b"slow and steady"
    assert list(path.parent.iterdir()) == [path]


@unix
def test_file_and_folder_are_synced(path, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_ino), sync(handle)))
    write(path, b"new")
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]


# Reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["weights", "checkpoints"])
def test_damaged_files_are_refused_or_say_what_they_said(kind, tmp_path):
    counts = damage_files.check(kind, np.random.RandomState(0), tmp_path, 150)
    assert counts[f"{kind}, damaged: refused"] > 40
    assert counts[f"{kind}, foreign: refused"] > 20


def readers(path):
    """Yield functions that read the file as each of our formats, in a model that is fitted already."""
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=1).fit(X, y)
    return [lambda: model.load_weights(path), lambda: model.fit(X, y, resume_from=path)]


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


class Attack:
    def __reduce__(self):
        return print, ("this ran",)


FOREIGN = {
    "empty": b"",
    "text": b"a,b\n1,2\n",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "zip": archive(a=b"b"),
    "npz": npz(a=np.arange(3)),
    "npy": (lambda file: (np.save(file, np.arange(3)), file.getvalue())[1])(io.BytesIO()),
    "pickle": pickle.dumps(Attack()),
    "pickled arrays": npz(format=np.array([Attack()])),
    "headers of Python 2": archive(**{"a.npy": b"\x93NUMPY\x01\x00\x10\x00{'shape': (1L,)}"}),
    "a header without an end": archive(**{"a.npy": b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16}),
    "a checkpoint without content": npz(format=np.array("sknn_scratch checkpoint"), version=np.array(3)),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_refused_and_nothing_in_them_runs(path, content, capsys):
    path.write_bytes(content)
    for read in readers(path):
        with pytest.raises(ValueError, match=str(path)):
            read()
    assert capsys.readouterr().out == ""


def npy(header):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


BOASTS = {
    "a shape": archive(**{"weights_0.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10000, 10000)}")}),
    "a width": archive(**{"weights_0.npy": npy("{'descr': '<U100000000', 'fortran_order': False, 'shape': ()}")}),
    "no width": archive(**{"weights_0.npy": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (10**9,)}")}),
    "many dimensions": archive(**{"weights_0.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8)}")}),
    "compressed": (
        lambda file: (np.savez_compressed(file, weights_0=np.zeros((5000, 5000), np.float32)), file.getvalue())[1]
    )(io.BytesIO()),
}


@pytest.mark.parametrize("content", BOASTS.values(), ids=BOASTS)
def test_nothing_is_allocated_on_the_word_of_a_header(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for read, what in zip(readers(path), ("file of weights", "checkpoint"), strict=True):
            tracemalloc.reset_peak()
            with pytest.raises(ValueError, match=f"file is not a {what}, or it is damaged"):
                read()
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_an_archive_that_says_how_large_it_is_is_not_believed(path):
    """Sizes in the directory of the archive, not in an array's header."""
    content = bytearray(archive(**{"a.npy": b"x" * 50}))
    entry = content.index(b"PK\x01\x02")
    for sizes in ((2**31 - 1, 2**31 - 1), (2**31 - 1, 50), (50, 2**31 - 1)):
        content[entry + 20 : entry + 28] = b"".join(size.to_bytes(4, "little") for size in sizes)
        path.write_bytes(content)
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="file is not a file of weights"):
                our_estimator("binary").load_weights(path)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_are_finite(path, value):
    model = our_estimator("binary", max_iter=1).fit(*make_task("binary"))
    model.coefs_[1][2, 3] = value
    model.save_weights(path)
    with pytest.raises(ValueError, match="file is damaged: weights_1 has numbers that are infinite or NaN"):
        our_estimator("binary").load_weights(path)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.longdouble, bool])
def test_weights_are_of_a_dtype_that_is_supported(path, dtype):
    our_estimator("binary", max_iter=1).fit(*make_task("binary")).save_weights(path)
    with np.load(path) as file:
        arrays = {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in file.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="file is damaged: weights are all float64 or all float32"):
        our_estimator("binary").load_weights(path)


def test_weights_of_a_machine_of_another_byte_order(path):
    X, y = make_task("regression")
    model = our_estimator("regression", max_iter=1).fit(X, y)
    model.save_weights(path)
    with np.load(path) as file:
        arrays = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in file.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    loaded = our_estimator("regression", warm_start=True).load_weights(path)
    assert_array_equal(loaded.predict(X), model.predict(X))
    loaded.fit(X, y)


def test_labels_of_many_columns_take_no_identity_matrix(path):
    y = np.zeros((3, 10_000), dtype=int)
    y[:, ::2] = 1
    model = our_estimator("multilabel", hidden_layer_sizes=2, max_iter=1).fit(np.arange(6.0).reshape(3, 2), y)
    model.save_weights(path)
    tracemalloc.start()
    try:
        loaded = our_estimator("multilabel", hidden_layer_sizes=2).load_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert_array_equal(loaded.classes_, np.arange(10_000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fits_that_are_killed_go_on_to_the_same_bits():
    command = [sys.executable, LONG / "kill_fits.py", "--kills", "10", "--seed", "3"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1  fits that ended as if nothing had happened" in result.stdout, result.stderr
