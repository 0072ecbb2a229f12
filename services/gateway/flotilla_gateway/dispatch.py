"""Finds the route of a request: by the path's first word, then in that group's order.

FastAPI tries all routes of all routers one after the other and wraps each request in layers that
nothing here needs; with a hundred routes that is the larger part of a short request's cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send


class GroupDispatcher:
    """The application's routes, grouped."""

    def __init__(self, app: FastAPI, routers: Sequence[APIRouter]) -> None:
        """Group the routes of all routers, earlier ones first.

        Args:
            app: Has the state and the exception handlers.
            routers: Their routes; those whose first word is a parameter belong to every group.
        """
        self._app = app
        routes = [route for router in routers for route in router.routes]
        words = {_first_word(getattr(route, "path", "")) for route in routes}
        self._groups = {
            word: _stack(app, [route for route in routes if _belongs(route, word)])
            for word in words
        }
        self._rest = _stack(app, [route for route in routes if _belongs(route, "")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["app"] = self._app
        stack = self._groups.get(_first_word(scope["path"]), self._rest)
        await stack(scope, receive, send)


def _first_word(path: str) -> str:
    return path[1:].partition("/")[0]


def _belongs(route: BaseRoute, word: str) -> bool:
    own = _first_word(getattr(route, "path", ""))
    return own.startswith("{") or own == word


def _stack(app: FastAPI, routes: Sequence[BaseRoute]) -> ASGIApp:
    router = Router(routes=routes, redirect_slashes=False)
    return ExceptionMiddleware(AsyncExitStackMiddleware(router), handlers=app.exception_handlers)
