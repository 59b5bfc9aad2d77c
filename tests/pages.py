"""The Markdown pages of the repository, as a reader finds his way in them: headings, code, tables, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = tuple(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))
HOUSE = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = ("README.md", *DOCS, *HOUSE, "cluster/README.md", "benchmarks/README.md", "tuner/agents/SKILL.md")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Code between two fences, with the heading it stands under."""

    page: str
    heading: str
    language: str
    code: str


@cache
def text(page: str) -> str:
    """A page as it is written."""
    return (ROOT / page).read_text()


@cache
def everything(*pages: str) -> str:
    """Several pages as one text."""
    return "\n".join(map(text, pages))


@cache
def parts(page: str) -> tuple[tuple[Block, ...], tuple[str, ...], str]:
    """A page's code, its headings, and all that is not code."""
    blocks, headings, prose = [], [""], []
    lines = iter(text(page).splitlines())
    for line in lines:
        if line.startswith("```"):
            code = "".join(f"{each}\n" for each in iter(lambda: next(lines), "```"))
            blocks.append(Block(page=page, heading=headings[-1], language=line[3:], code=code))
            continue
        prose.append(line)
        if found := re.match(r"#+ (.*)", line):
            headings.append(found[1])
    return tuple(blocks), tuple(headings[1:]), "\n".join(prose)


def blocks(language: str, page: str, heading: str | None = None) -> list[str]:
    """The code of a language, on a whole page or under one heading."""
    return [
        block.code
        for block in parts(page)[0]
        if block.language == language and (heading is None or block.heading == heading)
    ]


def section(page: str, heading: str) -> str:
    """What stands under a heading, down to the next one of its rank or above."""
    marks, rest = re.split(rf"^(##+) {heading}\n", text(page), maxsplit=1, flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{2,{len(marks)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without those that name the columns."""
    lines = re.findall(r"^\|(.*)\|$(?!\n\|---)", section(page, heading), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith("---")]


def coded(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def shell_lines(page: str) -> Iterator[list[str]]:
    """The words of every line in the shell blocks, without comments."""
    for block in blocks("bash", page):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def links(page: str) -> list[tuple[str, str]]:
    """Where the links lead that stay in the repository: the file, empty for the page itself, and the anchor."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", parts(page)[2])
    return [(target, anchor) for target, anchor in found]


def anchors(page: str) -> set[str]:
    """What a heading is called in a link: lower case, dashes for spaces, nothing but letters, digits, _ and -."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in parts(page)[1]}


def paths(page: str) -> set[str]:
    """What a page names in backticks as a file or folder of the repository, by its beginning or its end."""
    named = {found for found in coded(parts(page)[2]) if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", found)}
    places = r"(tuner|tests|docs|examples|benchmarks|cluster|search_spaces)/.*|.*/|.*/.*\.(py|md|toml|ipynb)"
    return {found for found in named if re.fullmatch(places, found)}
