"""The templates as HTML: what users wrote is escaped, always, and a part of a page can be asked for alone."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from tuner.numbers import count, duration, memory, number, setting
from tuner.server.page.words import ago
from tuner.views.text import clock, day

_SMALL = 1_000  # bytes, below which nothing is gained by packing them


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("tuner.server.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {
        "number": number,
        "setting": setting,
        "duration": duration,
        "memory": memory,
        "day": day,
        "clock": clock,
        "ago": ago,
        "count": count,
        "code": _code,
        "path": lambda text: quote(str(text), safe=""),
    }
    return found


def html(request: Request, template: str, *, status: int = 200, **told: Any) -> Response:
    """A page, or with ?part=a,b those parts of it alone: each a template of its own in `parts`."""
    root = request.scope.get("root_path", "")
    told |= {"root": root, "file": lambda name: f"{root}/files/{name}"}
    told["may_steer"] = getattr(getattr(request.state, "caller", None), "role", "operator") == "operator"
    wanted = request.query_params.get("part", "")
    known = {each.removeprefix("parts/").removesuffix(".html") for each in _parts()}
    names = [name for name in wanted.split(",") if name in known]
    chosen = [f"parts/{name}.html" for name in names] if wanted else [template]
    text = "".join(_templates().get_template(name).render(told) for name in chosen)
    return packed(request, text.encode(), "text/html; charset=utf-8", status=status)


@cache
def _parts() -> tuple[str, ...]:
    return tuple(each for each in _templates().list_templates() if each.startswith("parts/"))


def packed(request: Request, body: bytes, kind: str, *, status: int = 200) -> Response:
    """A body as the browser takes it: not sent again where it has the same already, and in few bytes."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if len(body) > _SMALL and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["content-encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
    return Response(body, status, headers, kind)


def _code(text: str) -> Markup:
    """A line of Markdown: what stands between backticks as code, and what was escaped as it was."""
    parts = text.replace("\\`", "\0").split("`")
    told = [Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)]
    joined = Markup("").join(told)
    for sign in "\\*[]<>|_":
        joined = Markup(str(joined).replace(f"\\{escape(sign)}", str(escape(sign))))
    return Markup(str(joined).replace("\0", "`").replace("**", ""))


_KINDS = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_BOKEH = "bokeh.min.js"


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """A file that pages need, with its kind: of ours, or of the installed package bokeh."""
    folder = (
        files("bokeh").joinpath("server/static/js") if name == _BOKEH else files("tuner.server.page").joinpath("static")
    )
    file = folder.joinpath(name)
    if "/" in name or name.startswith(".") or not file.is_file():
        return None
    return file.read_bytes(), _KINDS.get(name.rpartition(".")[2], "application/octet-stream")
