"""``.. generated:: options`` stands for a reference page made while the documentation is built."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from reference import PAGES
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """``.. generated:: NAME``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of that page's lines."""
        name = self.arguments[0]
        lines = StringList(list(PAGES[name]()), source=f"<generated {name}>")
        holder = nodes.Element()
        self.state.nested_parse(lines, self.content_offset, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_directive("generated", Generated)
    return {"version": "1", "parallel_read_safe": True}
