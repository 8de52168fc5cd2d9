"""From what a user types to a family."""

import pytest

from hyperrl.envs import InputError
from hyperrl.families import resolve

DATACLASS = """
from __future__ import annotations
from dataclasses import KW_ONLY, dataclass


@dataclass
class Limits:
    level: float
    _: KW_ONLY
    strict: bool = True
"""


def test_a_file_may_define_dataclasses_with_postponed_annotations(own_family):
    own_family.write_text(DATACLASS + own_family.read_text())
    assert resolve(str(own_family)).name == "plant"


def test_physics_that_cannot_work_is_named(own_family):
    own_family.write_text(own_family.read_text().replace(".unsqueeze(-1)", ""))
    with pytest.raises(InputError, match=r"^family 'plant': step raised RuntimeError: The size of tensor"):
        resolve(str(own_family))
