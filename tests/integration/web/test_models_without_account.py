"""Models of this machine's user, who has opened the printed address and has no account."""

from pathlib import Path

import pytest

from tests.integration.web.test_uploads import folders, upload
from tests.support.pictures.fake_pictures import FakePictures
from tests.support.web.web_service import PASSWORD, open_site


async def test_this_machines_user_keeps_the_newest_model_without_an_account(
    tmp_path: Path, pictures: FakePictures
) -> None:
    async with open_site(tmp_path, pictures, token="secret") as site:
        guest = site.client()
        guest.cookies.set("bodywire_page_0", "secret")
        assert (await guest.get("/api/status")).json()["models"]
        first, second = [(await upload(guest)).json() for _ in range(2)]
        (kept,) = (await guest.get("/api/models")).json()["models"]
        assert kept["id"] == second["id"] and folders(site) == [second["id"]]
        assert (await guest.get(second["people"][0]["obj"])).status_code == 200
        assert (await guest.get(first["people"][0]["obj"])).status_code == 404
        anna = site.client()
        anna.cookies.set("bodywire_page_0", "secret")
        assert (await anna.post("/api/accounts", json={"name": "Anna", "password": PASSWORD})).status_code == 201
        assert (await anna.get(second["people"][0]["obj"])).status_code == 404, "it belongs to nobody else"
        await upload(anna)
        assert len(folders(site)) == 2 and len((await guest.get("/api/models")).json()["models"]) == 1


@pytest.mark.parametrize("headers", [{}, {"x-forwarded-for": "10.0.0.9"}], ids=["no token", "through a proxy"])
async def test_others_on_this_machine_need_an_account(
    tmp_path: Path, pictures: FakePictures, headers: dict[str, str]
) -> None:
    async with open_site(tmp_path, pictures, token="secret") as site:
        stranger = site.client()
        if headers:
            stranger.cookies.set("bodywire_page_0", "secret")
            stranger.headers.update(headers)
        assert not (await stranger.get("/api/status")).json()["models"]
        assert (await upload(stranger)).status_code == 401 and folders(site) == []
        name = {"name": "(this machine)", "password": ""}
        assert (await stranger.post("/api/session", json=name)).status_code in (401, 422)
