"""The door, with a core that does whatever a test wants. No sandbox is started."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from sandbox.service import tokens
from sandbox.service.app import make_app
from sandbox.service.config import Config


class Core:
    """What carries out runs, in place of the real one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    async def start(self):
        pass

    async def close(self):
        pass

    def stats(self):
        return {}

    def languages(self):
        if self._error:
            raise self._error
        return []


def ask(config: Config, core: Core, *requests: tuple[str, dict]) -> list[httpx.Response]:
    async def all_of_them():
        transport = httpx.ASGITransport(make_app(config, core), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return [await http.get(path, headers=headers) for path, headers in requests]

    return asyncio.run(all_of_them())


def test_what_goes_wrong_inside_is_told_by_its_id_alone(caplog):
    (answer,) = ask(Config(no_auth=True), Core(ValueError("/a/secret/path")), ("/v1/languages", {}))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("headers", [{"host": "[::1"}, {"origin": "http://[bad"}])
def test_names_that_are_none(headers):
    (answer,) = ask(Config(no_auth=True), Core(), ("/v1/languages", headers))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_a_file_of_tokens_that_goes_bad_lets_nobody_in(tmp_path):
    path = tmp_path / "tokens.json"
    token = tokens.add(path, "alice")
    config, known = Config(tokens_file=path), {"authorization": f"Bearer {token}"}
    (good,) = ask(config, Core(), ("/v1/languages", known))
    assert good.status_code == 200
    app = make_app(config, Core())
    path.write_text("{")

    async def later():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.get("/v1/languages", headers=known), await http.get("/v1/health")

    refused, health = asyncio.run(later())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "tokens")
    assert str(path) not in refused.text
    assert health.status_code == 200


def test_a_name_must_be_one_of_ours():
    config = Config(no_auth=True, hosts=("judge.example",))
    ours, other = ask(config, Core(), ("/v1/languages", {"host": "judge.example:8000"}), ("/v1/languages", {}))
    assert (ours.status_code, other.status_code) == (200, 403)
