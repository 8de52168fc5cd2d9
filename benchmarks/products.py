"""Batched products of matrices as PyTorch computes them here, and with MKL's instructions for Intel's processors.

    python benchmarks/products.py [--rounds 5]

The library behind PyTorch's products (MKL) leaves AVX-512 out on processors of other makers. The second number is of
a process in which a library that is loaded first tells it that the processor is one of Intel's. Needs a C compiler and
an x86 processor; nothing of the package does this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import save

SIZE = (32, 128, 64)
"""Products, rows and columns: a hidden layer of 64 on one minibatch of CartPole's."""
AS_INTEL = "int mkl_serv_intel_cpu_true(void) { return 1; }"
KEYS = {"": ("size", "gflops", "gflops_as_intel", "ratio")}


def gflops(repeats: int = 300) -> float:
    """Of one thread, the fastest of some repeats."""
    torch.set_num_threads(1)
    products, rows, columns = SIZE
    x, w = torch.randn(products, rows, columns), torch.randn(products, columns, columns)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        torch.bmm(x, w)
        seconds.append(time.perf_counter() - began)
    return 2e-9 * products * rows * columns**2 / min(seconds)


def in_a_process(preloaded: Path | None) -> float:
    """``gflops`` in a process of its own."""
    environment = os.environ | ({"LD_PRELOAD": str(preloaded)} if preloaded else {})
    words = [sys.executable, __file__, "--measure"]
    return float(subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, env=environment).stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help="in this process, and print the number")
    args = parser.parse_args()
    if args.measure:
        print(gflops())
        return
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "intel.c", Path(folder) / "intel.so"
        source.write_text(AS_INTEL)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        pairs = np.array([[in_a_process(None), in_a_process(library)] for _ in range(args.rounds)])
    plain, other = np.median(pairs, axis=0)
    found = {"gflops": plain, "gflops_as_intel": other, "ratio": other / plain}
    result = {name: round(float(value), 2) for name, value in found.items()}
    print(result)
    torch.set_num_threads(1)
    save("products", {"size": list(SIZE), **result}, KEYS)


if __name__ == "__main__":
    main()
