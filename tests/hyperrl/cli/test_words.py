"""How the command line reads its words, and puts errors into words."""

import errno

import numpy as np
import pytest

from hyperrl.cli import build_parser
from hyperrl.cli.main import _in_words


@pytest.mark.parametrize(
    "words",
    [
        "RUN --set a=1 b=2",
        "--set a=1 b=2 RUN",
        "--set a=1 --set b=2 RUN",
        "--set a=1 --episodes 3 RUN --set b=2",
        "--episodes 3 --set a=1 b=2 RUN",
        "--set a=1 b=2 RUN --episodes 3",
        "--set a=1 b=2 -- RUN",
        "--se a=1 b=2 RUN",
    ],
)
def test_a_run_may_follow_its_options(words):
    args = build_parser().parse_args(["evaluate", *words.split()])
    assert (str(args.folder), args.set) == ("RUN", ["a=1", "b=2"])
    assert args.episodes == (3 if "--episodes" in words else build_parser().parse_args(["evaluate", "RUN"]).episodes)


def test_one_value_is_an_options_own(capsys):
    """Nothing is left for RUN, and one line says so."""
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["evaluate", "--set", "a=1"])
    assert stop.value.code == 2
    assert "RUN" in capsys.readouterr().err


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


def theirs(error):
    """Raise it in code that is not this package's."""
    return raised(lambda: exec(compile("raise error", "/home/user/family.py", "exec"), {"error": error}))


def ours(error, call="raise error"):
    """Raise it in code of this package, as far as its module's name says."""
    names = {"error": error, "__name__": "hyperrl.somewhere", "np": np}
    frames = raised(lambda: exec(compile(call, "somewhere.py", "exec"), names))
    frames.__traceback__ = frames.__traceback__.tb_next.tb_next  # this test's own frames
    return frames


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (theirs(MemoryError()), "memory is full (MemoryError: ); choose fewer variants"),
        (ours(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")), "memory is full (RuntimeError: "),
        (ours(RuntimeError("CUDA out of memory. Tried")), "memory is full (RuntimeError: CUDA out of memory"),
        (theirs(KeyError("mass")), "/home/user/family.py:1, in <module>: KeyError: 'mass'; mend it there"),
        (theirs(OSError(errno.ENOENT, "No such file", "x")), "/home/user/family.py:1, in <module>: FileNotFoundError"),
        (ours(None, "open('/nowhere/at/all')"), "/nowhere/at/all: No such file or directory; name another file or"),
        (
            ours(OSError(errno.ENOSPC, "No space left on device")),
            "OSError: [Errno 28] No space left on device, at some",
        ),
    ],
)
def test_what_a_user_can_do_about_an_error(error, said):
    assert _in_words(error).startswith(said)


def test_a_fault_of_this_package_keeps_its_traceback():
    assert _in_words(ours(KeyError("mass"))) is None
    assert _in_words(ours(OSError("without a number"))) is None
