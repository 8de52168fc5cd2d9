"""Jobs in processes of this machine and on a Dask cluster: each is done once, whatever is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise

import pytest

from hyperrl import jobs
from hyperrl.envs import InputError
from hyperrl.jobs import require_backend, run_jobs


def local_cluster(processes, threads):
    """A Dask cluster of this machine; a job that has ended two processes is given up."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        return distributed.LocalCluster(n_workers=processes, threads_per_worker=threads, dashboard_address=":0")


@pytest.fixture(scope="module")
def two():
    """Where a cluster of two processes is found."""
    with local_cluster(2, 1) as cluster:
        yield cluster.scheduler_address


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def whereabouts(job):  # the cluster's processes do not import this file: functions travel whole, with their imports
    import os
    import time

    import torch

    began = time.time()
    time.sleep(0.05)
    return job**2, os.getpid(), torch.get_num_threads(), (began, time.time())


whereabouts.__module__ = "__main__"


def alone(results):
    """One process, not this one, has done every job, in one thread, one after the other."""
    assert {index: result[0] for index, result in results} == {index: index**2 for index in range(4)}
    ((pid, threads),) = {result[1:3] for _, result in results}
    assert pid != os.getpid()
    assert threads == 1
    times = sorted(result[3] for _, result in results)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(times))
    return pid


def test_one_worker_is_one_process_that_ends_with_the_last_job():
    assert gone(alone(list(run_jobs(whereabouts, range(4), workers=1))))


WAITING = """
from hyperrl.jobs import run_jobs

def wait(folder):
    import os, pathlib, time
    pathlib.Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(60)

list(run_jobs(wait, 2 * [FOLDER], 2))
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(tmp_path, ending):
    """Ctrl-C reaches them all, but only the parent says so; a kill reaches the parent only."""
    code = WAITING.replace("FOLDER", repr(str(tmp_path)))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, ending) if ending == signal.SIGINT else process.kill()
    _, err = process.communicate(timeout=10)
    assert process.returncode == -ending
    assert err.count("KeyboardInterrupt") == (ending == signal.SIGINT)
    deadline = time.monotonic() + 10
    while not all(gone(int(path.stem)) for path in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_of_a_cluster_is_killed(two, tmp_path):
    """Its job is done by another one; no result is lost, and none is computed twice."""

    def square(job):
        import os
        import time

        result = tmp_path / f"{job}.result"
        if not result.exists():
            if job == 1 and not (tmp_path / "busy").exists():
                (tmp_path / "pid").write_text(str(os.getpid()))
                (tmp_path / "pid").rename(tmp_path / "busy")
                time.sleep(60)
            with (tmp_path / f"{job}.log").open("a") as log:
                log.write("computed\n")
            result.write_text(str(job**2))
        return int(result.read_text())

    found = {}
    for index, result in run_jobs(square, range(6), backend="dask", scheduler=two):
        assert index not in found
        found[index] = result
        if len(found) == 5:
            os.kill(int((tmp_path / "busy").read_text()), signal.SIGKILL)
    assert found == {index: index**2 for index in range(6)}
    assert [(tmp_path / f"{index}.log").read_text() for index in range(6)] == 6 * ["computed\n"]


def test_a_job_that_ends_one_process_after_another_is_given_up(two):
    def die(job):
        import os

        os.kill(os.getpid(), 9)

    with pytest.raises(BrokenProcessPool, match="KilledWorker"):
        list(run_jobs(die, range(1), backend="dask", scheduler=two))


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_an_error_of_a_job_is_raised(backend, request):
    def refuse(job):
        from hyperrl.envs import InputError

        raise InputError(f"job={job}: refused")

    scheduler = request.getfixturevalue("two") if backend == "dask" else None
    with pytest.raises(InputError, match="job=7: refused"):
        list(run_jobs(refuse, [7, 7], 2, backend, scheduler))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_process_of_a_cluster_does_one_job_at_a_time(threads):
    with local_cluster(1, threads) as cluster:
        alone(list(run_jobs(whereabouts, range(4), backend="dask", scheduler=cluster.scheduler_address)))


def test_a_cluster_without_workers_is_one_line(monkeypatch):
    monkeypatch.setattr(jobs, "CONNECT", 0.5)
    told = "has no workers; start some: dask worker tcp"
    with local_cluster(0, 1) as cluster, pytest.raises(InputError, match=told):
        list(run_jobs(whereabouts, range(4), backend="dask", scheduler=cluster.scheduler_address))


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(jobs, "CONNECT", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for wrong in (address, "a=b", "nowhere://a:1", "\n"):
        with pytest.raises(InputError) as caught:
            require_backend("dask", wrong)
        assert str(caught.value).startswith(f"scheduler={wrong!r}: does not answer (")
        assert str(caught.value).endswith("); start `dask scheduler`, and give the address that it says")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("backend", "scheduler", "told"),
    [
        ("threads", None, "backend='threads': unknown; choose from loky, dask, ray"),
        ("loky", "tcp://a:1", "scheduler='tcp://a:1': loky has none; leave it out"),
        ("dask", None, r"backend='dask': needs distributed, which is not installed; pip install 'hyperrl\[dask\]'"),
        ("ray", "ray://a:1", "backend='ray': needs ray, which is not installed; pip install ray"),
    ],
)
def test_a_backend_that_is_none_or_not_installed_is_one_line(monkeypatch, backend, scheduler, told):
    monkeypatch.setattr(jobs, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=told):
        require_backend(backend, scheduler)


def test_dask_needs_an_address(monkeypatch):
    monkeypatch.setattr(jobs, "find_spec", lambda package: package)
    with pytest.raises(InputError, match="backend='dask': needs a scheduler; give the address"):
        require_backend("dask", None)


def test_no_more_jobs_are_handed_to_loky_than_its_queue_holds():
    """Where Ctrl-C cancels jobs beside the queue, a thread of loky's ends in a KeyError, which the user sees."""
    taken = []

    class Jobs(list):
        def __iter__(self):
            for job in list.__iter__(self):
                taken.append(job)
                yield job

    results = run_jobs(abs, Jobs(range(100)), 2)
    next(results)
    assert len(taken) < 20
    assert len(list(results)) == 99
