"""What attackers get out of relays: real packets, in network namespaces made for it.

Run as ``python -m bench.attacks``. Each *row* is an attack on a call of its own; each *column* a
relay: a policy, and the path packets take. All rows of a column run at the same time, against one
process, as they would in the field.
"""
