"""What a process does with memory."""

import platform
import subprocess
import sys

import pytest

ASKED = """
import ctypes
import sys
import torch
from hyperrl.storage.device import keep_freed_memory

NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
if sys.argv[1] == "keep":
    keep_freed_memory()
before = mallinfo2()
tensors = [torch.ones(4_000_000) for _ in range(20)]
mapped = mallinfo2().hblkhd - before.hblkhd
del tensors
print(mapped, mallinfo2().fordblks - before.fordblks)
"""
"""Bytes of 20 tensors of 16 MB that were mapped one by one, and that are still the process's after they are freed."""


def asked(what):
    done = subprocess.run([sys.executable, "-c", ASKED, what], capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be asked to")
def test_freed_memory_is_kept():
    mapped, kept = asked("not")
    assert mapped > 300_000_000
    assert kept < 64_000_000
    mapped, kept = asked("keep")
    assert mapped == 0
    assert kept > 300_000_000
