"""The documentation site: `make docs` builds it into docs/_build/html, strictly and without the network."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from _site import llms, reference, structure

from hf_jukebox import __version__

project = "hf_jukebox"
author = "the hf_jukebox authors"
release = version = __version__
html_title = f"hf_jukebox {__version__}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_site", "notebooks", "generated/work"]
smartquotes = False  # messages and options are quoted as they are
html_theme = "furo"
pygments_dark_style = "monokai"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
html_extra_path = ["generated/command-line.json"]

myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "off"  # `make notebooks` has executed them
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]  # shell commands over several lines in notebooks
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings are written for readers of the source: single backticks are code.
default_role = "code"
autodoc_typehints = "none"  # the signature has them
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries = False

# Every name of ours must resolve; those of other libraries would need the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!hf_jukebox\b).*")]
nitpick_ignore = [("py:class", "hf_jukebox.audio.mp3_frames.Mp3Index")]  # a detail of AudioInfo


def read_source(app, docname, source):
    """Add the table of contents of a section's page, and show links to the sources of the repository as code."""
    source[0] = structure.with_toctree(docname, source[0])
    source[0] = structure.with_own_links(docname, source[0])


def read_docstring(app, what, name, obj, options, lines):
    """Show references of the form [`name`] as code, and leave them to readers of the source as links."""
    lines[:] = [re.sub(r"\[`~?([\w.]+)`\]", r"`\1`", line) for line in lines]


def setup(app):
    reference.write(HERE / "generated")
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("build-finished", llms.write)
