"""What the package says about itself: its page on PyPI, its types, and how to cite it."""

import re
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
REPOSITORY = re.search(r'^Repository = "(.+)"', PROJECT, re.MULTILINE)[1]


def test_the_package_has_types_for_type_checkers():
    assert (files("mgclip") / "py.typed").is_file()


def test_every_link_and_picture_of_the_readme_works_outside_the_repository():
    """PyPI shows the file alone, so a relative link leads nowhere there."""
    links = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", README, re.MULTILINE)
    links = [inline or defined for inline, defined in links]
    links += re.findall(r'(?:src|href)="([^"]+)"', README)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    own = {f"{REPOSITORY}/blob/main/", f"{REPOSITORY.replace('github.com', 'raw.githubusercontent.com')}/main/"}
    assert all(any(link.startswith(prefix) for prefix in own) for link in links if "mg-clip/mg-clip" in link)


def test_the_readme_renders_as_commonmark_without_a_relative_link():
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(README)
    assert html.count("<h1>") == 1 and "<table>" in html
    assert re.findall(r'(?:href|src)="(?!https://)([^"]*)"', html) == []


def test_the_addresses_of_the_project_are_of_one_repository():
    urls = dict(
        re.findall(r'^(\w+) = "(https://[^"]+)"', PROJECT.partition("[project.urls]")[2].partition("\n[")[0], re.MULTILINE)
    )
    assert urls.keys() == {"Repository", "Documentation", "Changelog", "Issues", "Paper"}
    assert all(url.startswith(REPOSITORY) for name, url in urls.items() if name != "Paper")
    assert (ROOT / urls["Documentation"].partition("/main/")[2]).is_dir()
    assert (ROOT / urls["Changelog"].partition("/main/")[2]).is_file()


def test_citation_file_and_bibtex_name_the_same_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = cited["preferred-citation"]
    entry = re.search(r"```bibtex\n(.+?)```", README, re.DOTALL)[1]
    fields = dict(re.findall(r"^  (\w+) += \{(.+)\},?$", entry, re.MULTILINE))
    assert fields["author"] == " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    assert re.sub("[{}]", "", fields["title"]) == paper["title"]
    assert fields["booktitle"] == paper["collection-title"]
    assert (fields["year"], fields["pages"]) == (str(paper["year"]), f"{paper['start']}--{paper['end']}")
    released = re.findall(r"^## \[(\d.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert cited["version"] == released and cited["repository-code"] == REPOSITORY


@pytest.mark.parametrize("words", ["pip install mg-clip", "pytorch.org", "macOS", "Windows"])
def test_the_readme_says_how_to_install(words):
    assert words in README.partition("## Install")[2].partition("\n## ")[0]
    assert metadata("mg-clip")["Name"] == "mg-clip"
