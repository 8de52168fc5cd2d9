"""What a process does with memory."""

import platform
import subprocess
import sys

import pytest

KEPT = """
import torch
from hyperrl.storage.device import keep_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
def grown():
    before = resident()
    for _ in range(3):
        kept = [torch.ones(4_000_000) for _ in range(20)]
        del kept
    return resident() - before
given_back = grown()
keep_freed_memory()
print(given_back, grown())
"""
"""What a process has grown by, after 20 tensors of 16 MB were made and freed: by default, and when it keeps them."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be asked to")
def test_freed_memory_is_kept():
    printed = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True).stdout
    given_back, kept = map(int, printed.split())
    assert given_back < 64_000_000
    assert kept > 250_000_000
