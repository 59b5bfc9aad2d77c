"""An explanation as one page of HTML that needs nothing beside it: words, tables and pictures within."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from tuner.errors import MissingExtra
from tuner.views.text import safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tuner.insight.findings import Findings, Section

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --muted: #6f6f6f; --line: #ddd; --faint: #eee; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #181818; --muted: #999; --line: #444; --faint: #2c2c2c; }
  img { filter: invert(0.906) hue-rotate(180deg); }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; display: block; margin: 1rem 0; }
small { color: var(--muted); }
""".strip()


def page(found: Findings) -> str:
    """The whole page."""
    pictures, missing = _pictures(found)
    title = f"What {found.study} has learned"
    body = "\n".join(part for section in found.sections for part in _section(section, pictures))
    note = f"<p><small>{escape(missing)}</small></p>" if missing else ""
    head = f"{found.trials} trials of the search, by {found.objective} ({found.goal})."
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n<p>{escape(head)}</p>\n{body}\n{note}"
        "</body>\n</html>\n"
    )


def _section(section: Section, pictures: dict[str, str]) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in section.sentences)
    if section.table:
        head, *rows = section.table
        cells = "".join(f"<th>{escape(each)}</th>" for each in head)
        lines = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
        yield f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"
    for name in section.pictures:
        if name in pictures:
            yield f'<img alt="{escape(section.title)}: {name}" src="data:image/png;base64,{pictures[name]}">'


def _pictures(found: Findings) -> tuple[dict[str, str], str]:
    """The pictures by name, and what is to be said where there are none."""
    from tuner.views.plots.explanation import portraits

    try:
        return {name: _encoded(figure) for name, figure in portraits(found).items()}, ""
    except MissingExtra as error:
        return {}, str(error)


def _encoded(figure: Figure) -> str:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a study's name may be in any script
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(file.getvalue()).decode("ascii")


def markdown(found: Findings) -> str:
    """As Markdown, without pictures."""
    parts = [f"# What {safe(found.study)} has learned", _summary(found)]
    for section in found.sections:
        parts += [f"## {section.title}", "\n".join(f"- {safe(sentence)}" for sentence in section.sentences)]
        if section.table:
            head, *rows = section.table
            lines = [head, ("---",) * len(head), *rows]
            parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _summary(found: Findings) -> str:
    return f"{found.trials} trials of the search, by {safe(found.objective)} ({found.goal})."


def _cell(text: str) -> str:
    return safe(text)
