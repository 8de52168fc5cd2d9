import pytest

import hyperrl

TINY = {"variants": 4, "copies": 2, "rollout": 16, "steps": 4 * 2 * 16 * 6, "evaluations": 2, "device": "cpu"}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run of six short iterations."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return hyperrl.train("cartpole", run=folder, quiet=True, **TINY)
