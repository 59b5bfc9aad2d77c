"""The training of one order: the function found, called with a `Run`, and its end told."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import linecache
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tuner.errors import (
    CommandFailed,
    TrainingError,
    TunerError,
    UnknownSetting,
    did_you_mean,
    first_line,
    format_error,
    name_of,
    quoted,
)
from tuner.record.events import TrialState
from tuner.values.plain import clean
from tuner.worker import seeds
from tuner.worker.control import TrialControl
from tuner.worker.device_memory import OUT_OF_GPU_MEMORY, ran_out
from tuner.worker.messages import Ended, Job, Started
from tuner.worker.object_storage import ObjectStorage
from tuner.worker.position import Position
from tuner.worker.run import Run
from tuner.worker.seeds import SeedRuns

TrainingFunction: TypeAlias = Callable[[Run], Any]


def resolve(function: str | bytes, search_path: tuple[str, ...] = ()) -> TrainingFunction:
    """The training function behind an import path `package.module:name`, or the bytes of a cloudpickle."""
    for folder in reversed(search_path):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    if isinstance(function, bytes):
        return _unpickled(function)
    module_name, colon, name = function.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise TrainingError(
            f"{quoted(function)} names no function: write package.module:function, for example my_code:train."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = f"no module named {error.name!r}"
        raise TrainingError(
            f"{function}: {missing} was found from {Path.cwd()}. "
            f"Run tuner where `python -c 'import {module_name}'` works."
        ) from error
    except SystemExit as ended:
        raise TrainingError(
            f"{quoted(function)}: importing {module_name} ended as a program does, by SystemExit: {ended.code}. It "
            'runs where it is imported. Keep what runs under `if __name__ == "__main__":`, or have it run as a '
            f"program: --command 'python {module_name.replace('.', '/')}.py --lr {{learning_rate}}', in Python "
            "tuner.command."
        ) from ended
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            functions = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
            raise TrainingError(f"{module_name} has no function {part!r}. {did_you_mean(part, functions)}")
        target = getattr(target, part)
    if not callable(target):
        raise TrainingError(f"{function} is a {type(target).__name__}, not a function of a Run.")
    resolved: TrainingFunction = target
    return resolved


# Where what a training function may hold of tuner stood when studies of earlier versions were begun: a module, or one
# name of it, which may be another today.
_MOVED = {
    "tuner.api": "tuner.api.studies",
    "tuner.api:sweep": "tuner.api.sweep",
    "tuner.api.asking": "tuner.api.handles",
    "tuner.api.asking:Reply": "tuner.api.answers",
    "tuner.asking": "tuner.api.handles",
    "tuner.asking:Reply": "tuner.api.answers",
    "tuner.babysitting": "tuner.api.babysit",
    "tuner.checkpoints": "tuner.worker.checkpoints",
    "tuner.checkpoints:FolderState": "tuner.worker.state",
    "tuner.checkpoints:ObjectState": "tuner.worker.state",
    "tuner.explaining": "tuner.api.explanation",
    "tuner.api.handles:SweepHandle": "tuner.api.sweep_handle",
    "tuner.handle": "tuner.api.handles",
    "tuner.handle:SweepHandle": "tuner.api.sweep_handle",
    "tuner.programs.scores:Reading": "tuner.programs.scores:ScoreParser",
    "tuner.programs.words:Words": "tuner.programs.template:CommandTemplate",
    "tuner.reading": "tuner.api.study",
    "tuner.reading:Best": "tuner.record.reader",
    "tuner.repeating": "tuner.api.repeats",
    "tuner.run": "tuner.worker.run",
    "tuner.selfcheck": "tuner.api.check",
    "tuner.space:Choice": "tuner.space.parameters",
    "tuner.space:Parameter": "tuner.space.parameters",
    # what a parameter keeps of its scale once it has been drawn from
    "tuner.space:_bent_by_one_minus": "tuner.space.scales",
    "tuner.space:_unbent_by_one_minus": "tuner.space.scales",
    "tuner.worker": "tuner.worker.training",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        home, _, today = (_MOVED.get(f"{module}:{name}") or _MOVED.get(module, module)).partition(":")
        return super().find_class(home, today or name)


def _loads(pickled: bytes) -> Any:
    return _Unpickler(io.BytesIO(pickled)).load()


def _unpickled(pickled: bytes) -> TrainingFunction:
    try:
        found = _loads(pickled)
        trained: TrainingFunction = found.function() if isinstance(found, WithSources) else found
    except Exception as error:  # whatever the function holds may refuse in its own way
        raise TrainingError(
            f"the training function that was kept cannot be read here: {type(error).__name__}: {error}. It needs the "
            "packages, and the Python, that it was kept with; or give the function itself again."
        ) from error
    return trained


def sources_of(pickled: bytes) -> Mapping[str, list[str]]:
    """The lines that were kept with a function, by the name of their file."""
    found = _loads(pickled)
    return found.sources if isinstance(found, WithSources) else {}


@dataclass(frozen=True)
class WithSources:
    """A pickled function, and the lines of the files that it was written in, by name."""

    pickled: bytes
    sources: Mapping[str, list[str]]

    def function(self) -> TrainingFunction:
        """The function, whose tracebacks show its lines though its file is elsewhere, or has changed since."""
        running = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        for name, lines in self.sources.items():
            if name not in running and name not in linecache.cache:
                linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
        found: TrainingFunction = _loads(self.pickled)
        return found


def train(function: TrainingFunction, position: Position) -> Ended:
    """Trains a trial from where it stands; whatever the function does, an `Ended` comes back."""
    order, job, channel = position.order, position.job, position.channel
    started, process = channel.now(), os.getpid()
    channel.emit(Started(trial=order.trial, segment=order.segment, at=started))
    control = TrialControl(position)
    state: TrialState
    error: tuple[str, ...] = ()
    trace = ""

    def one(run: Run) -> None:
        _take_result(run, _called(function, run, process), job.objective)

    try:
        if job.seeds > 1:
            SeedRuns(one, control, job.seeds).train()
        else:
            one(control.run)
        while control.commands.reenter:
            one(control.start_again())
        control.finish()
        state, why = control.commands.outcome
    except BaseException as raised:  # a user's SystemExit must not take the worker along
        failure = _explained(raised, control.run)
        state, why = "failed", first_line(failure)
        if ran_out(raised):
            why = f"{OUT_OF_GPU_MEMORY}: {why}"
        if (
            control.commands.verdict is not None and control.commands.verdict[0] != "running"
        ):  # it was over before it raised
            state, why = control.commands.verdict[0], f"{control.commands.verdict[1]}; then it raised {why}"
        error = tuple(map(name_of, type(failure).__mro__[:-1]))
        trace = _users_traceback(raised)
        del failure  # it holds this frame and the function's, and with that all that was trained
        _settle(control)
    finally:
        position.saver.let_go()
        position.leave()
    return Ended(
        trial=order.trial,
        segment=control.position.segment,
        state=state,
        why=why,
        step=control.position.done,
        started=started,
        at=channel.now(),
        error=error,
        traceback=trace,
        released=control.commands.released,
    )


def _called(function: TrainingFunction, run: Run, process: int) -> Any:
    """What the function returns to this process; a child that it has forked ends where it leaves the function."""
    try:
        result = function(run)
    except BaseException as raised:
        if os.getpid() != process:
            _leave(raised)
        raise
    if os.getpid() != process:
        _leave(SystemExit(0))
    return result


def _leave(raised: BaseException) -> None:
    """Ends a forked child as Python would, but for what is registered to run at the end of its parent."""
    code: object = 1
    if isinstance(raised, SystemExit):
        code = 0 if raised.code is None else raised.code
    if not isinstance(code, int) or not isinstance(raised, SystemExit):
        print(code if isinstance(raised, SystemExit) else _users_traceback(raised), file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code & 0xFF)


def _take_result(run: Run, result: Any, objective: str) -> None:
    """A function may return its score instead of reporting it; what was only made and never ran is refused."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if not inspect.isasyncgen(result) and hasattr(result, "close"):
            result.close()
        raise TrainingError(
            f"the function returned a {type(result).__name__} that never ran, so nothing was trained. tuner calls a "
            "plain function: run what is asynchronous with asyncio.run(...), and exhaust a generator, inside it."
        )
    if isinstance(result, Mapping):
        run.report(**{name if isinstance(name, str) else repr(name): score for name, score in result.items()})
    elif result is not None and (isinstance(result, int | float) or hasattr(result, "__float__")):
        run.report(**{objective: result})


def _settle(control: TrialControl) -> None:
    """What was being written when the function failed is still a checkpoint."""
    try:
        control.settle()
    except Exception as failure:  # the trial has failed already: how, is what has to be heard
        control.position.warn(
            str(failure)
            if isinstance(failure, TunerError)
            else f"a checkpoint was not written: {format_error(failure)}"
        )


def check_results_are_shared(job: Job) -> None:
    """Reads the small file the coordinator wrote: a results folder that this node does not see is refused."""
    if job.objects is not None:
        _check_store_is_shared(job.objects)
    if job.token_file is None:
        return
    try:
        found = job.token_file.read_text()
    except OSError:
        found = ""
    if found != job.token:
        raise TunerError(
            f"the results folder {job.token_file.parent} is not shared with node {os.uname().nodename}: a file "
            "written by the coordinator cannot be read there. Choose a folder that every node mounts (--results DIR)."
        )


def _check_store_is_shared(objects: ObjectStorage) -> None:
    """Asks the object store for what the coordinator left there: without the keys, or the package, nothing trains."""
    try:
        found = objects.owner()
    except TunerError as error:
        raise TunerError(f"node {os.uname().nodename}: {error}") from error
    if found is None:
        raise TunerError(
            f"node {os.uname().nodename} finds nothing in {objects.url}, where the coordinator has left word: it "
            "reaches another store of that name. Give every node the same environment (AWS_ENDPOINT_URL_S3, …)."
        )


def _explained(failure: BaseException, run: Run) -> BaseException:
    """A KeyError raised where a line reads `params` names the settings there are; a refused signal what to do."""
    if type(failure) is ValueError and str(failure).startswith("signal only works in main thread"):
        return TrainingError(
            "signal.signal works on the main thread alone, and tuner trains on a thread of its own here. Set none in "
            "a sweep (`if threading.current_thread() is threading.main_thread(): …`): tuner saves by itself, "
            "time_limit_s bounds a trial, and on Ray (executor='ray') handlers work."
        )
    name = failure.args[0] if type(failure) is KeyError and failure.args else None
    known = run.params if isinstance(run.params, dict) else {}  # the function may have put anything there
    if type(name) is not str or name in known:
        return failure
    *_, (frame, line) = traceback.walk_tb(failure.__traceback__)
    if "params" not in linecache.getline(frame.f_code.co_filename, line):
        return failure
    return UnknownSetting(f"{name!r} is no setting of this run. {did_you_mean(name, map(str, known))}")


def _users_traceback(failure: BaseException) -> str:
    """The traceback without tuner's own frames at its top; of a program that failed, what it said."""
    if isinstance(failure, CommandFailed):
        return clean(f"{failure}\n", _TRACEBACK)
    frames = failure.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, seeds.__file__):
        frames = frames.tb_next
    frames = frames or failure.__traceback__
    try:
        text = "".join(traceback.format_exception(type(failure), failure, frames))
    except BaseException as another:  # its notes, its cause or its own words may raise when they are read
        where = "".join(traceback.format_tb(frames))
        text = f"{where}{first_line(failure)}\n(it cannot be told in full: {first_line(another)})\n"
    return clean(text, _TRACEBACK)


# What is kept of a traceback, in characters.
_TRACEBACK = 40_000
