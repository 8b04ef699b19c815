"""Networks are tested on one thread, from one seed."""

import pytest


@pytest.fixture(autouse=True)
def _torch(one_thread: None) -> None:
    pass
