"""The rows of the hostile plan, and which of them no test can have."""

ALL = "RTPPROXY_HOSTILE_ALL"
"""Set in the environment: slow rows too."""
