"""A command as a training function: `tuner.command`, and what one trial of it does."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from tuner.arguments import amount, checked, one_of
from tuner.errors import CommandFailed, TrainingError
from tuner.programs.guard import NOT_STARTED
from tuner.programs.process import REPORTS, Process
from tuner.programs.scores import Found, Reading, Steps, of_json
from tuner.programs.words import Words
from tuner.space.space import Space
from tuner.worker.run import Run


@dataclass(frozen=True)
class Program:
    """A training function that runs a program to its end, with the settings of its trial filled in."""

    words: Words
    reading: Reading
    grace_s: float

    def __call__(self, run: Run) -> None:
        """Runs the program, reports what it scores, and ends it with its children where the trial ends before it."""
        if not run.step():
            return
        with _folder_of(run) as folder:
            words = self.words.filled({**run.params, "seed": run.seed, "folder": str(folder)})
            with Process(words, folder, grace_s=self.grace_s, env={}) as process:
                scored = self._follow(run, process, Steps(run.done))
                code = process.code
                if run.ended is None and code:
                    raise CommandFailed(self._failure(words, code, process))
                if run.ended is None and not scored:
                    raise CommandFailed(self._silence(words, process))

    @property
    def name_on_record(self) -> str:
        """What its study calls it; another command is another training function."""
        return f"command({'sh: ' if self.words.in_a_shell else ''}{self.words.text})"

    @property
    def short_name(self) -> str:
        """The script that it runs, or else the program."""
        scripts = [each for each in self.words.parts if Path(each).suffix in (".py", ".sh") and "{" not in each]
        return Path([*scripts, *self.words.parts][0]).stem

    @property
    def source_on_record(self) -> str:
        """What makes it what it is; with other patterns it has changed."""
        patterns = [each.pattern for each in self.reading.patterns]
        return json.dumps({"command": self.words.text, "shell": self.words.in_a_shell, "metric": patterns})

    def check(self, settings: Iterable[str], space: Space | None = None, *, here: bool = True) -> None:
        """Refuses what no trial could train with: before the first, where it is written.

        With `here` the program is looked for too, since trials run on this machine.
        """
        self.words.check(settings, space)
        if here and (problem := self.words.missing()) is not None:
            raise TrainingError(problem)

    def _follow(self, run: Run, process: Process, steps: Steps) -> bool:
        """Reports what the program says until it is over or is not to go on; whether there was a score."""
        scored = False
        for source, line in process.lines(run.goes_on):
            found = self._found(source, line, run.objective)
            if found is None:
                continue
            scored = True
            run.rewind(steps.of(found) - 1)  # the program's own count: what it skips was trained too
            run.report(**found.scores)
            if not run.step():
                break
        return scored

    def _found(self, source: str, line: str, objective: str) -> Found | None:
        return of_json(line) if source == REPORTS else self.reading.of_line(line, objective)

    def _failure(self, words: Sequence[str], code: int, process: Process) -> str:
        tail = list(process.complained) or list(process.said)
        last = f": {tail[-1].strip()}" if tail else ", and said nothing"
        return _with_tail(f"{_told(words)} {_how_it_ended(code)}{last}", tail)

    def _silence(self, words: Sequence[str], process: Process) -> str:
        tail = list(process.said)
        return _with_tail(
            f"{_told(words)} ended well and gave no score: {self.reading.told}. Print the score in such a line, or "
            f"{'mend the pattern' if self.reading.patterns else 'say how it prints it, metric=...'}",
            tail,
        )


@checked(shell=one_of("none", "sh"), grace_s=amount(least=0, most=3600, unit="seconds"))
def command(
    command: str | Sequence[str],
    *,
    metric: str | Sequence[str] | None = None,
    shell: str = "none",
    grace_s: float = 5.0,
) -> Program:
    """A program as a training function, for `sweep`: a script that knows nothing of tuner, in any language.

    Each trial runs it once, from the folder where it was called, with its settings in place of their names in braces.
    `{seed}` is the trial's seed and `{folder}` a folder of its own, `trials/<number>` in the study's, where what the
    program prints is kept. A trial that is to stop ends the program with all its children.

    Args:
        command: The program and its arguments, as a text that is split as a shell would split it, or as a list of
            words. No shell reads it, and a value stays one word whatever it holds.
        metric: A regular expression, or several, for what the program prints, on standard output or error. The group in
            brackets is the objective, one with a name, `(?P<train_loss>…)`, a score of that name, and `(?P<step>…)` the
            step. None: a line that is a JSON object gives its numbers.
        shell: "sh" has `/bin/sh` read the command, for pipes and redirections; by default none.
        grace_s: Seconds between asking a program to end (SIGTERM) and ending it (SIGKILL), 0 to 3600; by default 5.0.

    Returns:
        The training function.

    Raises:
        SettingsError: A command that cannot be split, a brace without a name, a pattern that catches no score, or an
            argument of another name.

    Example:
        >>> train = tuner.command(["expr", "4", "+", "{width}"], metric=r"(\\d+)")
        >>> study = tuner.sweep(train, tuner.Space(width=tuner.integer(1, 9)), name="sums", objective="sum", trials=4,
        ...                     executor="local", progress="off")
        >>> study.best.score == study.best.params["width"] + 4
        True
        >>> study.close()
    """
    return Program(Words.of(command, in_a_shell=shell == "sh"), Reading.of(metric), grace_s)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _folder_of(run: Run) -> Iterator[Path]:
    """The trial's own folder, or one that is gone afterwards where it belongs to no study on disk."""
    if run.folder is not None:
        yield run.folder.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="tuner-") as place:
        yield Path(place)


def _told(words: Sequence[str]) -> str:
    text = shlex.join(words)
    return f"`{text if len(text) <= 200 else text[:200] + '…'}`"


def _how_it_ended(code: int) -> str:
    if code == NOT_STARTED:
        return "did not start (exit code 127)"
    try:
        signal = Signals(code - 128).name if code > 128 else ""
    except ValueError:
        signal = ""
    if signal == "SIGKILL":
        return f"was killed (exit code {code}, SIGKILL: mostly for want of memory)"
    return f"ended with exit code {code}{f', {signal}' if signal else ''}"


def _with_tail(sentence: str, tail: Sequence[str]) -> str:
    if not tail:
        return f"{sentence}."
    return "\n".join([sentence, "", "The last that it said:", *(f"    {line[:500]}" for line in tail)])
