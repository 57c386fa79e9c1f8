"""Whether IPsec policies are in force: the program's packets would leave past them, in the clear.

A socket's datagrams are encrypted where a policy says so; what TC redirects is not. So wherever
there is an outgoing policy at all, everything stays with the sockets. Reading the policies takes
CAP_NET_ADMIN: where that has been given up, the answer is that of the last time.
"""

from __future__ import annotations

from rtpproxy_tw.media.kernel import netlink, rtnetlink

_XFRM = 6
_NEW_POLICY, _GET_POLICY = 0x13, 0x15
_POLICY_ID_SIZE = 64
_DIRECTION_AT = 160
_OUT = 1


def policies_in_force(default: bool = False) -> bool:
    """Whether any outgoing policy exists; ``default`` where it cannot be known."""
    try:
        requests = rtnetlink.Requests(_XFRM)
    except OSError:
        return default  # a kernel without IPsec
    try:
        answers = requests.ask(_GET_POLICY, bytes(_POLICY_ID_SIZE), netlink.DUMP)
    except OSError:
        return default
    finally:
        requests.close()
    return any(
        it.kind == _NEW_POLICY and it.body[_DIRECTION_AT : _DIRECTION_AT + 1] == bytes((_OUT,))
        for it in answers
    )
