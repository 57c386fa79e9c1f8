"""One world for all rows that can share it, and the check after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import namespaces
from tests.hostile.world import Watch, World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All open sockets."""
    for item in items:
        if item.get_closest_marker("hostile"):
            item.add_marker(pytest.mark.network)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world; not to be used without :func:`world`."""
    if (why := namespaces.missing()) is not None:
        pytest.skip(why)
    made = World(tmp_path_factory.mktemp("hostile"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The world, which must be the same when the test is over."""
    watch = Watch(shared)
    yield shared
    watch.check()
