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

from tuner.errors import CommandFailed, TrainingError
from tuner.programs.checkpoint_folder import CheckpointFolder
from tuner.programs.guard import NOT_STARTED
from tuner.programs.process import REPORTS, Process
from tuner.programs.scores import ParsedScores, ScoreParser, of_json
from tuner.programs.template import CHECKPOINT, CommandTemplate
from tuner.space.space import Space
from tuner.values.arguments import amount, checked, one_of
from tuner.worker.run import Run


@dataclass(frozen=True)
class Program:
    """A training function that runs a program to its end, with the settings of its trial filled in."""

    words: CommandTemplate
    reading: ScoreParser
    grace_s: float
    resumes: bool = False

    def __call__(self, run: Run) -> None:
        """Runs the program, reports what it scores, and ends it with its children where the trial ends before it.

        One that can resume is started again from its checkpoint where a setting changes or its run goes back.
        """
        with _folder_of(run) as folder:
            kept = CheckpointFolder(folder / CHECKPOINT)
            if self.resumes:
                run.state(save=kept.save, load=kept.load)
            scored, begun = run.done > 0, run.step()
            while begun:
                if self.resumes:
                    kept.begin()
                words = self._filled(run, folder)
                env = {"TUNER_CHECKPOINT": str(kept.folder)} if self.resumes else {}
                with Process(words, folder, grace_s=self.grace_s, env=env) as process:
                    kept.process = process
                    heard, again = self._follow(run, words, folder, process, kept)
                    scored, kept.process = scored or heard, None
                    if again:
                        kept.put_back = True  # what lies in the folder is what it goes on from
                        continue
                    if run.ended is None and (code := process.code):
                        raise CommandFailed(self._failure(words, code, process))
                    if run.ended is None and not scored:
                        raise CommandFailed(self._silence(words, process))
                return

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
        told = {"command": self.words.text, "shell": self.words.in_a_shell, "metric": patterns}
        return json.dumps(told | {"resumes": self.resumes})

    def check(self, settings: Iterable[str], space: Space | None = None, *, here: bool = True) -> None:
        """Refuses what no trial could train with: before the first, where it is written.

        With `here` the program is looked for too, since trials run on this machine.
        """
        self.words.check(settings, space)
        if here and (problem := self.words.missing()) is not None:
            raise TrainingError(problem)

    def _filled(self, run: Run, folder: Path) -> list[str]:
        ours = {"seed": run.seed, "folder": str(folder), CHECKPOINT: str(folder / CHECKPOINT)}
        return self.words.filled({**run.params, **ours})

    def _follow(
        self, run: Run, words: Sequence[str], folder: Path, process: Process, kept: CheckpointFolder
    ) -> tuple[bool, bool]:
        """Reports what the program says until it is over or is not to go on.

        Returns whether there was a score, and whether it is to be started again.
        """
        scored, steps = False, kept.steps(run.done)
        for source, line in process.lines(run.goes_on):
            found = self._found(source, line, run.objective)
            if found is None:
                continue
            scored = True
            if (step := steps.of(found)) is None:
                continue
            kept.noticed(step, steps)
            run.rewind(step - 1)  # the program's own count: what it skips was trained too
            run.report(**found.scores)
            with process.standing_still():
                goes_on = run.step()
            if not goes_on:
                break
            if kept.put_back or (self.resumes and self._filled(run, folder) != words):
                return scored, True
        return scored, False

    def _found(self, source: str, line: str, objective: str) -> ParsedScores | None:
        return of_json(line) if source == REPORTS else self.reading.of_line(line, objective)

    def _failure(self, words: Sequence[str], code: int, process: Process) -> str:
        tail = list(process.complained) or list(process.said)
        last = f": {tail[-1].strip()}" if tail else ", and said nothing"
        return _with_tail(f"{_told(words)} {_how_it_ended(code)}{last}", tail)

    def _silence(self, words: Sequence[str], process: Process) -> str:
        tail = list(process.said)
        return _with_tail(
            f"{_told(words)} ended well and gave no score: {self.reading.looked_for}. Print the score in such a line, "
            f"or {'mend the pattern' if self.reading.patterns else 'say how it prints it, metric=...'}",
            tail,
        )


@checked(shell=one_of("none", "sh"), resume=one_of("auto", "yes"), grace_s=amount(least=0, most=3600, unit="seconds"))
def command(
    command: str | Sequence[str],
    *,
    metric: str | Sequence[str] | None = None,
    shell: str = "none",
    resume: str = "auto",
    grace_s: float = 5.0,
) -> Program:
    """A program as a training function, for `sweep`, `babysit` and `check`: a script that knows nothing of tuner.

    Each trial runs it once, from the folder where it was called, with its settings in place of their names in braces.
    `{seed}` is the trial's seed and `{folder}` a folder of its own, `trials/<number>` in the study's, where what the
    program prints is kept. A trial that is to stop ends the program with all its children.

    A program that saves its training in the folder `{checkpoint}`, and begins with what it finds there, can be paused,
    set back and changed while it trains: it is ended, the folder is put back as it was, and it is started again.

    Args:
        command: The program and its arguments, as a text that is split as a shell would split it, or as a list of
            words. No shell reads it, and a value stays one word whatever it holds.
        metric: A regular expression, or several, for what the program prints, on standard output or error. The group in
            brackets is the objective, one with a name, `(?P<train_loss>…)`, a score of that name, and `(?P<step>…)` the
            step. None: a line that is a JSON object gives its numbers.
        shell: "sh" has `/bin/sh` read the command, for pipes and redirections; by default none.
        resume: "yes" says that the program resumes from the folder that the variable `TUNER_CHECKPOINT` names; by
            default auto, which is so where the command has `{checkpoint}`, that folder's name.
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
    words = CommandTemplate.of(command, in_a_shell=shell == "sh")
    return Program(words, ScoreParser.of(metric), grace_s, resumes=resume == "yes" or CHECKPOINT in words.names)


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
