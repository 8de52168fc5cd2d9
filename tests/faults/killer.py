"""A process that starts trainings and kills them with SIGKILL: at a moment of their writing, or after some time.

It has imported everything and begun nothing, and forks every training, which takes a fraction of the time that a new
interpreter needs for its imports. ``test_killed.py`` speaks with it in lines of JSON.

A moment is any at which a file of the run is about to be opened for writing, renamed or removed, or has just been
renamed; one before and one after each flush to disk; and one at which ``torch.save`` has written the half of a file.
Moments are counted, so that a training can be killed at each of them in turn, whatever its files are called.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ORPHANS_END_WITHIN = 10.0
"""Seconds."""


def serve():
    """Fork a training for each line of stdin, and answer with a line when it has ended.

    A line has the ``words`` after ``hyperrl train``, the folder ``run``, and the moment ``at`` or the seconds ``after``
    which it is killed, or ``None``. The answer has the ``status``, -9 where it was killed, the ``moments`` counted, the
    ``seconds`` taken, the ``orphans`` that did not end, and what was ``said``.
    """
    import hyperrl.api
    import hyperrl.cli
    import hyperrl.reports.tensorboard  # noqa: F401
    from hyperrl.envs import registry
    from hyperrl.training import loop

    registry.get("lunar_lander"), registry.get("half_cheetah")
    loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)


def _fork(job):
    log, (reader, writer), began = Path(f"{job['run']}.log"), os.pipe(), time.monotonic()
    pid = os.fork()
    if not pid:
        os.setsid()
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        os._exit(_train(job, lambda count: os.write(writer, b"." * count)))
    os.close(writer)
    if job["after"] is not None:
        time.sleep(job["after"])
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - began
    with open(reader, "rb") as pipe:
        moments = len(pipe.read())  # ends when the last process that holds the pipe has ended
    return {
        "status": os.waitstatus_to_exitcode(status),
        "moments": moments,
        "seconds": seconds,
        "orphans": _orphans(pid),
        "said": log.read_text(),
    }


def _orphans(session):
    """Processes of a session that go on although its first has ended."""
    last = time.monotonic() + ORPHANS_END_WITHIN
    while True:
        left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session(pid) == session]
        if not left or time.monotonic() > last:
            return left
        time.sleep(0.02)


def _session(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _train(job, count):
    import hyperrl.cli

    _count_moments(Path(job["run"]), job["at"], count)
    return hyperrl.cli.main(["train", *job["words"], "--run", job["run"], "--resume"])


def _count_moments(run, at, count):
    """Call ``count(1)`` at every moment of this process, and kill it at its ``at``-th."""
    import torch

    here, passed = os.getpid(), 0

    def moment(prepare=None):
        nonlocal passed
        if os.getpid() != here:
            return
        passed += 1
        count(1)
        if passed == at:
            if prepare:
                prepare()
            os.kill(here, signal.SIGKILL)

    def of_run(path):
        return isinstance(path, str | bytes | Path) and run in Path(os.fsdecode(path)).absolute().parents

    def hear(event, args):
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in ("os.rename", "os.remove")) and of_run(args[0]):
            moment()

    def around(call, before=None, after=None):
        def called(*args, **given):
            if before:
                moment()
            answer = call(*args, **given)
            if after:
                after(*args)
            return answer

        return called

    def half_written(state, file, *_):
        def tear():
            if isinstance(file, str | Path):
                os.truncate(file, os.path.getsize(file) // 2)
            else:
                file.truncate(file.tell() // 2)

        moment(tear)

    sys.addaudithook(hear)
    os.fsync = around(os.fsync, before=True, after=lambda *_: moment())
    os.replace, os.rename = (around(call, after=lambda *_: moment()) for call in (os.replace, os.rename))
    torch.save = around(torch.save, after=half_written)


if __name__ == "__main__":
    serve()
