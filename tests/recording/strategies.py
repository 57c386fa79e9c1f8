"""Values for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

ports = st.integers(0, 65535)
v4 = st.tuples(st.ip_addresses(v=4).map(str), ports)
v6 = st.tuples(
    # Without those that are written with an embedded IPv4 address in one library and not the other.
    st.ip_addresses(v=6, network="2001:db8::/32").map(str),
    ports,
)
addresses = v4 | v6
moments = st.floats(0, 4e9, allow_nan=False)
