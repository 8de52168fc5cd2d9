"""Streams that cannot be written stop nothing."""

import errno
import io
import os
import subprocess
import sys

import pytest

from hyperrl.streams import Stream, console, only_shown, stderr


class WriteOnly:
    """As people replace stderr: with ``write`` and nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


@pytest.mark.parametrize("missing", [None, object(), "closed"])
def test_a_stream_that_is_not_there_swallows_what_is_written(missing):
    gone = io.StringIO()
    gone.close()
    stream = Stream(gone if missing == "closed" else missing)
    assert stream.write("words") == 5
    stream.flush()
    assert not stream.isatty()
    assert stream.encoding == "utf-8"
    assert stream.error is None


def test_a_replaced_stderr_gets_the_words(monkeypatch):
    monkeypatch.setattr(sys, "stderr", WriteOnly())
    stderr().write("first ")
    console().print("second")
    assert sys.stderr.text == "first second\n"
    monkeypatch.setattr(sys, "stderr", None)
    stderr().write("nowhere")
    console().print("nowhere")


def test_letters_that_a_stream_cannot_hold_are_spelled():
    held = io.BytesIO()
    stream = Stream(io.TextIOWrapper(held, encoding="ascii"))
    stream.write("20 °C")
    stream.flush()
    assert held.getvalue() == b"20 \\xb0C"


def test_a_reader_that_has_gone_is_no_error_and_a_full_disk_is_one(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        broken = Stream(pipe)
        broken.write("nobody reads this")
        broken.flush()
        assert broken.error is None
    with open("/dev/full", "w") as full:
        stream = Stream(full)
        stream.write("no room")
        stream.flush()
        assert stream.error.errno == errno.ENOSPC
        stream.write("and on")  # goes nowhere, so that closing raises nothing
        stream.flush()
        assert stream.error.errno == errno.ENOSPC


def test_what_is_only_shown_stops_nothing():
    with pytest.warns(UserWarning, match=r"^the picture: left out, ValueError: two lines$"), only_shown("the picture"):
        raise ValueError("two\nlines")
    with pytest.raises(KeyboardInterrupt), only_shown("the picture"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(("closed", "status"), [("2>&-", 0), (">&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 2)])
def test_the_command_line_with_closed_streams(closed, status):
    """No file that is opened later gets the number of one that is closed; a full disk is a mistake of its own."""
    command = f"{sys.executable} -m hyperrl {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode == status
