"""A CLIP from the hub, with a small server as the hub: which files are requested, and which are not."""

import json
import shutil
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from small_openclip import deviations, make_folder

from mgclip import MGCLIP, Settings
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that a download needs: a list of files, and the files. It records the requests."""

    def _answer(self):
        path = self.path.partition("?")[0]
        self.server.requests.append(path.rpartition("/")[2] if "/resolve/" in path else path)
        files = {file.name: file for file in self.server.folder.iterdir()}
        if path.startswith("/api/models/me/clip"):
            body = json.dumps({"id": "me/clip", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}).encode()
        elif path.startswith("/me/clip/resolve/") and path.rpartition("/")[2] in files:
            body = files[path.rpartition("/")[2]].read_bytes()
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(body) % 10**12}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = _answer

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path, tiny_clip):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requests, server.folder = [], tmp_path / "served"
    shutil.copytree(tiny_clip, server.folder)
    _connect(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _connect(monkeypatch, address, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_a_clip_is_downloaded_once(hub, tiny_clip, capfd):
    assert load_backbone("me/clip").fingerprint == load_backbone(tiny_clip).fingerprint
    assert hub.requests.index("config.json") < hub.requests.index("model.safetensors")
    hub.requests.clear()
    assert load_backbone("me/clip").reference == "me/clip"
    assert hub.requests == []
    assert capfd.readouterr() == ("", "")


def test_a_model_of_another_type_is_refused_by_its_configuration(hub):
    (hub.folder / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(InputError, match="me/clip holds a model of type blip; a CLIP is needed"):
        load_backbone("me/clip")
    assert "config.json" in hub.requests
    assert "model.safetensors" not in hub.requests


@pytest.mark.parametrize("stated", [False, True])
def test_an_openclip_repository_is_refused_before_its_weights(hub, stated):
    (hub.folder / "open_clip_config.json").write_text("{}")
    if stated:
        (hub.folder / "config.json").write_text('{"model_type": "clip", "vision_config": {}, "text_config": {}}')
    else:
        (hub.folder / "config.json").unlink()
    with pytest.raises(InputError, match="OpenCLIP" if stated else "has no model_cfg"):
        load_backbone("me/clip")
    assert "model.safetensors" not in hub.requests


@pytest.mark.parametrize("both", [False, True])
def test_an_openclip_repository_is_downloaded_with_its_own_configuration(hub, both, monkeypatch):
    for file in () if both else [*hub.folder.iterdir()]:
        file.unlink()
    make_folder(hub.folder, "gelu-shortest")
    (hub.folder / "open_clip_pytorch_model.bin").write_bytes(b"the same weights again")
    assert max(deviations(load_backbone("me/clip"), "gelu-shortest")[1:]) <= 1e-5
    requested = {file for file in hub.requests if not file.startswith("/")}
    assert requested == {"open_clip_config.json", "open_clip_model.safetensors"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_backbone("me/clip").feature_dim == 24


def test_an_interrupted_download_of_openclip_is_finished(hub, tmp_path):
    shutil.rmtree(hub.folder)
    make_folder(hub.folder, "gelu-shortest")
    load_backbone("me/clip")
    for file in (tmp_path / "cache").rglob("open_clip_model.safetensors"):
        file.unlink()
    assert load_backbone("me/clip").feature_dim == 24


def test_an_openclip_tower_that_is_not_supported_is_refused_before_its_weights(hub):
    shutil.rmtree(hub.folder)
    make_folder(hub.folder, "gelu-shortest", lambda config: config["model_cfg"]["vision_cfg"].update(timm_model_name="vit"))
    with pytest.raises(InputError, match="a timm image tower"):
        load_backbone("me/clip")
    assert "open_clip_model.safetensors" not in hub.requests


def test_older_weights_are_downloaded_without_further_requests(hub, tiny_clip):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(hub.folder / "model.safetensors"), hub.folder / "pytorch_model.bin")
    (hub.folder / "model.safetensors").unlink()
    assert load_backbone("me/clip").fingerprint == load_backbone(tiny_clip).fingerprint
    time.sleep(0.5)
    known = {path.name for path in hub.folder.iterdir()}
    assert {path for path in hub.requests if not path.startswith("/api/models/me/clip")} <= known
    assert not [path for path in hub.requests if "discussions" in path or "commits" in path or "refs" in path]


def test_a_download_that_stopped_halfway_is_finished(hub, tmp_path):
    load_backbone("me/clip")
    for file in (tmp_path / "cache").rglob("model.safetensors"):
        file.unlink()
    hub.requests.clear()
    assert load_backbone("me/clip").feature_dim == 24
    assert "model.safetensors" in hub.requests


@pytest.mark.parametrize("how", ["refused", "silent", "offline"])
def test_an_unreachable_hub_is_reported_within_seconds(monkeypatch, tmp_path, mgclip, icons, how):
    from icon_tasks import month_folders

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if how == "silent":
            listening.listen()
        _connect(monkeypatch, f"http://127.0.0.1:{listening.getsockname()[1]}", tmp_path)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", how == "offline")
        month_folders(icons, tmp_path, {"march": range(2)}, 2)
        begun = time.monotonic()
        code, out, err = mgclip("learn", tmp_path / "march", "--model", tmp_path / "shop", "--base", "me/clip")
        assert time.monotonic() - begun < 10  # 5 s, and the imports of a first call
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "The CLIP me/clip is not stored on this machine" in err and "--base iconclip" in err


def test_a_stored_clip_needs_no_hub(hub, monkeypatch):
    load_backbone("me/clip")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_backbone("me/clip").feature_dim == 24


def test_the_error_about_a_moved_base_names_the_option(tiny_clip, tmp_path, icons):
    shutil.copytree(tiny_clip, tmp_path / "clip")
    model = MGCLIP.from_pretrained(tmp_path / "clip", settings=Settings(epochs=0, head_epochs=1))
    model.learn(icons["x_train"][:24], icons["y_train"][:24], [str(name) for name in icons["class_names"][:2]])
    model.save_pretrained(tmp_path / "shop")
    shutil.move(tmp_path / "clip", tmp_path / "moved")
    with pytest.raises(InputError, match=r"The CLIP that .*shop was trained on cannot be loaded: .*with --base"):
        MGCLIP.from_pretrained(tmp_path / "shop")
    assert MGCLIP.from_pretrained(tmp_path / "shop", base=tmp_path / "moved").class_names == model.class_names


def test_another_clip_is_not_suggested_for_a_saved_model(hub, monkeypatch, tmp_path, icons):
    model = MGCLIP.from_pretrained("me/clip", settings=Settings(epochs=0, head_epochs=1))
    model.learn(icons["x_train"][:24], icons["y_train"][:24], [str(name) for name in icons["class_names"][:2]])
    model.save_pretrained(tmp_path / "shop")
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"is not stored on this machine .*check the name and the network; if it has moved"
    ) as refusal:
        MGCLIP.from_pretrained(tmp_path / "shop")
    assert "iconclip" not in str(refusal.value)


@pytest.mark.parametrize("layout", ["clip", "openclip"])
def test_a_clip_is_fetched_into_a_folder(hub, mgclip, tmp_path, monkeypatch, layout):
    if layout == "openclip":
        shutil.rmtree(hub.folder)
        make_folder(hub.folder, "gelu-shortest")
    (hub.folder / "README.md").write_text("not needed")
    code, out, err = mgclip("fetch", "me/clip", "--to", tmp_path / "fetched")
    assert (code, err) == (0, "") and f"use it with --base {tmp_path / 'fetched'}" in out
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.rmtree(tmp_path / "cache")
    assert load_backbone(tmp_path / "fetched").fingerprint == load_backbone(hub.folder).fingerprint
    assert not (tmp_path / "fetched" / "README.md").exists()
    assert not [file for file in (tmp_path / "fetched").iterdir() if file.is_symlink()]
    code, _, err = mgclip("fetch", "me/clip", "--to", tmp_path / "fetched")
    assert code == 2 and "exists and is not an empty folder" in err


def test_what_is_not_a_clip_of_the_hub_is_not_fetched(hub, mgclip, tmp_path):
    for name in ("iconclip", "./clip"):
        code, _, err = mgclip("fetch", name, "--to", tmp_path / "fetched")
        assert code == 2 and "is not the hub id of a CLIP" in err
    (hub.folder / "config.json").write_text('{"model_type": "blip"}')
    code, _, err = mgclip("fetch", "me/clip", "--to", tmp_path / "fetched")
    assert code == 2 and "holds a model of type blip" in err
    assert not (tmp_path / "fetched").exists()


def test_a_name_that_no_repository_can_have_is_no_clip():
    with pytest.raises(InputError, match="my clips/vit"):
        load_backbone("my clips/vit")
