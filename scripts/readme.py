"""README.md from nbs/index.ipynb: markdown, code and text results as they stand in the notebook."""

import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).parent.parent
notebook = nbformat.read(root / "nbs" / "index.ipynb", as_version=4)
notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| hide")]
for cell in notebook.cells:
    cell.source = re.sub(r"^#\| .*\n", "", cell.source)
text, _ = MarkdownExporter().from_notebook_node(notebook)
text = (
    re.sub(r"\]\((?!https?:|#|\.\.)", "](nbs/", text)
    .replace("](../", "](")
    .replace('src="', 'src="nbs/')
)
text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
if (root / "README.md").read_text(encoding="utf-8") != text:
    (root / "README.md").write_text(text, encoding="utf-8")
