"""One writer of a run's folder at a time, in this process, in others, and in what outlives them."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

import hyperrl
from hyperrl.envs import InputError
from hyperrl.storage import lock
from hyperrl.storage.lock import writing

HOLD = """
import sys, time
from pathlib import Path
from hyperrl.storage.lock import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
REFUSED = "another process or thread is writing this run; wait until it has ended"


def test_a_second_writer_is_refused_at_once_and_the_next_is_not(tmp_path):
    with writing(tmp_path / "run"):
        with pytest.raises(InputError, match=f"^{tmp_path / 'run'}: {REFUSED}"), writing(tmp_path / "run"):
            pass
        with writing(tmp_path / "other"):
            pass
    with writing(tmp_path / "run"):
        pass


def test_who_is_killed_lets_go(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=REFUSED), writing(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with writing(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_outlives_the_writer_holds_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    runs = context.Event()
    with writing(tmp_path):
        child = context.Process(target=lambda: (runs.set(), time.sleep(60)), daemon=True)
        child.start()
        runs.wait()
    with writing(tmp_path):
        assert child.is_alive()
    child.kill()
    child.join()


def test_two_trainings_never_share_a_folder(tmp_path, ticks, ticks_run, tiny, monkeypatch):
    """The other begins, and may even end, between the look at the folder and the lock."""
    settings = {**tiny, "steps": 128, "encoder": False, "quiet": True}
    check, inside = type(ticks).check, []

    def meanwhile(family):
        check(family)
        if not inside:
            inside.append(1)
            hyperrl.train(ticks, run=tmp_path / "run", **settings, hidden=(8,))

    monkeypatch.setattr(type(ticks), "check", meanwhile)
    for _ in range(2):
        with pytest.raises(InputError, match="already holds a run; go on with --resume or choose another --run"):
            hyperrl.train(ticks, run=tmp_path / "run", seed=2, **settings)
    assert hyperrl.load(tmp_path / "run", ticks).config.hidden == (8,)
    with writing(tmp_path / "run"), pytest.raises(InputError, match=REFUSED):
        hyperrl.train(ticks, run=tmp_path / "run", resume=True, quiet=True)


@pytest.mark.parametrize("why", ["Windows", "file system"])
def test_without_locks_a_warning_says_so(tmp_path, monkeypatch, why):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if why == "Windows":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", none)
    with pytest.warns(UserWarning, match=f"^{tmp_path}: cannot be locked .*only one process"), writing(tmp_path):
        pass


def test_the_next_writer_removes_what_killed_ones_left(tmp_path):
    left = [".config.json.0123abcd.tmp", ".checkpoint.pt.0123abcd.tmp", ".encoder.pt.0123abcd.tmp"]
    others = [".mine.json.0123abcd.tmp", ".checkpoint.pt.tmp", "checkpoint.pt", ".checkpoint.pt.0123abcd.tmp.mine"]
    for name in left + others:
        (tmp_path / name).write_text("")
    with writing(tmp_path):
        assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*others, "lock"])


def test_a_link_in_the_locks_place_is_refused(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=r"lock: cannot be written .*; choose a folder that can"), writing(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()
