"""How Sphinx makes these pages: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import configparser
from pathlib import Path

_setup = configparser.ConfigParser()
_setup.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")

project = "rtpproxy-tw"
author = "The rtpproxy-tw authors"
copyright = "2026, The rtpproxy-tw authors"
version = release = _setup["metadata"]["version"]

exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": _setup["metadata"]["description"], "page_width": "68em"}
html_copy_source = False
