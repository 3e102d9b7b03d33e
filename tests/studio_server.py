"""A studio in a process of its own, for the tests that visit it."""

import contextlib
import os
import signal
import time

import forked


@contextlib.contextmanager
def studio(place, *words, core=None):
    """Run ``mgclip studio WORDS`` in ``place``; yields its address. Uploads are in ``place/uploads``, output in ``place/log``."""
    port = 17861 + (os.getpid() + hash(place)) % 2000
    uploads = {"GRADIO_TEMP_DIR": str(place / "uploads")}
    server = forked.start("studio", *words, "--port", port, cwd=place, log=place / "log", core=core, variables=uploads)
    try:
        for _ in range(120):
            log = (place / "log").read_text() if (place / "log").exists() else ""
            if "Ctrl-C to stop" in log:  # the page answers earlier
                break
            assert server.poll() is None, log
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/"
        server.send_signal(signal.SIGINT)  # Ctrl-C
        server.communicate(20)
        log = (place / "log").read_text()
        assert server.returncode == 0 and "Keyboard" not in log, log
    finally:
        if server.poll() is None:
            server.kill()
