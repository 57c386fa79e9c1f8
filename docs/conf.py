"""How Sphinx makes these pages: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

_setup = configparser.ConfigParser()
_setup.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")

project = "rtpproxy-tw"
author = "The rtpproxy-tw authors"
copyright = "2026, The rtpproxy-tw authors"
version = release = _setup["metadata"]["version"]

extensions = ["generated"]
exclude_patterns = ["_build", "_ext"]
man_pages = [
    ("man/rtpproxy-tw", "rtpproxy-tw", "RTP relay for SIP proxies", [author], 8),
    ("man/rtpproxy-ctl", "rtpproxy-ctl", "look into a running RTP relay", [author], 1),
    ("man/rtpproxy-demo", "rtpproxy-demo", "place a call through an RTP relay", [author], 1),
    ("man/rtpproxy-makeann", "rtpproxy-makeann", "make prompts for an RTP relay", [author], 1),
    ("man/rtpproxy-extractaudio", "rtpproxy-extractaudio", "sound of recordings", [author], 1),
    ("man/rtpproxy-tlsproxy", "rtpproxy-tlsproxy", "commands to a relay over TLS", [author], 1),
]
html_theme = "alabaster"
html_theme_options = {"description": _setup["metadata"]["description"], "page_width": "68em"}
html_copy_source = False
