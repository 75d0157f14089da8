"""The page over HTTP: access, headers, and the calls of the reader in its own process."""

import hashlib
import hmac
import json
import pickle
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any, Protocol

import anyio
import anyio.to_process
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from orchestrator import __version__
from orchestrator.report.html.elements import e
from orchestrator.service.page.access import (
    Session,
    Sessions,
    Throttle,
    Token,
    TokenFile,
    Visitor,
    find_token,
    is_from_here,
    is_own_form,
)
from orchestrator.service.page.feed import Feeds
from orchestrator.service.page.forms import FormError, is_local_path, read_form
from orchestrator.service.page.frame import build_field, build_form, build_page
from orchestrator.service.page.openapi import build_openapi
from orchestrator.service.page.values import NOTICES, Answer, Done, Frame, ServiceFacts, Update
from orchestrator.service.page.worker import call_reader
from orchestrator.service.protocols import EventSink
from orchestrator.settings.load import Settings

COOKIE = "orchestrator_session"
_RUN_EVERY, _OVERVIEW_EVERY = 0.05, 2.0
_STORE_EVERY = 1.0
"""Least seconds between two reads of a run in a team store."""
_LOGINS, _LOGIN_PAUSE = 5, 10.0
_ACTIONS, _ACTION_PAUSE = 20, 3.0
"""Attempts at once, and the seconds until a further attempt: logins of an address, and actions of a person."""
_ON_RUNS = frozenset({"approve", "refuse", "cancel"})
_VERSION = re.compile(r"[0-9]{1,18}")
_MOVED = 303
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NO_METHOD, _TOO_MANY, _FAULT = 401, 403, 404, 405, 429, 500
_HTML, _JSON = "text/html; charset=utf-8", "application/json"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of every page."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class PageHost:
    """The service around the page.

    Attributes:
        settings: the settings.
        listens_here: whether the service listens on a loopback address.
        read_facts: returns the facts of this process.
        emit: receives events for the log.
        cancel_run: cancels a run of this process, by its id and the name of the person; False for another run.
    """

    settings: Settings
    listens_here: bool
    read_facts: Callable[[], ServiceFacts]
    emit: EventSink
    cancel_run: Callable[[str, str], bool] = lambda _run_id, _by: False


class Read(Protocol):
    """Calls a method of the reader."""

    async def __call__(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - of the method
        """Return the result of the method."""
        ...


class ReaderProcess:
    """Calls the reader in a process of its own, as `Read`. The process starts at the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = pickle.dumps(settings)
        self._limiters: dict[bool, anyio.CapacityLimiter] = {}

    async def __call__(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - of the method
        """Return the result of the method; an action, which may wait for a run, has a second process."""
        is_action = method == "actions.do"
        if is_action not in self._limiters:
            self._limiters[is_action] = anyio.CapacityLimiter(1)
        return await anyio.to_process.run_sync(
            call_reader, self._settings, method, *arguments, cancellable=True, limiter=self._limiters[is_action]
        )


Handle = Callable[[Request, Visitor], Awaitable[Response]]


class Page:
    """The page as an ASGI application.

    Attributes:
        app: the application.
    """

    def __init__(self, host: PageHost, read: Read | None = None) -> None:
        """Set up.

        Args:
            host: the service.
            read: calls a method of the reader; by default in a process of its own.
        """
        self._host = host
        self._read = read or ReaderProcess(host.settings)
        self._tokens = TokenFile(host.settings.service.token_file)
        self._told_trouble: str | None = None
        self._sessions = Sessions(host.settings.service.session)
        self._logins, self._actions = Throttle(_LOGINS, _LOGIN_PAUSE), Throttle(_ACTIONS, _ACTION_PAUSE)
        self._feeds = Feeds()
        allow = self._allow_readers
        self.app = Starlette(
            routes=[
                Route("/", allow(self._serve_overview)),
                Route("/runs", allow(self._serve_runs)),
                Route("/runs/{run_id}", allow(self._serve_run)),
                Route("/api/overview", allow(self._serve_overview_document)),
                Route("/api/events", allow(self._serve_overview_events)),
                Route("/api/runs", allow(self._serve_runs_document)),
                Route("/api/runs/{run_id}", allow(self._serve_run_document)),
                Route("/api/runs/{run_id}/events", allow(self._serve_run_events)),
                Route("/api/openapi.json", allow(self._serve_openapi)),
                Route("/runs/{run_id}/{action:str}", allow(self._ask)),
                Route("/runs/{run_id}/{action:str}", self._act, methods=["POST"]),
                *(Route(f"/{action}", allow(self._ask)) for action in ("snooze", "keep")),
                *(Route(f"/{action}", self._act, methods=["POST"]) for action in ("snooze", "keep")),
                Route("/login", self._serve_login),
                Route("/login", self._log_in, methods=["POST"]),
                Route("/logout", self._log_out, methods=["POST"]),
                Route("/page.css", partial(_serve_file, "page.css", "text/css")),
                Route("/page.js", partial(_serve_file, "page.js", "text/javascript")),
                Route("/icon.svg", partial(_serve_file, "icon.svg", "image/svg+xml")),
            ],
            exception_handlers={
                _NOT_FOUND: self._serve_nothing,
                _NO_METHOD: _refuse_method,
                Exception: self._serve_fault,
            },
        )

    def close(self) -> None:
        """End the connections of all viewers."""
        self._feeds.close()

    def may_read(self, request: Request) -> bool:
        """Check the access of a request."""
        return self._find_visitor(request).may_read

    # Access

    def _find_visitor(self, request: Request) -> Visitor:
        tokens = self._read_tokens()
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme:
            token = find_token(tokens, given.strip()) if scheme.lower() == "bearer" else None
            return Visitor(token, may_read=token is not None)
        session = self._sessions.find(request.cookies.get(COOKIE, ""), tokens, anyio.current_time())
        if session is not None:
            return Visitor(session.token, session, may_read=True)
        client = None if request.client is None else request.client.host
        return Visitor(may_read=is_from_here(self._host.listens_here, client, request.headers))

    def _read_tokens(self) -> tuple[Token, ...]:
        """Return the tokens; a new problem of their file goes to the log once, not with every request."""
        tokens, trouble = self._tokens.read(), self._tokens.trouble
        if trouble is not None and trouble != self._told_trouble:
            self._host.emit("page.trouble", reason=trouble)
        self._told_trouble = trouble
        return tokens

    def _allow_readers(self, handle: Handle) -> Callable[[Request], Awaitable[Response]]:
        """Let only visitors with access through."""

        async def serve(request: Request) -> Response:
            """Serve a visitor with access."""
            visitor = self._find_visitor(request)
            if not visitor.may_read:
                return self._refuse(request)
            return await handle(request, visitor)

        return serve

    def _refuse(self, request: Request) -> Response:
        if request.url.path.startswith("/api/"):
            document = {"error": {"message": "a token is required", "hint": "send Authorization: Bearer TOKEN"}}
            headers = {"WWW-Authenticate": "Bearer"}
            return _respond(Answer(json.dumps(document).encode(), _UNAUTHORIZED), _JSON, headers)
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return self._show_login(path, None, _UNAUTHORIZED)

    def _make_frame(self, visitor: Visitor, request: Request | None = None) -> Frame:
        token, session = visitor.token, visitor.session
        return Frame(
            visitor=None if token is None else token.name,
            role=None if token is None else token.role.value,
            form_key=None if session is None else session.form_key,
            has_tokens=self._tokens.path is not None,
            notice=None if request is None else NOTICES.get(request.query_params.get("done", "")),
            version=__version__,
        )

    def _show_login(self, path: str, fault: str | None, status: int) -> Response:
        main = [e("h1", "Log in"), None if fault is None else e("p", fault, cls="banner bad", role="alert")]
        if self._tokens.path is None:
            hint = "Set `service.token_file` in the settings, and restart the service."
            main += [e("p", "From another machine, the page needs a token, and this service has none."), e("p", hint)]
        else:
            field = build_field("Token", "token", type="password", autocomplete="current-password", required="")
            hidden = e("input", type="hidden", name="next", value=path)
            main.append(build_form("/login", None, field, hidden, e("button", "Log in", cls="strong")))
        if self._tokens.trouble is not None:
            main.append(e("p", "The file of tokens can't be used; see the log of the service.", cls="banner bad"))
        return _respond(Answer(build_page("Log in", main, self._make_frame(Visitor())), status), _HTML)

    async def _serve_login(self, request: Request) -> Response:
        path = request.query_params.get("next", "/")
        self._read_tokens()
        return self._show_login(path if is_local_path(path) else "/", None, 200)

    async def _log_in(self, request: Request) -> Response:
        if not is_own_form(request.headers):
            return self._show_login("/", "The form is not from this page. Load the page again.", _FORBIDDEN)
        try:
            form = await read_form(request)
        except FormError as error:
            return self._show_login("/", str(error), error.status)
        path = form.get("next", "/")
        path = path if is_local_path(path) else "/"
        client, now = _find_client(request), anyio.current_time()
        wait = self._logins.seconds_to_wait(client, now)
        if wait:
            return self._show_login(path, f"Too many attempts. Wait {wait:.0f} seconds.", _TOO_MANY)
        token = find_token(self._read_tokens(), form.get("token", "").strip())
        if token is None:
            self._logins.count(client, now)
            self._host.emit("page.login_refused", client=client)
            return self._show_login(path, "This is not a token of the service.", _UNAUTHORIZED)
        session = self._sessions.start(token, now)
        self._host.emit("page.login", who=token.name, role=token.role.value, client=client)
        return self._set_cookie(request, RedirectResponse(path, _MOVED, HEADERS), session)

    def _set_cookie(self, request: Request, response: Response, session: Session) -> Response:
        response.set_cookie(
            COOKIE,
            session.session_id,
            max_age=int(self._sessions.seconds),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def _log_out(self, request: Request) -> Response:
        response = RedirectResponse("/", _MOVED, HEADERS)
        session = self._find_visitor(request).session
        if session is not None and is_own_form(request.headers):
            try:
                form = await read_form(request)
            except FormError as error:
                return self._show_login("/", str(error), error.status)
            if form.get("form_key") == session.form_key:
                self._sessions.end(session.session_id)
                response.delete_cookie(COOKIE)
        return response

    # Actions

    async def _ask(self, request: Request, visitor: Visitor) -> Response:
        action, run_id = _find_action(request)
        if action is None:
            return await self._serve_nothing(request)
        fields = {**dict(request.query_params), "run_id": run_id}
        facts = self._host.read_facts()
        return _respond(await self._read("actions.ask", action, fields, self._make_frame(visitor), facts), _HTML)

    async def _act(self, request: Request) -> Response:
        """Carry out an action of an operator; the form must be from the session's own page."""
        visitor = self._find_visitor(request)
        action, run_id = _find_action(request)
        session = visitor.session
        if session is None or not visitor.may_act or not is_own_form(request.headers):
            self._host.emit("page.refused", action=action, client=_find_client(request))
            return self._show_login("/", "Only an operator who is logged in can do this.", _FORBIDDEN)
        try:
            form = await read_form(request)
        except FormError as error:
            return self._show_login("/", str(error), error.status)
        if not hmac.compare_digest(form.get("form_key", "").encode(), session.form_key.encode()):
            self._host.emit("page.refused", action=action, client=_find_client(request), who=session.token.name)
            return self._show_login(
                "/", "The form is not from this session. Go back, and load its page again.", _FORBIDDEN
            )
        if action is None:
            return await self._serve_nothing(request)
        who, now = session.token.name, anyio.current_time()
        if self._actions.seconds_to_wait(who, now):
            return self._show_login("/", "Too many actions. Wait a minute.", _TOO_MANY)
        self._actions.count(who, now)
        return await self._carry_out(action, {**form, "run_id": run_id}, visitor, who)

    async def _carry_out(self, action: str, form: dict[str, str], visitor: Visitor, who: str) -> Response:
        facts, by = self._host.read_facts(), f"{who} (page)"
        if action == "cancel" and self._host.cancel_run(form["run_id"], by):
            done = Done(f"/runs/{form['run_id']}", "cancelled")
        else:
            done = await self._read("actions.do", action, form, by, facts)
        about = {key: form[key] for key in ("run_id", "playbook", "cvm", "until") if form.get(key)}
        if done.fault is not None:
            self._host.emit("page.action_refused", action=action, who=who, reason=done.fault, **about)
            frame = self._make_frame(visitor)
            return _respond(await self._read("actions.ask", action, form, frame, facts, done.fault), _HTML)
        self._host.emit("page.action", action=action, who=who, **about)
        return RedirectResponse(f"{done.path}?done={done.notice}", _MOVED, HEADERS)

    # Pages and documents

    async def _serve_overview(self, request: Request, visitor: Visitor) -> Response:
        frame = self._make_frame(visitor, request)
        return _respond(await self._read("overview_page", self._host.read_facts(), frame), _HTML)

    async def _serve_overview_document(self, request: Request, visitor: Visitor) -> Response:
        del request, visitor
        return _respond(await self._read("overview_document", self._host.read_facts()), _JSON)

    async def _serve_overview_events(self, request: Request, visitor: Visitor) -> Response:
        async def read(after: int) -> Update:
            """Read the parts of the overview."""
            del after
            update: Update = await self._read("overview_parts", self._host.read_facts())
            return update

        return _stream(self._follow(request, visitor, self._feeds.follow("/", read, 0, _OVERVIEW_EVERY)))

    async def _serve_runs(self, request: Request, visitor: Visitor) -> Response:
        return _respond(await self._read("runs_page", dict(request.query_params), self._make_frame(visitor)), _HTML)

    async def _serve_runs_document(self, request: Request, visitor: Visitor) -> Response:
        del visitor
        return _respond(await self._read("runs_document", dict(request.query_params)), _JSON)

    async def _serve_run(self, request: Request, visitor: Visitor) -> Response:
        frame, can_cancel = self._make_frame(visitor, request), self._host.read_facts().can_cancel
        return _respond(await self._read("run_page", request.path_params["run_id"], frame, can_cancel), _HTML)

    async def _serve_run_document(self, request: Request, visitor: Visitor) -> Response:
        del visitor
        return _respond(await self._read("run_document", request.path_params["run_id"]), _JSON)

    async def _serve_run_events(self, request: Request, visitor: Visitor) -> Response:
        run_id = request.path_params["run_id"]
        given = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        version = int(given) if _VERSION.fullmatch(given) else 0
        every = _RUN_EVERY if self._host.settings.store.url is None else _STORE_EVERY

        async def read(after: int) -> Update:
            """Read the changes of the run."""
            update: Update = await self._read("follow_run", run_id, after)
            return update

        return _stream(self._follow(request, visitor, self._feeds.follow(run_id, read, version, every)))

    async def _follow(self, request: Request, visitor: Visitor, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield messages while the visitor has access: a session may end."""
        async for message in messages:
            if visitor.token is not None and not self._find_visitor(request).may_read:
                return
            yield message

    async def _serve_openapi(self, request: Request, visitor: Visitor) -> Response:
        del request, visitor
        return _respond(Answer(json.dumps(build_openapi(), indent=2).encode()), _JSON)

    async def _serve_nothing(self, request: Request, error: Exception | None = None) -> Response:
        del error
        visitor = self._find_visitor(request)
        if not visitor.may_read:
            return self._refuse(request)
        if request.url.path.startswith("/api/"):
            document = {"error": {"message": "there is no such address", "hint": "see /api/openapi.json"}}
            return _respond(Answer(json.dumps(document).encode(), _NOT_FOUND), _JSON)
        main = [e("h1", "There is no such page"), e("p", e("a", "To the overview", href="/"))]
        return _respond(Answer(build_page("Not found", main, self._make_frame(visitor)), _NOT_FOUND), _HTML)

    async def _serve_fault(self, request: Request, error: Exception) -> Response:
        """Answer after an error of the page, and log the error."""
        self._host.emit("page.error", path=request.url.path, error=f"{type(error).__name__}: {error}")
        message, hint = "the page can't be made", "see page.error in the log of the service"
        if request.url.path.startswith("/api/"):
            document = {"error": {"message": message, "hint": hint}}
            return _respond(Answer(json.dumps(document).encode(), _FAULT), _JSON)
        main = [e("h1", "The page can't be shown"), e("p", f"{message}: {hint}", cls="banner bad")]
        return _respond(Answer(build_page("Error", main, self._make_frame(Visitor())), _FAULT), _HTML)


async def _refuse_method(request: Request, error: Exception) -> Response:
    headers = dict(getattr(error, "headers", None) or {})
    allowed = ", ".join(sorted(headers.get("Allow", "GET").split(", ")))  # Starlette gives a set, in any order
    message, hint = "the address has no such method", f"use {allowed}"
    if request.url.path.startswith("/api/"):
        document = {"error": {"message": message, "hint": hint}}
        return _respond(Answer(json.dumps(document).encode(), _NO_METHOD), _JSON, headers)
    return _respond(Answer(f"{message}: {hint}\n".encode(), _NO_METHOD), "text/plain", headers)


def _find_action(request: Request) -> tuple[str | None, str]:
    """Return the action of an address, and its run; None for another address."""
    run_id = request.path_params.get("run_id")
    if run_id is None:
        return request.url.path.removeprefix("/"), ""
    action = request.path_params["action"]
    return (action if action in _ON_RUNS else None), run_id


def _find_client(request: Request) -> str:
    return "-" if request.client is None else request.client.host


def _respond(answer: Answer, media_type: str, more: dict[str, str] | None = None) -> Response:
    return Response(answer.body, answer.status, HEADERS | (more or {}), media_type)


def _stream(messages: AsyncIterator[bytes]) -> Response:
    # A proxy that collects the answer would hold the changes back.
    return StreamingResponse(messages, headers=HEADERS | {"X-Accel-Buffering": "no"}, media_type="text/event-stream")


@cache
def _read_file(name: str) -> bytes:
    data = files(__package__).joinpath(name).read_bytes()
    if name == "page.css":
        return files("orchestrator.report.html").joinpath("page.css").read_bytes() + data
    return data


async def _serve_file(name: str, media_type: str, request: Request) -> Response:
    data = _read_file(name)
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = HEADERS | {"Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    return Response(data, 200, headers, media_type)
