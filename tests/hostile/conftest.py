"""One world for all rows that can share it, and the check after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import namespaces
from tests.hostile.relay import ANSWERED
from tests.hostile.rows import row_of
from tests.hostile.watch import Watch
from tests.hostile.world import World


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


@pytest.fixture(autouse=True)
def every_relay_is_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """No row can forget the invariants: a relay of C or D that was never checked fails it."""
    ANSWERED.clear()
    yield
    if (row_of(request.node.name) or "A")[0] not in "CD":
        return
    forgotten = [relay.argv for relay in ANSWERED if not relay.checked]
    assert not forgotten, f"no invariants were checked of {forgotten}"
