"""A studio in a process of its own, for the tests that visit it."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request


@contextlib.contextmanager
def studio(place, *words):
    """Serve ``place/shop``; yields its address. Uploads are stored in ``place/uploads``, output in ``place/log``."""
    port = 17861 + (os.getpid() + hash(place)) % 2000
    command = [sys.executable, "-m", "mgclip", "studio", "shop", "--port", str(port), *words]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(place / "uploads")}
    with (place / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
                    break
                except OSError:
                    assert server.poll() is None, (place / "log").read_text()
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(20)
