"""What Redis does in one step, in Lua; and the names of keys.

All keys of an address share a hash tag, so that a cluster of Redis keeps them together.
"""

from __future__ import annotations

from hashlib import sha1

KEPT = 86_400
"""Seconds, by Redis' own clock, after which what nobody has touched is no use to anybody."""

CALL_KEPT = 7_200
"""The same of where a call is; it is renewed whenever the call is written."""

NODES = "rtp:{nodes}"


def owner_key(address: str) -> str:
    """The record of who has the address."""
    return f"rtp:{{{address}}}:owner"


def sessions_key(address: str) -> str:
    """Its sessions by name."""
    return f"rtp:{{{address}}}:sessions"


def call_key(call_id: str) -> str:
    """Where a call is. Call-ids are bytes of strangers, of any length."""
    return f"rtp:call:{sha1(call_id.encode('utf-8', 'surrogateescape')).hexdigest()}"


def node_key(node: str) -> str:
    """What is known of a node."""
    return f"{NODES}:{node}"


OWNER = """
local function owner(key)
  local found = redis.call('HMGET', key, 'node', 'epoch', 'beat', 'here')
  if not found[2] then return nil end
  return found
end
local function store(key, node, epoch, beat, here)
  redis.call('HSET', key, 'node', node, 'epoch', epoch, 'beat', beat, 'here', here)
  return {node, epoch, beat, here}
end
"""

TAKE = (
    OWNER
    + """
local found = owner(KEYS[1])
if tonumber(found and found[2] or 0) ~= tonumber(ARGV[2]) then return {} end
return store(KEYS[1], ARGV[1], tostring(tonumber(ARGV[2]) + 1), '0', ARGV[3])
"""
)
"""owner; node, epoch, here -> the record, or nothing."""

BEAT = (
    OWNER
    + f"""
local found = owner(KEYS[1])
local ahead = found and tonumber(found[2]) - tonumber(ARGV[2])
if found and (ahead > 0 or (ahead == 0 and found[1] ~= ARGV[1])) then return found end
redis.call('EXPIRE', KEYS[2], {KEPT})
return store(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
"""
)
"""owner, sessions; node, epoch, beat, here -> the record, which ends our beating if not ours."""

RELEASE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'node', '')
return 1
"""

WRITE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local count = tonumber(ARGV[2])
for at = 3, 2 + 2 * count, 2 do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
for at = 3 + 2 * count, #ARGV do redis.call('HDEL', KEYS[2], ARGV[at]) end
return 1
"""
"""owner, sessions; epoch, how many, name, line, …, name gone, …"""

LOAD = """
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
local lines = {}
for at = 2, #found[2], 2 do lines[#lines + 1] = found[2][at] end
return {found[1], table.concat(lines, '\\n')}
"""
"""sessions; cursor -> the next cursor, and lines as one: a client reads one long one faster."""
