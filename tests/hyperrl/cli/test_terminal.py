"""Training and adaptation in a terminal: the progress bar, and Ctrl-C once and twice."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture
def terminal():
    """A function that starts a command in a terminal, and one that reads what it shows until a pattern is there."""
    started = []

    def start(*words):
        outer, inner = pty.openpty()
        columns = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
        command = [sys.executable, "-m", "hyperrl", *map(str, words)]
        process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=columns)
        os.close(inner)
        started.append((process, outer))
        shown = ""

        def until(pattern):
            nonlocal shown
            deadline = time.monotonic() + 120
            while not re.search(pattern, shown):
                assert select.select([outer], [], [], max(0, deadline - time.monotonic()))[0], shown
                try:
                    read = os.read(outer, 1 << 16)
                except OSError:  # Linux says so where everything was read and the command has ended
                    read = b""
                assert read, shown
                shown += re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", read.decode(errors="replace"))
            return shown

        return process, until

    yield start
    for process, outer in started:
        process.kill()
        process.wait()
        os.close(outer)


def test_the_bar_shows_steps_speed_return_and_time_left(terminal, tmp_path):
    process, until = terminal("train", "cartpole", "--run", tmp_path / "run", "--steps", "2e8", "--compile", "off")
    shown = until(r"\d,\d{3} of 200,\d{3},\d{3} steps .* [\d,]+ steps/s  return \d+\.\d  left \d+:\d\d:\d\d")
    assert process.poll() is None
    assert "Traceback" not in shown


def test_the_second_ctrl_c_stops_at_once_and_says_how_to_go_on(terminal, tmp_path):
    """Within one long iteration: the first Ctrl-C waits for its end, the second does not."""
    folder = tmp_path / "a run"
    words = ["--steps", "2e8", "--variants", "256", "--copies", "64", "--rollout", "4096", "--log-std", "-1e-1"]
    process, until = terminal("train", "cartpole", "--run", folder, *words)
    until(r"0 of [\d,]+ steps")
    for _ in range(2):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    shown = " ".join(until(r"--resume\s").split())
    assert process.wait(60) == 130
    assert "Traceback" not in shown
    options = "--steps 200000000 --variants 256 --copies 64 --rollout 4096 --log-std -0.1 --resume"
    assert f"hyperrl: stopped; go on with: hyperrl train cartpole --run '{folder}' {options}" in shown
    assert not (folder / "checkpoint.pt").exists()


def test_ctrl_c_around_the_first_step(terminal, tmp_path):
    """Whether the loop has begun or not, it is one line and status 130."""
    folder = tmp_path / "run"
    process, until = terminal("train", "cartpole", "--run", folder, "--steps", "2e8", "--compile", "off")
    while not (folder / "config.json").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    shown = until(r"hyperrl: stopped[^;]*; go on with: [^;]* --resume\s")
    assert process.wait(60) == 130
    assert "Traceback" not in shown


def test_adaptation_shows_its_episodes_and_stops_in_one_line(terminal, tiny_run):
    process, until = terminal("adapt", tiny_run.folder, "--mode", "weights", "--episodes", "5000")
    until(r"getting ready")
    until(r"\d+ of 5000 episodes")
    process.send_signal(signal.SIGINT)
    shown = until(r"hyperrl: stopped\s")
    assert process.wait(60) == 130
    assert "Traceback" not in shown
