"""Serves a read-only web page over all runs: `python -m lineage serve`."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import jinja2
import plotly.offline
from aiohttp import web

from base.shared_names import RUN_LOG, RUN_SUMMARY
from lineage.dashboard.overview import as_json, metric_columns, shown_runs
from lineage.report.facts import gather
from lineage.report.page import render
from lineage.served import count_names, served
from lineage.templates import environment
from metadata.reader import MetadataError, MetadataReader

_HERE = Path(__file__).parent
_RUNS = 1000  # newest runs that the page's script loads
_REPORTS = 8  # cached pages, five megabytes each
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_T = TypeVar("_T")


class Dashboard:
    """Answers requests from one store.

    Args:
      store: Store open for reading; one request at a time uses it.
      summaries: Folder of <run_id>/run_summary.json files; None: unknown.
      streaming: The config's `streaming.folder`, for waiting spans; None without streaming.
      hosts: Host names that requests may use besides those of loopback. Requests for other names
        are refused, which stops DNS rebinding.
    """

    def __init__(
        self,
        store: MetadataReader,
        summaries: Path | None,
        streaming: Path | None = None,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self._store, self._summaries, self._streaming = store, summaries, streaming
        self._hosts = {*_LOOPBACK, *hosts}
        self._asking = threading.Lock()
        self._report = functools.lru_cache(_REPORTS)(self._made_report)

    def application(self) -> web.Application:
        made = web.Application(middlewares=[self._guard])
        made.add_routes(
            [
                web.get("/", self._page),
                web.get("/runs/{run_id}", self._run),
                web.get("/api/overview", self._overview),
                web.get("/static/{name}", self._static),
            ]
        )
        return made

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Rejects requests for other hosts, and answers errors with readable text."""
        if _host_of(request.host) not in self._hosts:
            raise web.HTTPForbidden(text=f"this server is not {request.host}\n")
        try:
            response = await handler(request)
        except MetadataError as error:
            status = 404 if request.match_info.get("run_id") else 503
            return web.Response(text=f"{error}\n", status=status)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    async def _page(self, _: web.Request) -> web.Response:
        text = await self._ask(self._made_page)
        return web.Response(text=text, content_type="text/html")

    async def _run(self, request: web.Request) -> web.Response:
        run_id = request.match_info["run_id"]
        text = await self._ask(lambda: self._newest_report(run_id))
        return web.Response(text=text, content_type="text/html")

    async def _overview(self, _: web.Request) -> web.Response:
        make = functools.partial(as_json, self._store, self._summaries, self._streaming, _RUNS)
        return web.Response(text=await self._ask(make), content_type="application/json")

    async def _static(self, request: web.Request) -> web.Response:
        """Serves a script; its ETag changes only with the version of the server."""
        scripts = {"plotly.js": plotly.offline.get_plotlyjs, "dashboard.js": _script}
        make = scripts.get(request.match_info["name"])
        if make is None:
            raise web.HTTPNotFound
        text = make()
        response = web.Response(text=text, content_type="text/javascript")
        response.etag = hashlib.sha256(text.encode()).hexdigest()
        response.headers["Cache-Control"] = "no-cache"
        return web.Response(status=304) if _is_known(request, response) else response

    async def _ask(self, question: Callable[[], _T]) -> _T:
        """Asks the store in a thread, one question at a time: its client is not thread-safe."""

        def locked() -> _T:
            with self._asking:
                return question()

        return await asyncio.get_running_loop().run_in_executor(None, locked)

    def _made_page(self) -> str:
        models, runs = served(self._store), shown_runs(self._store, self._summaries)
        return (
            _environment()
            .get_template("page.html.j2")
            .render(
                store=self._store.name,
                runs=runs,
                columns=metric_columns(runs),
                served=models,
                counts=count_names(models),
                style=(_HERE.parent / "report" / "page.css").read_text("utf-8"),
            )
        )

    def _newest_report(self, run_id: str) -> str:
        """Returns a run's report, from the cache if the run has not changed."""
        run = self._store.run(run_id)
        folder = self._summaries / run.run_id if self._summaries else None
        changed = [_changed(folder / name) for name in (RUN_SUMMARY, RUN_LOG)] if folder else []
        return self._report(run.run_id, run.state, run.seconds, *changed)

    def _made_report(self, run_id: str, *_: object) -> str:
        """Renders a report; the other arguments are only part of the cache key."""
        return render(gather(self._store, run_id, self._summaries))


def serve(dashboard: Dashboard, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answers requests until SIGINT (Ctrl-C) or SIGTERM.

    Args:
      dashboard: Dashboard to serve.
      host, port: Address to listen on; port 0 is any free port.
      ready: Function that is called with the address once the server answers.

    Raises:
      MetadataError: The port is taken, or the host is not one of this machine.
    """
    asyncio.run(_serve(dashboard, host, port, ready))


async def _serve(dashboard: Dashboard, host: str, port: int, ready: Callable[[str], None]) -> None:
    # Python's default handler could raise KeyboardInterrupt anywhere, where it may be lost.
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(dashboard.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise MetadataError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host "
                "or --port"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{runner.addresses[0][1]}/")
        await ended.wait()
    finally:
        await runner.cleanup()


@functools.cache
def _environment() -> jinja2.Environment:
    return environment(_HERE, {"metric": lambda number: "-" if number is None else f"{number:.4f}"})


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _script() -> str:
    return (_HERE / "dashboard.js").read_text("utf-8")


def _host_of(header: str) -> str:
    """Returns the host name of a Host header, without the port."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).strip("[]")


def _is_known(request: web.Request, response: web.Response) -> bool:
    tags = request.if_none_match or ()
    return response.etag is not None and response.etag.value in {tag.value for tag in tags}
