"""Independent jobs over the cores of this machine, or over the machines of a cluster, through joblib."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from hyperrl.envs import InputError
from hyperrl.envs.errors import one_line
from hyperrl.envs.processes import uninterrupted

if TYPE_CHECKING:
    from joblib import Parallel

LOKY, DASK, RAY = "loky", "dask", "ray"
REMEDIES = {DASK: ("distributed", "pip install 'hyperrl[dask]'"), RAY: ("ray", "pip install ray")}
"""Backend of a cluster -> the package that it needs, and how to get it."""
MOST_WORKERS = 512
"""Processes at once."""
CONNECT = 10.0
"""Seconds in which a scheduler must answer."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int | None = None,
    backend: str = LOKY,
    scheduler: str | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Call a function on every job: one job at a time in each process, with one thread.

    When a process of a Dask cluster dies, its jobs start again in another, finished ones perhaps too: the function
    should store its result where all machines find it, and look there first. With loky nothing starts again.

    Args:
        function: of one job; it, the jobs and the results must pickle.
        jobs: any number.
        workers: jobs that run at once, at least 1; where ``None`` one for each processor with loky, else as many as
            the cluster takes.
        backend: ``loky``, processes of this machine; ``dask`` or ``ray``, a cluster.
        scheduler: address of the cluster's scheduler; Ray finds or starts its own where it is ``None``.

    Yields:
        the job's index and its result, as jobs finish; with Ray, once all have.

    Raises:
        InputError: as ``require_backend``, or the scheduler has no workers.
        BrokenProcessPool: a process of loky's died, a Dask cluster's scheduler did, or a job ended one of its processes
            after another.
        Exception: what the function raised; unfinished jobs are dropped.
    """
    from joblib import delayed

    require_backend(backend, scheduler, workers)
    with _CONNECT[backend](workers, scheduler) as parallel:
        with uninterrupted():
            results = parallel(delayed(_call)(function, index, job) for index, job in enumerate(jobs))
        yield from results


def require_backend(backend: str, scheduler: str | None, workers: int | None = None) -> None:
    """Check that a backend exists and is installed, that the scheduler that it needs answers, and how many workers.

    Raises:
        InputError: one of them is wrong.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"workers={workers}: must be 1 or more, at most {MOST_WORKERS}; leave it out for one a core")
    if backend not in _CONNECT:
        raise InputError(f"backend={backend!r}: unknown; choose from {', '.join(_CONNECT)}")
    if backend == LOKY and scheduler is not None:
        raise InputError(
            f"scheduler={scheduler!r}: {LOKY} has none; leave it out, or name the backend of a cluster: {DASK} or {RAY}"
        )
    if backend in REMEDIES and find_spec(REMEDIES[backend][0]) is None:
        package, remedy = REMEDIES[backend]
        raise InputError(f"backend={backend!r}: needs {package}, which is not installed; {remedy}")
    if backend == DASK:
        if not scheduler:
            raise InputError(f"backend={DASK!r}: needs a scheduler; give the address that `dask scheduler` says")
        _knock(scheduler)


def _knock(scheduler: str) -> None:
    from distributed import rpc
    from distributed.utils import LoopRunner

    async def identity() -> None:
        async with rpc(scheduler, timeout=CONNECT) as there:
            await asyncio.wait_for(there.identity(), CONNECT)

    runner = LoopRunner()
    runner.start()
    try:
        runner.run_sync(identity)
    except Exception as error:  # as many kinds as there are wrong addresses
        raise InputError(
            f"scheduler={scheduler!r}: does not answer ({one_line(error)}); start `dask scheduler`, and give the "
            "address that it says"
        ) from None
    finally:
        runner.stop()


_alone = threading.Lock()
"""Held by the job that a process runs: jobs seed generators that all threads of a process share."""


def _call(function: Callable[[Job], Result], index: int, job: Job) -> tuple[int, Result]:
    import torch

    with _alone:
        torch.set_num_threads(1)
        return index, function(job)


def _start_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def _loky(workers: int | None, scheduler: None) -> Iterator[Parallel]:
    from joblib import Parallel
    from joblib.externals.loky import get_reusable_executor

    workers = workers or os.cpu_count() or 1
    start: dict[str, Any] = {"initializer": _start_worker, "initargs": (os.getpid(),), "max_nbytes": None}
    # no more than loky's queue holds: of those beside it, one of its threads prints a traceback when all are cancelled
    settings = {**_AS_THEY_FINISH, "pre_dispatch": "2*n_jobs"}
    try:
        with Parallel(max(2, workers), backend=LOKY, **settings, **start) as parallel:
            get_reusable_executor(workers, reuse=True)  # of n_jobs=1 joblib would make no process at all
            yield parallel
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True)  # joblib keeps its processes for five minutes


@contextmanager
def _dask(workers: int | None, scheduler: str) -> Iterator[Parallel]:
    from distributed import Client, KilledWorker
    from distributed.client import FutureCancelledError
    from joblib import Parallel
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's, mended: it runs the jobs of a one-core cluster here, and waits for ever for a job that is lost."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Callable[[Any], None]) -> Future[Any]:
            def tell(done: Future[Any]) -> None:
                if done.exception() is not None:
                    callback(done.exception())

            future = super().submit(func, callback)
            future.add_done_callback(tell)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, KilledWorker | FutureCancelledError):
                raise BrokenProcessPool(one_line(out))
            return super().retrieve_result_callback(out)

    with Client(scheduler, timeout=CONNECT, set_as_default=False) as client:
        try:
            client.wait_for_workers(1, timeout=CONNECT)
        except TimeoutError:
            raise InputError(
                f"scheduler={scheduler!r}: has no workers; start some: dask worker {scheduler} --nthreads 1"
            ) from None
        settings = {**_AS_THEY_FINISH, "pre_dispatch": workers or "all"}
        yield Parallel(backend=Backend(client=client), **settings)


@contextmanager
def _ray(workers: int | None, scheduler: str | None) -> Iterator[Parallel]:
    import ray
    from joblib import Parallel
    from ray.util.joblib import register_ray

    try:
        ray.init(address=scheduler, ignore_reinit_error=True)
    except Exception as error:
        raise InputError(
            f"scheduler={scheduler!r}: no Ray there ({one_line(error)}); start `ray start --head`, and give its address"
        ) from None
    register_ray()
    yield Parallel(workers or -1, backend=RAY, batch_size=1)


_AS_THEY_FINISH: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "all"}
_CONNECT: dict[str, Callable[[Any, Any], AbstractContextManager[Parallel]]] = {LOKY: _loky, DASK: _dask, RAY: _ray}
