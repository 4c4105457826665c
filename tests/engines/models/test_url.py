"""Downloads from a real server that breaks off, changes its mind, and lies."""

import re
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from duologue.core.errors import DuologueError, EngineUnavailable, SetupError
from duologue.engines.models import url
from duologue.engines.models.forms import Link
from duologue.engines.models.means import Means
from duologue.server.tls import self_made
from tests.engines.models.web import Page, Told, Web, web

BODY = bytes(range(256)) * 400
OTHER = BODY[::-1]
HASH = sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with web() as found:
        yield found


class Getter:
    def __init__(self, folder: Path) -> None:
        self.target = folder / "it.onnx"
        self.pauses: list[float] = []
        self.told = Told()

    def __call__(self, address: str, sha256: str = "", mirror: str = "") -> bytes:
        means = Means(mirror=mirror, progress=self.told, sleep=self.pauses.append)
        url.download(Link(address, sha256), self.target, means, "place it in /models/it")
        left = [path.name for path in self.target.parent.iterdir()]
        assert left == ["it.onnx"]
        return self.target.read_bytes()

    def fails(self, address: str, sha256: str = "") -> DuologueError:
        with pytest.raises(DuologueError) as caught:
            self(address, sha256)
        assert not self.target.exists()
        return caught.value

    @property
    def kept(self) -> int:
        part = self.target.with_name("it.onnx.part")
        return part.stat().st_size if part.exists() else 0


@pytest.fixture
def get(tmp_path: Path) -> Getter:
    return Getter(tmp_path)


# --- as it should be ---
def test_a_file_comes_whole_and_is_told(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY)), HASH) == BODY
    assert get.told.begun == [("it.onnx", len(BODY), 0)]
    assert get.told.reached[-1] == len(BODY)
    assert get.told.ends == 1
    assert get.pauses == []
    assert site.asked == [("/it.onnx", None, None)]


def test_a_file_of_which_nobody_told_the_size_comes_too(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY, is_chunked=True))) == BODY
    assert get.told.begun == [("it.onnx", None, 0)]


def test_an_empty_file_is_a_file(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(b""))) == b""


def test_redirects_are_followed_with_the_range(site: Web, get: Getter) -> None:
    real = site.put("/deep/real", Page(BODY, breaks=[7_000]))
    assert get(site.put("/it.onnx", Page(location=real))) == BODY
    assert site.ranges == [None, None, "bytes=7000-", "bytes=7000-"]


# --- broken off ---
def test_what_broke_off_is_gone_on_with(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY, breaks=[10_000, 20_000]))) == BODY
    assert site.asked[1:] == [
        ("/it.onnx", "bytes=10000-", '"one"'),
        ("/it.onnx", "bytes=30000-", '"one"'),
    ]
    assert get.pauses == [1.0, 1.0]
    assert [have for _, _, have in get.told.begun] == [0, 10_000, 30_000]


def test_the_next_call_goes_on_where_the_last_one_gave_up(site: Web, get: Getter) -> None:
    page = Page(BODY, breaks=[50_000], statuses=[])
    address = site.put("/it.onnx", page)
    page.breaks += [0] * (url.IDLE_TRIES - 1) + [0]
    error = get.fails(address)
    assert error.code == "download_failed"
    assert "0.1 MB are kept" in error.message
    assert get.kept == 50_000
    page.breaks.clear()
    site.asked.clear()
    assert get(address) == BODY
    assert site.ranges == ["bytes=50000-"]


def test_a_chunked_answer_that_breaks_off_is_no_whole_file(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY, is_chunked=True, breaks=[9_000]))) == BODY
    assert len(site.asked) == 2


def test_a_server_that_knows_no_ranges_starts_anew(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY, breaks=[10_000], knows_range=False))) == BODY


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed(
    knows_if_range: bool, site: Web, get: Getter
) -> None:
    page = Page(BODY, breaks=[50_000] + [0] * url.IDLE_TRIES, knows_if_range=knows_if_range)
    address = site.put("/it.onnx", page)
    get.fails(address)
    site.pages["/it.onnx"] = Page(OTHER, etag='"two"', knows_if_range=knows_if_range)
    assert get(address) == OTHER


def test_a_file_that_became_shorter_is_fetched_anew(site: Web, get: Getter) -> None:
    address = site.put("/it.onnx", Page(BODY, etag="", breaks=[50_000] + [0] * url.IDLE_TRIES))
    get.fails(address, HASH)
    assert get.kept == 50_000
    short = BODY[:40_000]
    site.pages["/it.onnx"] = Page(short, etag="")
    assert get(address, sha256(short).hexdigest()) == short


def test_a_part_that_is_all_there_needs_no_more(site: Web, get: Getter) -> None:
    address = site.put("/it.onnx", Page(BODY))
    get.target.with_name("it.onnx.part").write_bytes(BODY)
    assert get(address, HASH) == BODY
    assert site.ranges == [f"bytes={len(BODY)}-"]


def test_without_tag_or_hash_nothing_is_gone_on_with(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY, etag="", breaks=[10_000]))) == BODY
    assert site.ranges == [None, None]


def test_a_weak_tag_is_none_but_a_date_will_do(site: Web, get: Getter) -> None:
    date = "Sat, 01 Nov 2025 00:00:00 GMT"
    page = Page(BODY, etag='W/"one"', headers={"Last-Modified": date}, breaks=[10_000])
    page.knows_if_range = False
    assert get(site.put("/it.onnx", page)) == BODY
    assert site.asked[1] == ("/it.onnx", "bytes=10000-", date)


def test_with_a_hash_a_file_without_tag_is_gone_on_with(site: Web, get: Getter) -> None:
    assert get(site.put("/it.onnx", Page(BODY, etag="", breaks=[10_000])), HASH) == BODY
    assert site.ranges == [None, "bytes=10000-"]


def test_a_server_that_falls_silent_is_asked_again(
    site: Web, get: Getter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url, "TIMEOUT_S", 0.2)
    assert get(site.put("/it.onnx", Page(BODY, stalls=[10_000]))) == BODY
    assert site.ranges == [None, "bytes=10000-"]


# --- refused, busy, away ---
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "download_not_found"),
        (410, "download_not_found"),
        (401, "download_forbidden"),
        (403, "download_forbidden"),
        (400, "download_refused"),
    ],
)
def test_a_refusal_is_told_at_once(status: int, code: str, site: Web, get: Getter) -> None:
    address = site.put("/it.onnx", Page(BODY, statuses=[status]))
    error = get.fails(address)
    assert error.code == code
    assert address in error.message
    assert "place it in /models/it" in error.remedy
    assert len(site.asked) == 1


def test_a_busy_server_is_asked_again_when_it_says(site: Web, get: Getter) -> None:
    page = Page(BODY, statuses=[503, 429, 500], headers={"Retry-After": "7"})
    assert get(site.put("/it.onnx", page)) == BODY
    assert get.pauses == [7.0] * 3
    page.statuses, page.headers = [503], {"Retry-After": "86400"}
    get.target.unlink()
    assert get(site.url + "/it.onnx") == BODY
    assert get.pauses[-1] == url.MAX_PAUSE_S


def test_a_server_that_stays_broken_is_given_up_with_growing_pauses(site: Web, get: Getter) -> None:
    error = get.fails(site.put("/it.onnx", Page(BODY, statuses=[500] * 99)))
    assert error.code == "download_failed"
    assert "500" in error.message
    assert len(site.asked) == url.IDLE_TRIES
    assert get.pauses == [2.0, 4.0, 8.0, 16.0]


def test_a_server_that_is_not_there_leaves_the_other_ways(site: Web, get: Getter) -> None:
    error = get.fails("http://127.0.0.1:9/it.onnx")
    assert error.code == "download_failed"
    for way in ("HTTPS_PROXY", "--mirror", "place it in /models/it"):
        assert way in error.remedy
    assert get.pauses == [2.0, 4.0]
    (first, second) = get.told.notes
    assert re.fullmatch(r"no connection \(.+\), trying again in 2 s …", first)
    assert second.endswith("trying again in 4 s …")


def test_a_server_that_was_there_once_is_asked_more_often(site: Web, get: Getter) -> None:
    away = "http://127.0.0.1:9/away"
    page = Page(statuses=[500], location=away)
    error = get.fails(site.put("/it.onnx", page))
    assert error.code == "download_failed"
    assert get.pauses == [2.0, 4.0, 8.0, 16.0]
    assert get.told.notes[0].startswith("the server says 500")
    assert get.told.notes[1].startswith("no connection (")


def test_a_line_that_breaks_off_for_ever_is_given_up(site: Web, get: Getter) -> None:
    assert get.fails(site.put("/it.onnx", Page(BODY, breaks=[10] * 999))).code == "download_failed"
    assert len(site.asked) == url.MAX_TRIES


# --- lies ---
def test_a_length_that_is_never_reached_is_a_failure(site: Web, get: Getter) -> None:
    page = Page(BODY, length=len(BODY) + 500, knows_range=False)
    error = get.fails(site.put("/it.onnx", page))
    assert error.code == "download_failed"
    assert f"{len(BODY)} of {len(BODY) + 500}" in error.message


def test_another_file_than_the_one_that_was_meant_is_not_kept(site: Web, get: Getter) -> None:
    error = get.fails(site.put("/it.onnx", Page(OTHER)), HASH)
    assert error.code == "model_hash_mismatch"
    assert sha256(OTHER).hexdigest() in error.message
    assert list(get.target.parent.iterdir()) == []


def test_a_page_of_a_portal_is_no_model(site: Web, get: Getter) -> None:
    page = Page(b"<html>", headers={"Content-Type": "text/html; charset=utf-8"})
    assert get.fails(site.put("/it.onnx", page)).code == "download_is_a_page"


def test_a_pointer_to_a_file_is_not_the_file(site: Web, get: Getter) -> None:
    body = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    error = get.fails(site.put("/it.onnx", Page(body)))
    assert error.code == "download_is_a_pointer"
    assert get.kept == 0


def test_a_packed_answer_is_not_taken_for_the_file(site: Web, get: Getter) -> None:
    error = get.fails(site.put("/it.onnx", Page(BODY, headers={"Content-Encoding": "gzip"})))
    assert "gzip" in error.message


# --- the disk ---
def test_a_disk_that_is_too_small_is_told_before_the_first_byte(
    site: Web, get: Getter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 50_000})())
    error = get.fails(site.put("/it.onnx", Page(BODY)))
    assert isinstance(error, SetupError)
    assert error.code == "disk_full"
    assert get.told.reached == []


# --- the way there ---
def test_a_mirror_is_asked_instead(site: Web, get: Getter) -> None:
    site.put("/of/hub/a/it.onnx?x=1", Page(BODY))
    site.put("/?q=https://models.invalid/a/it.onnx", Page(OTHER))
    assert get("https://models.invalid/a/it.onnx?x=1", mirror=f"{site.url}/of/hub/") == BODY
    get.target.unlink()
    assert get("https://models.invalid/a/it.onnx", mirror=f"{site.url}/?q={{url}}") == OTHER


def test_the_proxy_of_the_environment_is_used(
    site: Web, get: Getter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    site.put("http://models.invalid/it.onnx", Page(BODY))
    assert get("http://models.invalid/it.onnx") == BODY


def test_an_address_may_have_any_letters(site: Web, get: Getter) -> None:
    site.put("/tug%C3%A3o/it%20.onnx", Page(BODY))
    assert get(f"{site.url}/tugão/it%20.onnx") == BODY


def test_no_redirect_leads_to_another_kind_of_address(site: Web, get: Getter) -> None:
    error = get.fails(site.put("/it.onnx", Page(location="ftp://127.0.0.1/it.onnx")))
    assert error.code == "download_redirect_refused"


def test_a_certificate_is_checked_and_a_protected_way_stays_protected(
    site: Web,
    get: Getter,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key = self_made(tmp_path_factory.mktemp("tls"))
    open_way = site.put("/it.onnx", Page(BODY))
    with web((certificate, key)) as protected:
        address = protected.put("/it.onnx", Page(BODY))
        error = get.fails(address)
        assert error.code == "download_untrusted"
        assert "SSL_CERT_FILE" in error.remedy
        assert get.pauses == []
        monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(certificate))
        assert get(address) == BODY
        get.target.unlink()
        down = protected.put("/down", Page(location=open_way))
        assert get.fails(down).code == "download_redirect_refused"


def test_errors_are_the_engines(site: Web, get: Getter) -> None:
    assert isinstance(get.fails(f"{site.url}/nothing"), EngineUnavailable)
