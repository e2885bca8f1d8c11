"""Make the pages that mkdocs does not find: of the root, of notebooks, of the fields of a study, of linked source."""

import posixpath
import re
from pathlib import Path

from github import for_python_markdown, slug, with_links
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebooks import page as notebook_page
from study_fields import page as study_fields

ROOT = Path(__file__).parents[2]
OF_ROOT = {  # page of the site, by file beside docs/
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_SOURCE = re.compile(r"\]\((?:\.\./)+(hybridtune/[\w/]+\.py)\)")
_UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as GitHub does."""
    config.mdx_configs["toc"]["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {page: _of_root((ROOT / name).read_text(encoding="utf-8")) for name, page in OF_ROOT.items()}
    made["reference/study-file.md"] = study_fields()
    for file in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{file.stem}.md"] = notebook_page(file.read_text(encoding="utf-8"))
    linked = {name for page in files.documentation_pages() for name in _SOURCE.findall(page.content_string)}
    for name in sorted(linked):
        code = (ROOT / name).read_text(encoding="utf-8")
        made[f"source/{name}.md"] = f"{_UNSEARCHED}# {name}\n\n````python\n{code}````\n"
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at source to its page, and write lists and tables as Python-Markdown reads them."""
    folder = posixpath.dirname(page.file.src_uri)

    def change(link: str) -> str:
        if link.endswith(".ipynb"):
            return f"{link.removesuffix('.ipynb')}.md"
        path = posixpath.normpath(posixpath.join(folder, link))
        if not path.startswith("../hybridtune/"):
            return link
        return posixpath.relpath(f"source/{path[3:]}.md", folder or ".")

    return for_python_markdown(with_links(markdown, change))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out what mkdocs-click writes for an option without a default since click 8.3."""
    return html.replace("<code>Sentinel.UNSET</code>", "")


def _of_root(text: str) -> str:
    """Return a page of the root with the links that it has in the site."""
    return with_links(text.replace('src="docs/', 'src="'), lambda link: OF_ROOT.get(link, link.removeprefix("docs/")))
