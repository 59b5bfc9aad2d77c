"""The verb that says in words and pictures what a search has learned: explain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner.errors import SettingsError, StudyError
from tuner.insight.findings import Findings
from tuner.record.atomic import write_whole
from tuner.values.arguments import checked
from tuner.values.arguments import path as path_of


@dataclass(frozen=True, kw_only=True)
class Explanation(Findings):
    """What a search has learned, each part with its numbers; `sections` say it in words.

    Attributes:
        study: The study's name.
        objective: The score that counts.
        goal: "maximize" or "minimize" it.
        trials: How many trials the search has begun; repeats are not counted.
        winner: The best settings and how sure they are; None where nobody has a score.
        recommended: The settings expected to score best when trained once more; None where nobody has a score.
        confirmation: What `tuner.confirm` found; None where it was not asked.
        importance: Each parameter's share in the differences between scores.
        edges: The parameters whose best values lie at an end of the space.
        beliefs: The likely values that the space names, beside the best trial's.
        divergences: Where trials diverged.
        fits: Bias and variance of the best three trials, where they report on train and dev alike.
        worth: What further trials may still gain.
        recheck: What `tuner.recheck` found; None where it was not asked.
        state: The study as the record tells it.
        space: What was searched.
        curves: The head curves of the best trials, by trial and score.

    Example:
        >>> found = tuner.explain("night")
        >>> found.trials, found.sections[0].title
        (12, 'The winner')
    """

    def markdown(self) -> str:
        """As Markdown, without pictures.

        Returns:
            The text, one heading a section.

        Example:
            >>> tuner.explain("night").markdown().startswith("# ")
            True
        """
        from tuner.views.explanation import markdown

        return markdown(self)

    def html(self) -> str:
        """As one page that needs nothing beside it, with its pictures where matplotlib is installed.

        Returns:
            The page's text.

        Example:
            >>> "</html>" in tuner.explain("night").html()
            True
        """
        from tuner.views.explanation import page

        return page(self)

    @checked(to=path_of)
    def plot(self, to: str | Path) -> list[Path]:
        """Its pictures as PNG files.

        Args:
            to: The folder, made where it is not there.

        Returns:
            The files drawn; a picture of which there is nothing to show is left out.

        Raises:
            SettingsError: No folder.
            StudyError: The folder cannot be written.
            MissingExtra: matplotlib is not installed.

        Example:
            >>> [each.suffix for each in tuner.explain("night").plot("out")][:1]
            ['.png']
        """
        from tuner.views.plots.explanation import write_portraits

        return write_portraits(self, Path(to))

    @checked(path=path_of)
    def save(self, path: str | Path) -> Path:
        """Writes it as the ending says.

        Args:
            path: The file, ending in .md or .html; its folder is made, and what was there is replaced.

        Returns:
            The file.

        Raises:
            SettingsError: Another ending.
            StudyError: The file cannot be written.

        Example:
            >>> tuner.explain("night").save("out/night.md").name
            'night.md'
        """
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
