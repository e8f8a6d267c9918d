"""Accounts, tokens and models for tests of the page: in memory, without any protection but the CSRF token."""

import json
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from receiver.mesh.mesh_files import encode_mesh, encode_textured
from receiver.mesh.mesh_texture import MeshTexture
from receiver.web.pictures import UPLOAD_STAGES
from tests.support.live_messages import StoredFrame

COOKIE = "bodywire_session"
CSRF = "csrf-of-the-test"
SHORTEST_PASSWORD = 8
FORMATS = ("obj", "glb", "ply")


class PageAccounts:
    """What is behind the views Models and Account.

    People of pictures that are uploaded have `texture`, if it is set.

    Args:
        output: whose meshes every uploaded picture becomes.
        frames: of `output`.
    """

    def __init__(self, output: Path, frames: Sequence[StoredFrame]) -> None:
        self.refusal: tuple[int, str] | None = None
        self.texture: MeshTexture | None = None
        self.models: dict[str, dict[str, Any]] = {}
        self._frame = frames[-1]
        self._passwords: dict[str, str] = {}
        self._sessions: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._pictures: dict[str, bytes] = {}

    def status(self, request: Request) -> dict[str, Any]:
        account = self._sessions.get(request.cookies.get(COOKIE, ""))
        return {"accounts": True, "sign_up": True, "account": account, "csrf": CSRF if account else None}

    def routes(self) -> list[Route]:
        return [
            Route("/api/accounts", self._sign_up, methods=["POST"]),
            Route("/api/session", self._sign_in, methods=["POST"]),
            Route("/api/session", self._sign_out, methods=["DELETE"]),
            Route("/api/tokens", self._list_tokens, methods=["GET"]),
            Route("/api/tokens", self._make_token, methods=["POST"]),
            Route("/api/tokens/{id}", self._revoke, methods=["DELETE"]),
            Route("/upload", self._upload, methods=["POST"]),
            Route("/api/models", self._list_models),
            Route("/api/models/{id}", self._model, methods=["GET", "DELETE"]),
            Route("/models/{id}/{file}", self._file),
        ]

    async def _sign_up(self, request: Request) -> Response:
        values = await request.json()
        if values["name"] in self._passwords:
            return refused(409, "This name is taken. Choose another one.")
        if len(values["password"]) < SHORTEST_PASSWORD:
            return refused(422, f"The password is too short. Choose one of at least {SHORTEST_PASSWORD} characters.")
        self._passwords[values["name"]] = values["password"]
        return self._entered(values["name"], 201)

    async def _sign_in(self, request: Request) -> Response:
        values = await request.json()
        if self._passwords.get(values["name"]) != values["password"]:
            return refused(401, "Name or password is wrong. Check both and try again.")
        return self._entered(values["name"], 200)

    def _entered(self, name: str, status: int) -> Response:
        response = JSONResponse({"account": name}, status)
        cookie = secrets.token_urlsafe(16)
        self._sessions[cookie] = name
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict")
        return response

    async def _sign_out(self, request: Request) -> Response:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        return Response(status_code=204)

    async def _list_tokens(self, request: Request) -> Response:
        tokens = [{"id": number, "label": label} for number, label in self._tokens.items()]
        return JSONResponse({"tokens": tokens})

    async def _make_token(self, request: Request) -> Response:
        label, number = (await request.json())["label"], secrets.token_hex(4)
        self._tokens[number] = label
        return JSONResponse({"id": number, "label": label, "token": f"bw_{secrets.token_urlsafe(24)}"}, 201)

    async def _revoke(self, request: Request) -> Response:
        self._tokens.pop(request.path_params["id"], None)
        return Response(status_code=204)

    async def _upload(self, request: Request) -> Response:
        if request.headers.get("X-CSRF-Token") != CSRF:
            return refused(403, "The CSRF token is missing.")
        if self.refusal:
            return refused(*self.refusal)
        async with request.form() as form:
            image = form["image"]
            assert not isinstance(image, str)
            identity, content, name = secrets.token_hex(8), await image.read(), image.filename or ""
        self._pictures[identity] = content
        self.models[identity] = self._model_of(identity, name)
        return StreamingResponse(self._events(identity), media_type="application/x-ndjson")

    def _model_of(self, identity: str, name: str) -> dict[str, Any]:
        people = [
            {
                **{ending: f"/models/{identity}/person-{number}.{ending}" for ending in FORMATS},
                "body": f"/models/{identity}/person-{number}.body.glb" if self.texture else None,
                "keypoints_2d": person["keypoints_2d"],
                "joints_3d": person["joints_3d"],
            }
            for number, person in enumerate(self._frame.record["people"])
        ]
        stages = {"queue": 1.2, "perception": 410.0, "link": 6.0, "reconstruction": 230.0, "files": 40.0}
        made = {"name": name, "created_at": "2026-11-22T04:00:00Z"}
        return {"id": identity, "people": people, "bytes": 112, "stages_ms": stages, **made}

    async def _events(self, identity: str) -> AsyncIterator[str]:
        for stage in UPLOAD_STAGES:
            yield json.dumps({"event": "stage", "stage": stage}) + "\n"
        yield json.dumps({"event": "done", "model": self.models[identity]}) + "\n"

    async def _list_models(self, request: Request) -> Response:
        keys = ("id", "created_at", "name", "bytes")
        models = [
            {**{key: model[key] for key in keys}, "people": len(model["people"])} for model in self.models.values()
        ]
        return JSONResponse({"models": models})

    async def _model(self, request: Request) -> Response:
        model = self.models.get(request.path_params["id"])
        if model is None:
            return refused(404, "There is no such model.")
        if request.method == "DELETE":
            del self.models[model["id"]]
            return Response(status_code=204)
        return JSONResponse(model)

    async def _file(self, request: Request) -> Response:
        identity, name = request.path_params["id"], request.path_params["file"]
        if name == "picture.jpg":
            return Response(self._pictures[identity], media_type="image/jpeg")
        stem, ending = name.split(".", 1)
        if ending == "body.glb":
            assert self.texture is not None
            content = encode_textured(self._frame.meshes["body"][int(stem.removeprefix("person-"))], self.texture)
            return Response(content, media_type="application/octet-stream")
        mesh = self._frame.meshes["surface"][int(stem.removeprefix("person-"))]
        return Response(encode_mesh(mesh, ending), media_type="application/octet-stream")


def refused(status: int, detail: str) -> JSONResponse:
    """An error as the receiver words it."""
    return JSONResponse({"detail": detail}, status)
