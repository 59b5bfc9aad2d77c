"""The route that hands out a record as it was written, for programs that hold a study as those at its folder do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tuner.record.store import Store
from tuner.record.wire import page_of
from tuner.server.problems import documented
from tuner.server.reading import LARGEST_PAGE, StudyName
from tuner.server.service import Serving, may_read

router = APIRouter(prefix="/v1/studies", tags=["read"], dependencies=[may_read])
_FARTHEST = 2**53


class RecordPage(BaseModel):
    """Some records, in the order written."""

    records: list[dict[str, Any]] = Field(
        description="Each with its `sequence`, its `table`, and its `row`: the fields of the record in their order. "
        "Bytes are base64, numbers that are not finite are texts, and what the record keeps as JSON is its text."
    )
    next: int | None = Field(description="What `after` is for the next page; null: there is none.")
    last: int = Field(description="The place of the newest record there is.")


@router.get("/{name}/records", responses=documented(404, 409, 422), summary="The record as it was written")
def records(
    name: StudyName,
    serving: Serving,
    tables: Annotated[
        str, Query(max_length=1000, description="Tables, separated by commas; `requests` alone. Empty: no records.")
    ] = "",
    after: Annotated[int, Query(ge=0, le=_FARTHEST, description="Those beyond this place.")] = 0,
    until: Annotated[int | None, Query(ge=0, le=_FARTHEST, description="And up to this one.")] = None,
    trial: Annotated[int | None, Query(ge=0, le=_FARTHEST, description="Those of this trial alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many at most.")] = LARGEST_PAGE,
) -> RecordPage:
    """Records of some tables, in the order written; who follows asks on from `next`, and later from where it was."""
    with Store.open(serving.library.place(name).existing()) as store:
        return RecordPage(**page_of(store, tables, after, limit, until=until, trial=trial))
