"""HTTP application of the KServe v2 protocol (Open Inference Protocol).

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gasmcast import __version__
from gasmcast.errors import GasmcastError, UsageError
from gasmcast.runtime.sinks.exposition import CONTENT_TYPE
from gasmcast.serving.admission import Admission
from gasmcast.serving.sequence_model import BusyError
from gasmcast.serving.serve_metrics import ServeMetrics
from gasmcast.serving.v2_tensors import decode_request, encode_response
from gasmcast.terminal_text import printable

if TYPE_CHECKING:
    from gasmcast.serving.served_engines import ServedEngines
    from gasmcast.serving.served_models import ServedModel

__all__ = ["ServeApp"]

_HEADER = "Inference-Header-Content-Length"
_JSON_ROOM = 1 << 20
"""Bytes that a body may have beside its tensors."""
_READ_S = 60.0
"""Seconds in which a body must arrive."""
_SWEEP_S = 5.0
_RETRY_AFTER_S = 1


class ServeApp:
    """Models behind HTTP.

    Args:
        models: models by name.
        engines: engines by bundle, for the metrics; closed when the server ends.
        admission: limits of requests and bytes.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        engines: Mapping[str, ServedEngines],
        admission: Admission,
    ) -> None:
        self.draining = False
        """Set when the server is about to end: it is no longer ready, and answers what it has."""
        self._models, self._engines, self._admission = models, engines, admission
        self._metrics = ServeMetrics()

        # Clients may name a version; there is only one.
        model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        routes = [
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            Route("/metrics", self._page),
        ]
        for prefix in (model, version):
            routes += [
                Route(prefix, self._model),
                Route(f"{prefix}/ready", self._model_ready),
                Route(f"{prefix}/infer", self._infer, methods=["POST"]),
            ]
        self.asgi = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _http_error, Exception: _unexpected},
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            for engines in self._engines.values():
                await asyncio.to_thread(engines.close)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for model in self._models.values():
                model.sweep()

    async def _server(self, _: Request) -> Response:
        extensions = ["binary_tensor_data", "sequence"]
        return JSONResponse({"name": "gasmcast", "version": __version__, "extensions": extensions})

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _: Request) -> Response:
        return JSONResponse({"ready": not self.draining}, 503 if self.draining else 200)

    async def _page(self, _: Request) -> Response:
        page = self._metrics.page(self._models, self._engines, self._admission)
        return PlainTextResponse(page, media_type=CONTENT_TYPE)

    async def _model(self, request: Request) -> Response:
        model = self._find(request)
        return JSONResponse(
            {
                "name": model.name,
                "versions": ["1"],
                "platform": "gasmcast",
                "inputs": [port.to_json() for port in model.inputs.values()],
                "outputs": [port.to_json() for port in model.outputs.values()],
                "parameters": model.about,
            }
        )

    async def _model_ready(self, request: Request) -> Response:
        name = self._find(request).name
        return JSONResponse(
            {"name": name, "ready": not self.draining}, 503 if self.draining else 200
        )

    async def _infer(self, request: Request) -> Response:
        """Answer an infer request, and count it with its status."""
        started = time.monotonic()
        model = self._find(request)
        try:
            response = await self._answer(request, model)
        except ClientDisconnect:
            # Nobody reads this answer; the status is that of nginx.
            response = Response(status_code=499)
        except BusyError as error:
            response = _error(503, str(error), {"Retry-After": str(_RETRY_AFTER_S)})
        except UsageError as error:
            response = _error(400, str(error))
        except GasmcastError as error:
            response = _error(500, str(error))
        except HTTPException as error:
            response = _error(error.status_code, error.detail, error.headers)
        self._metrics.count(model.name, response.status_code, time.monotonic() - started)
        return response

    async def _answer(self, request: Request, model: ServedModel) -> Response:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "Compressed requests are not supported.")

        limit = model.largest_input + _JSON_ROOM
        size = _size(request, limit)
        try:
            with self._admission.entered(size):
                body = await _read(request, limit)
                header = _header_length(request)
                # A body of JSON numbers takes seconds to parse, and others must not wait for it.
                decoded = await asyncio.to_thread(decode_request, body, header, model.inputs)
                del body
                outputs = await model.infer(decoded)
                content, json_length = encode_response(model.name, decoded, outputs, model.outputs)
        except BusyError:
            # A client that is still sending would not see the answer: its body is thrown away.
            await _read(request, limit, keep=False)
            raise

        headers = {}
        media_type = "application/json"
        if json_length is not None:
            headers[_HEADER] = str(json_length)
            media_type = "application/octet-stream"
        return Response(content, headers=headers, media_type=media_type)

    def _find(self, request: Request) -> ServedModel:
        name = request.path_params["model"]
        if name not in self._models:
            known = ", ".join(self._models)
            raise HTTPException(404, f"There is no model {printable(name)[:80]}; there is {known}.")
        if request.path_params.get("version", "1") != "1":
            raise HTTPException(404, "There is only version 1.")
        return self._models[name]


def _size(request: Request, limit: int) -> int:
    """Return how many bytes to reserve for a body: its length, or the most that is accepted."""
    text = request.headers.get("content-length", "")
    if not text:
        return limit
    # The HTTP parser has checked that it is a number.
    if int(text) > limit:
        raise HTTPException(
            413,
            f"The body has {int(text)} bytes, this model takes at most {limit}.",
            {"Connection": "close"},
        )
    return int(text)


async def _read(request: Request, limit: int, *, keep: bool = True) -> bytes:
    """Read a body of at most `limit` bytes; without `keep` it is thrown away.

    Raises:
        HTTPException: the body is larger, or did not arrive in time.
    """
    try:
        return await asyncio.wait_for(_read_all(request, limit, keep), _READ_S)
    except (TimeoutError, asyncio.TimeoutError):
        raise HTTPException(
            408, f"The body did not arrive within {_READ_S:g} s.", {"Connection": "close"}
        ) from None


async def _read_all(request: Request, limit: int, keep: bool) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise HTTPException(
                413, f"The body has more than {limit} bytes.", {"Connection": "close"}
            )
        if keep:
            chunks.append(chunk)
    return b"".join(chunks)


def _header_length(request: Request) -> int | None:
    text = request.headers.get(_HEADER)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 12:
        raise UsageError(f"{_HEADER} must be a number.")
    return int(text)


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, dict(headers or {}))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, error.headers)


async def _unexpected(_: Request, error: Exception) -> Response:
    # The traceback goes to the log; a client learns no more than the type.
    return _error(500, f"The server failed ({type(error).__name__}).")
