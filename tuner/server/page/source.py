"""The source that pages are made from: whatever holds studies open, and knows what may be launched."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

from fastapi import Depends, Request

from tuner.api.study import Study


class StudySource(Protocol):
    """Studies by name, each for one reader at a time."""

    def study(self, name: str, /) -> AbstractContextManager[Study]:
        """The study as it is now; raises `StudyNotFound` and its kin."""


class PageSource(Protocol):
    """What a service has to have for its pages."""

    @property
    def results(self) -> Path:
        """The folder of the studies."""

    @property
    def store(self) -> str | None:
        """The team's database that has the studies; None: the folder has them."""

    @property
    def projects(self) -> Path | None:
        """The folder that training functions may be launched from; None: nothing is launched."""

    @property
    def library(self) -> StudySource:
        """The studies themselves."""


def _source(request: Request) -> PageSource:
    found: PageSource = request.app.state.service
    return found


FromSource: TypeAlias = Annotated[PageSource, Depends(_source)]
