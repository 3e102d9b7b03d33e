"""A folder pushed to the hub, for which a small server stands in."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from mgclip.errors import InputError, MGCLIPError
from mgclip.export.push import push


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that an upload needs. It records the requests."""

    requests: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, self.headers.get("Authorization"), body))
        status, answer = 200, {}
        if self.server.refuses:
            status, answer = self.server.refuses, {"error": "Forbidden: you may not write here"}
        elif self.path == "/api/repos/create":
            answer = {"url": f"{self.server.address}/me/months"}
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        elif "/commit/" in self.path:
            answer = {"commitUrl": f"{self.server.address}/me/months/commit/abc", "commitOid": "abc"}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requests, server.refuses = [], None
    server.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_for_this_test")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: other\n---\n# x\n")
    (folder / "classes.json").write_text("{}")
    return folder


def test_a_folder_is_pushed_to_the_hub(hub, small):
    assert push(small, "me/months", private=True) == f"{hub.address}/me/months"
    paths = [path for path, *_ in hub.requests]
    assert paths[0] == "/api/repos/create"
    made = json.loads(hub.requests[0][2])
    assert (made["name"], made["organization"]) == ("months", "me")
    # Older and newer versions of huggingface_hub send this differently.
    assert made.get("private") is True or made.get("visibility") == "private"
    assert {token for _, token, _ in hub.requests if token} == {"Bearer hf_for_this_test"}
    commit = [json.loads(line) for line in hub.requests[-1][2].splitlines()]
    assert paths[-1] == "/api/models/me/months/commit/main"
    assert sorted(entry["value"]["path"] for entry in commit if entry["key"] == "file") == ["README.md", "classes.json"]
    hub.requests.clear()
    push(small, "me/months")
    assert not {"private", "visibility"} & json.loads(hub.requests[0][2]).keys()


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "hf auth login"), (403, "use a token with write permission there"), (400, "check the network")],
)
def test_an_upload_that_the_hub_rejects_fails_with_advice(hub, small, status, advice):
    hub.refuses = status
    with pytest.raises(MGCLIPError, match=rf"small was not pushed to me/months \(.*\): .*{advice}"):
        push(small, "me/months")


def test_a_missing_hub_or_token_is_reported(hub, small, monkeypatch):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(MGCLIPError, match=r"was not pushed to me/months \(.*\): check the network"):
        push(small, "me/months")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(small / "none"))
    with pytest.raises(MGCLIPError, match="log in with `hf auth login` or set HF_TOKEN"):
        push(small, "me/months")
    with pytest.raises(InputError, match="is not a valid repository name"):
        push(small, "no spaces/here")
