"""What is installed is in ``setup.cfg``; here is the package index's page, made of ``README.rst``.

An index shows that page without the files beside it. ``SOURCE_URL`` names where they can be seen
when a release is built, such as ``https://git.example.org/rtpproxy-tw``: pictures are then those at
``SOURCE_URL/raw/VERSION/…``, links lead to ``SOURCE_URL/blob/VERSION/…``. Without it the page has
neither, which is better than broken ones.
"""

import os
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

_IMAGE = re.compile(r"^\.\. image:: (?!\w+:)(\S+\n(?:   .*\n)*)", re.MULTILINE)
_LINK = re.compile(r"`([^`<>]+?)\s+<((?!\w+:)[^`<>]+)>`_")


def index_page(text: str, url: str, version: str) -> str:
    """``text`` with its pictures and links at ``url``, or without them where that is empty."""
    if not url:
        return _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _IMAGE.sub(rf".. image:: {url}/raw/{version}/\1", text)
    return _LINK.sub(rf"`\1 <{url}/blob/{version}/\2>`_", text)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    known = ConfigParser()
    known.read(here / "setup.cfg", encoding="utf-8")
    source = os.environ.get("SOURCE_URL", "").rstrip("/")
    readme = (here / "README.rst").read_text(encoding="utf-8")
    setup(
        long_description=index_page(readme, source, known["metadata"]["version"]),
        long_description_content_type="text/x-rst",
        **({"url": source} if source else {}),
    )
