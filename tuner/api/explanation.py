"""The verb that says in words and pictures what a search has learned: explain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner.arguments import checked
from tuner.arguments import path as path_of
from tuner.errors import SettingsError, StudyError
from tuner.insight.findings import Findings
from tuner.record.atomic import write_whole


@dataclass(frozen=True, kw_only=True)
class Explanation(Findings):
    """What a search has learned, each part with its numbers; `sections` say it in words."""

    def markdown(self) -> str:
        """As Markdown, without pictures."""
        from tuner.views.explanation import markdown

        return markdown(self)

    def html(self) -> str:
        """As one page that needs nothing beside it, with its pictures where matplotlib is installed."""
        from tuner.views.explanation import page

        return page(self)

    @checked(to=path_of)
    def plot(self, to: str | Path) -> list[Path]:
        """Its pictures as PNG files in a folder."""
        from tuner.views.plots.explanation import write_portraits

        return write_portraits(self, Path(to))

    @checked(path=path_of)
    def save(self, path: str | Path) -> Path:
        """Writes it as the ending says: `.md` or `.html`."""
        target = Path(path)
        if target.suffix not in (".md", ".html"):
            raise SettingsError(f"an explanation is written as .md or .html, got {target.name!r}.")
        text = self.markdown() if target.suffix == ".md" else self.html()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, text.encode(errors="replace"))
        except OSError as error:
            raise StudyError(f"the explanation cannot be written to {target}: {error}. Choose another file.") from error
        return target
