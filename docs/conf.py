"""Sphinx over the notebooks: what `docs/assemble.py` laid out in _docs/source."""

import configparser
import inspect
import os
import re
from pathlib import Path

from fastcore.docments import docments

ROOT = Path(__file__).parent.parent
config = configparser.ConfigParser(delimiters="=")
config.read(ROOT / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]

project = settings["lib_name"]
author = settings["author"]
version = release = settings["version"]
copyright = f"{author}, {settings['license']}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["exercises"]  # the copies for classes are there to download
nb_execution_mode = "off"  # the notebooks are run by the tests; the page shows what they saved
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4
# Saved outputs of widgets and progress bars have no static form, and say so where they stand.
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

repository = os.environ.get(
    "DOCS_REPOSITORY", settings.get("git_url", "")
)  # https://HOST/OWNER/NAME
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": True,
    "use_download_button": True,
    "home_page_in_toc": True,
}
if repository:
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": "main",
        "path_to_docs": "nbs",
        "use_repository_button": True,
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }


def parameters(app, what, name, thing, options, lines):
    "What stands beside each parameter in the source becomes a list under the docstring."
    if what not in ("function", "method", "class"):
        return
    try:
        said = docments(thing, full=True, returns=True)
    except (TypeError, ValueError, OSError, AttributeError):
        return
    fields = [
        (f":return: {note}" if parameter == "return" else f":param {parameter}: {note}")
        for parameter, about in said.items()
        if (note := " ".join((about.get("docment") or "").split()))
    ]
    if fields:
        lines += ["", *map(_as_rst, fields), ""]


def code_in_backticks(app, what, name, thing, options, lines):
    "The docstrings write code as Markdown does."
    lines[:] = map(_as_rst, lines)


def _as_rst(line):
    "Code in single backticks as reStructuredText has it, also where a letter follows, as in `X`s."
    line = line.replace("*", "\\*")
    return re.sub(r"`([^`]*)`(\w?)", lambda m: f"``{m[1]}``" + (rf"\ {m[2]}" if m[2] else ""), line)


def own(app, what, name, thing, skip, options):
    "Only what has a docstring of its own."
    return skip or not inspect.getdoc(thing)


def setup(app):
    app.connect("autodoc-process-docstring", code_in_backticks, priority=400)
    app.connect("autodoc-process-docstring", parameters)
    app.connect("autodoc-skip-member", own)
