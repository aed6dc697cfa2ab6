"""How Sphinx builds the site: `make docs`, into build/docs. A warning is an error."""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Generic, Text
from sphinx.application import Sphinx

import tapd

project = "tapd"
author = "The tapd developers"
project_copyright = "The tapd developers. MIT licence"
version = release = tapd.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["man"]

# Pages are Markdown; a heading can be linked to by its words, as on a forge.
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

# Every reference into tapd has to resolve; those into the standard library would
# need its inventory from the network. One pair of backticks in a docstring is code,
# and a link where it names something.
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    (r"py:\w+", r"(?!tapd\.).*"),
    # Types that only annotations need: no author uses them.
    ("py:class", r"tapd\.model\.(timer\.TimersOwner|server_type\.Thing_co)"),
]
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "tapd"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


class SessionLexer(RegexLexer):
    """What is typed (behind ``$`` and ``>``), and what is printed; Pygments' own colours both."""

    name = "Session"
    aliases: ClassVar[list[str]] = ["console"]
    tokens: ClassVar = {
        "root": [
            (r"^([$>])( .*)?(\n)", bygroups(Generic.Prompt, Generic.Strong, Text)),
            (r"^\^C\n", Generic.Strong),
            (r".*\n", Generic.Output),
        ]
    }


def setup(app: Sphinx) -> None:
    """Register what is ours with Sphinx."""
    app.add_lexer("console", SessionLexer)
