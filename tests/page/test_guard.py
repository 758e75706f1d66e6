from collections.abc import Mapping

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from autoexp.page.guard import Guard

OURS = {"Host": "127.0.0.1:8750"}


@pytest.fixture
def client() -> TestClient:
    """An application behind the guard."""
    guard = Guard(PlainTextResponse("in"), "s3cret", frozenset({"127.0.0.1", "localhost", "::1"}))
    return TestClient(guard, base_url="http://127.0.0.1:8750")


@pytest.mark.parametrize("query", ["", "?token=", "?token=s3cre", "?token=s3cretx", "?token=%C3%A9", "?tokens=s3cret"])
def test_without_the_token_nothing_is_told(client: TestClient, query: str) -> None:
    answer = client.get(f"/{query}")

    assert answer.status_code == 403
    assert answer.text.startswith("403: this page opens by the address")
    assert "set-cookie" not in answer.headers


def test_the_token_is_kept_where_no_script_and_no_other_site_can_use_it(client: TestClient) -> None:
    answer = client.get("/?token=s3cret")

    assert (answer.status_code, answer.text) == (200, "in")
    assert answer.headers["set-cookie"].endswith("=s3cret; HttpOnly; SameSite=Strict; Path=/")
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("cookie", ["=;=", "autoexp=s3cret", '"', "a" * 5000])
def test_cookies_of_others_are_none_of_ours(client: TestClient, cookie: str) -> None:
    assert client.get("/", headers={"Cookie": cookie}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "evil.example:8750@127.0.0.1.x"])
def test_a_name_that_was_made_to_lead_here_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/?token=s3cret", headers={"Host": host})

    assert answer.status_code == 403
    assert "not known by that name" in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "LOCALHOST:8750", "[::1]:8750"])
def test_this_computer_s_names_will_do_behind_any_tunnel(client: TestClient, host: str) -> None:
    assert client.get("/?token=s3cret", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8750", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
    ids=str,
)
def test_only_our_own_page_changes_anything(client: TestClient, headers: Mapping[str, str], status: int) -> None:
    assert client.post("/?token=s3cret", headers={**OURS, **headers}).status_code == status


@pytest.mark.parametrize("query", ["", "?token=s3cret"])
def test_every_answer_says_that_nothing_from_elsewhere_belongs_to_it(client: TestClient, query: str) -> None:
    headers = client.get(f"/{query}").headers

    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cache-control"] == "no-store"
