"""What `make docs` does beyond mkdocs: pages of other folders, links, and formulas.

Links in the repository are right where they are read as files. On the site a page of
PAGES has another place, and files that are no page have none: their links become text.
Formulas become MathML, which browsers draw by themselves.
"""

import pathlib
import posixpath
import re

import latex2mathml.converter
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Files outside of docs/ that are pages of the site, and their names there.
PAGES = {
    "README.md": "index.md",
    "id2face_jax/pretrained/README.md": "model_card.md",
    "training_weights/README.md": "training_weights.md",
    "launch/README.md": "launching.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
PICTURE = re.compile(r"(!\[[^\]]*\])\(([^)\s]+)()\)")
FORMULA = re.compile(r"\$`([^`\n]+)`\$")  # as GitHub reads it, too


def on_config(config):
    """Formulas of a line of their own: ```math blocks."""
    fence = {"name": "math", "class": "math", "format": block_math}
    config["mdx_configs"]["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files, config):
    """Adds the pages of other folders."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Sets links to where the site has their targets, and formulas as MathML."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def at_site(match):
        text, link, anchor = match.groups()
        if "://" in link or link.startswith("mailto:"):
            return match.group()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if not (ROOT / target.rstrip("/")).exists():
            return match.group()  # for --strict to find
        known = PAGES.get(target, target.removeprefix("docs/"))
        if target not in PAGES and not target.startswith("docs/"):
            return text
        place = posixpath.relpath(known, posixpath.dirname(here) or ".")
        return f"{text if text[0] == '!' else f'[{text}]'}({place}{anchor or ''})"

    markdown = PICTURE.sub(at_site, LINK.sub(at_site, markdown))
    return FORMULA.sub(lambda m: latex2mathml.converter.convert(m.group(1)), markdown)


def block_math(source, language, css_class, options, md, **kwargs) -> str:
    """A ```math block, one formula."""
    mathml = latex2mathml.converter.convert(source, display="block")
    return f'<div class="{css_class}">{mathml}</div>'
