"""A user's default dtype of tensors is not that of the networks."""

import re

import numpy as np
import pytest
import torch

import hyperrl


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("arm", ["hyper", "film"])
def test_everything_is_as_with_float32_by_default(request, tmp_path, tiny, arm):
    def everything(folder):
        run = hyperrl.train("pendulum", agent=arm, run=folder, quiet=True, **tiny)
        again = hyperrl.load(folder)
        policy = again.policy(g=12.0)
        action, _ = policy.predict(np.array([0.6, 0.8, 1.0], dtype=np.float32), deterministic=True)
        policy.export(folder / "policy.pt2", "torch")
        adapted = again.adapt(unknown=True, episodes=2, g=12.0)
        evaluated = again.evaluate(episodes=1)
        return re.sub(r"'seconds': [^,}]*", "", str((run.curves, action, adapted.json(), evaluated.json())))

    expected = everything(tmp_path / "float32")
    request.getfixturevalue("float64_by_default")
    found = everything(tmp_path / "float64")
    assert torch.get_default_dtype() == torch.float64
    assert found == expected
