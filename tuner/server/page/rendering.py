"""The templates as HTML: what users wrote is escaped, always, and a part of a page can be asked for alone."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import brotli
from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.background import BackgroundTask

from tuner.server.page.status import ago, tone_of
from tuner.values.numbers import count, duration, memory, number, scored, setting
from tuner.values.plain import shown
from tuner.views.pictures.colours import INKS_IN_THE_DARK
from tuner.views.pictures.diagram import prepare
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
    found.globals["inks"] = INKS_IN_THE_DARK
    found.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the order of a space decides what is drawn
    found.filters |= {
        "number": number,
        "scored": scored,
        "setting": setting,
        "duration": duration,
        "memory": memory,
        "day": day,
        "clock": clock,
        "ago": ago,
        "tone": tone_of,
        "count": count,
        "code": _code,
        "path": lambda text: quote(str(text), safe=""),
    }
    return found


_LONGEST_NAME = 100  # characters, of the files that pages need


def html(request: Request, template: str, *, status: int = 200, **told: Any) -> Response:
    """A page, or with ?part=a,b those parts of it alone, each a template of its own in `parts`; a refusal is whole."""
    root = request.scope.get("root_path", "")
    told |= {"root": root, "file": lambda name: f"{root}/files/{name}"}
    told["may_steer"] = getattr(getattr(request.state, "caller", None), "role", "operator") == "operator"
    wanted = request.query_params.get("part", "") if status == 200 else ""
    known = {each.removeprefix("parts/").removesuffix(".html") for each in _parts()}
    names = [name for name in wanted.split(",") if name in known]
    chosen = [f"parts/{name}.html" for name in names] if wanted else [template]
    text = "".join(_templates().get_template(name).render(told) for name in chosen)
    answer = sent(request, Packed.of(shown(text).encode(), "text/html; charset=utf-8"), status=status)
    answer.background = BackgroundTask(_prepare)  # whoever looks at a page looks at pictures next
    return answer


@cache
def _prepare() -> None:
    """What the first picture would wait for: the drawing of it, here and in the browser."""
    asset(_BOKEH)
    prepare()


@cache
def _parts() -> tuple[str, ...]:
    return tuple(each for each in _templates().list_templates() if each.startswith("parts/"))


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A body in few bytes, packed once for all who ask for it."""

    body: bytes
    kind: str
    tag: str
    small: bool
    """Whether it is sent as it is: nothing is gained by packing it."""

    @classmethod
    def of(cls, body: bytes, kind: str, level: int = 5) -> Packed:
        """Packed by Brotli. Level 5 takes the time of gzip's and a tenth fewer bytes, level 9 thrice the time."""
        tag, small = f'"{hashlib.sha256(body).hexdigest()[:20]}"', len(body) <= _SMALL
        return cls(body=body if small else brotli.compress(body, quality=level), kind=kind, tag=tag, small=small)

    def told(self, accepted: str) -> tuple[bytes, dict[str, str]]:
        """The body as somebody takes it, and the header that says how it is packed."""
        taken = {each.partition(";")[0].strip() for each in accepted.split(",")}
        if self.small:
            return self.body, {}
        if "br" in taken:
            return self.body, {"content-encoding": "br"}
        if "gzip" in taken:  # a browser far away without TLS
            return self._by_gzip, {"content-encoding": "gzip"}
        return brotli.decompress(self.body), {}

    @cached_property
    def _by_gzip(self) -> bytes:
        return gzip.compress(brotli.decompress(self.body), 5, mtime=0)


def sent(request: Request, packed: Packed, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as the browser takes it: not sent again where it has the same already."""
    told = {"etag": packed.tag, "cache-control": "private, no-cache", "vary": "accept-encoding", **(headers or {})}
    if request.headers.get("if-none-match") == packed.tag:
        return Response(status_code=304, headers=told)
    body, how = packed.told(request.headers.get("accept-encoding", ""))
    return Response(body, status, {**told, **how}, packed.kind)


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
def asset(name: str) -> Packed | None:
    """A file that pages need: of ours, or of the installed package bokeh."""
    if len(name) > _LONGEST_NAME:
        return None  # the disk would not even look
    folder = (
        files("bokeh").joinpath("server/static/js") if name == _BOKEH else files("tuner.server.page").joinpath("static")
    )
    file = folder.joinpath(name)
    if "/" in name or name.startswith(".") or not file.is_file():
        return None
    return Packed.of(file.read_bytes(), _KINDS.get(name.rpartition(".")[2], "application/octet-stream"), 9)
