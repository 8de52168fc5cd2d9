"""Of all tests."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory):
    """What tests run is not recorded as the user's own code; processes that they start inherit that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
