"""Damage to the files of a run, drawn from a seed: bytes, JSON, files of other runs, archives written anew."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import torch

FILES = ("config.json", "checkpoint.pt", "encoder.pt")
CANARY = "ran.txt"
"""Written to the working folder by a pickle that was run."""


class Runs:
    """A pickle that runs a command when it is read."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def flip(content, rng):
    """A few bits turned over."""
    found = bytearray(content)
    for at in rng.integers(len(found), size=rng.integers(1, 9)):
        found[at] ^= 1 << int(rng.integers(8))
    return bytes(found)


def zero(content, rng):
    """A range of bytes lost."""
    start, stop = sorted(rng.integers(len(content) + 1, size=2))
    return content[:start] + bytes(stop - start) + content[stop:]


def cut(content, rng):
    """Truncated."""
    return content[: rng.integers(len(content))]


def append(content, rng):
    """Bytes at the end that do not belong there."""
    return content + rng.bytes(rng.integers(1, 4096))


def take_out(content, rng):
    """A range of bytes left out."""
    start, stop = sorted(rng.integers(len(content) + 1, size=2))
    return content[:start] + content[stop:]


BYTES = (flip, zero, cut, append, take_out)
VALUES = (None, True, -1, 0, 10**400, 1e308, "x", "", [], {}, [[]], "a" * 5000, float("nan"))


def _places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(entry, (*path, key))


def edit(content, rng):
    """One entry of JSON with another value, of another type or size, or left out, or nested deeply."""
    found = json.loads(content)
    places = [place for place in _places(found) if place]
    *way, last = places[rng.integers(len(places))]
    owner = found
    for key in way:
        owner = owner[key]
    if rng.random() < 0.2:
        del owner[last]
    elif rng.random() < 0.1:
        text = json.dumps(found)
        return (text[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}").encode()
    elif isinstance(owner[last], int | float) and rng.random() < 0.5:
        owner[last] = owner[last] * 2 + 1
    else:
        owner[last] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(found).encode()


def _tensors(state):
    for key, value in state.items() if isinstance(state, dict) else ():
        if isinstance(value, torch.Tensor) and value.numel():
            yield state, key
        else:
            yield from _tensors(value)


def spoil(content, rng):
    """One tensor with NaN, another number, shape or type, in an archive whose checksums are right."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    found = list(_tensors(state))
    owner, key = found[rng.integers(len(found))]
    value, kind = owner[key].clone().contiguous(), rng.integers(4)
    if kind == 0 and value.is_floating_point():
        value.view(-1)[0] = float("nan")
    elif kind == 1:
        value = value.reshape(-1)[:1].clone()
    elif kind == 2:
        value = value.double() if value.dtype != torch.float64 else value.float()
    else:
        last = value.view(-1)[-1]
        value.view(-1)[-1] = ~last if value.dtype == torch.bool else last + 1
    owner[key] = value
    return _archive(state)


def plant(content, rng):
    """A pickle that runs a command, in the place of one entry."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    state[list(state)[rng.integers(len(state))]] = Runs()
    return _archive(state)


def _archive(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def compress(content, rng):
    """The same archive, compressed: what torch.save never writes."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    return file.getvalue()


def mutate(folder, others, seed):
    """Damage one file of a run's folder.

    Args:
        folder: of the run.
        others: folders of runs of the same family with another seed and another arm.
        seed: of the damage.

    Returns:
        The file's name and the kind of damage.
    """
    rng = np.random.default_rng(seed)
    name = FILES[rng.integers(len(FILES))]
    path = folder / name
    kinds = [*BYTES, "another run's", *((edit, edit) if name == "config.json" else (spoil, plant, compress))]
    kind = kinds[rng.integers(len(kinds))]
    if kind == "another run's":
        shutil.copy(others[rng.integers(len(others))] / name, path)
        return name, kind
    path.write_bytes(kind(path.read_bytes(), rng))
    return name, kind.__name__
