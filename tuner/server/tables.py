"""The routes that hand out what a study comes to: its tables as files, and what its search has learned."""

from __future__ import annotations

from typing import Literal, TypeAlias

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from tuner.record.store import Store
from tuner.server import schemas
from tuner.server.problems import Problem, documented
from tuner.server.reading import StudyName
from tuner.server.service import Serving, may_read

router = APIRouter(prefix="/v1/studies", tags=["read"], dependencies=[may_read])

Format: TypeAlias = Literal["csv", "parquet", "jsonl"]
_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet", "jsonl": "application/jsonl"}


@router.get(
    "/{name}/tables/{table}.{format}",
    responses={
        **documented(404, 409, 422),
        200: {"description": "The file.", "content": {each: {} for each in _TYPES.values()}},
    },
    response_class=Response,
    summary="A table as a file",
)
def table(name: StudyName, table: str, format: Format, serving: Serving) -> Response:  # noqa: A002 - the shell's word
    """The same table as `tuner export` writes, sent in pieces: it is never held whole, however long it is."""
    from tuner.tables.columns import COLUMNS  # pandas, which a service needs for nothing else
    from tuner.tables.files import in_pieces
    from tuner.tables.frames import report_chunks

    if table not in COLUMNS:
        raise Problem(404, "not_found", f"there is no table of that name. There are {', '.join(COLUMNS)}.")
    with serving.library.study(name) as found:
        if table == "reports":
            store = Store.open(serving.library.place(name).existing(), idle="closed")
            frames = report_chunks(found.state, store)
        else:
            frames = iter((getattr(found, table),))
        pieces = in_pieces(frames, format)
    headers = {"content-disposition": f'attachment; filename="{table}.{format}"'}
    return StreamingResponse(pieces, media_type=_TYPES[format], headers=headers)


@router.get("/{name}/explanation", responses=documented(404, 409, 422), summary="What the search has learned")
def explanation(name: StudyName, serving: Serving) -> schemas.Explained:
    """The sentences of `tuner explain`."""
    with serving.library.study(name) as found:
        learned, sequence = found.explain(), found.sequence
    sections = [schemas.SectionLine(title=each.title, sentences=list(each.sentences)) for each in learned.sections]
    return schemas.Explained(sections=sections, trials=learned.trials, sequence=sequence)
