"""The login: a code from the printed link, or a token, becomes a cookie; the token itself is in no URL."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from tuner.server.entrance import LOGIN, page
from tuner.server.service import Serving
from tuner.server.tokens import COOKIE_S, Token, now

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
def enter(request: Request, serving: Serving, code: str = "") -> HTMLResponse:
    """Redeems the code of a link."""
    if not code:
        return HTMLResponse(
            page("Enter a token, or open the link that `tuner serve --list` prints.", serving.root_path)
        )
    token = serving.tokens.redeemed(code, now())
    if token is None and (been := serving.tokens.carried(request.cookies.get(serving.door.cookie, ""), now())):
        return _in(been, serving)  # as by the tab that a browser opens again
    return _entered(request, serving, token, _USED)


@router.post(LOGIN)
def enter_token(request: Request, serving: Serving, token: Annotated[str, Form(max_length=1000)] = "") -> HTMLResponse:
    """Takes a token in place of a code."""
    return _entered(request, serving, serving.tokens.presented(token), "no such token.")


_USED = "this link has been used, or is too old: it works once, for ten minutes. `tuner serve --list` prints another."


def _entered(request: Request, serving: Serving, token: Token | None, otherwise: str) -> HTMLResponse:
    if token is None:
        return HTMLResponse(page(otherwise, serving.root_path), status_code=401)
    # not a redirect: a strict cookie would stay behind where the link was opened from another site's page
    answer = _in(token, serving)
    answer.set_cookie(
        serving.door.cookie,
        serving.tokens.cookie(token.name, now()),
        max_age=COOKIE_S,
        path=serving.root_path or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


def _in(token: Token, serving: Serving) -> HTMLResponse:
    return HTMLResponse(page(f"You are in, as {token.role}.", serving.root_path, goes_on=True))
