"""A web server for tests: it serves a folder, and refuses some files."""

import contextlib
import functools
import http.server
import threading


@contextlib.contextmanager
def serve(folder, refused=None):
    """Serve a folder; yields its address and the list of requests so far. ``refused`` has a status for the names of some files."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def send_head(self):
            name = self.path.rpartition("/")[2]
            requests.append((self.command, name))
            if name in (refused or {}):
                return self.send_error(refused[name])
            return super().send_head()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
