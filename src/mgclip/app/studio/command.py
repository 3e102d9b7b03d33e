"""``mgclip studio``: a local web page for one model."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from mgclip.app.options import NewBase
from mgclip.app.signals import interrupted_by_sigterm
from mgclip.errors import InputError, MissingExtra

UPLOADS = "GRADIO_TEMP_DIR"
"""The environment variable that names the folder for uploads."""


def studio_command(
    model: Annotated[Path, typer.Argument(help="Folder of the model; created when the first class is learned.")],
    base: NewBase = "",
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is reachable from this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest upload, in megabytes.")] = 20,
    max_images: Annotated[int, typer.Option(min=1, help="Largest number of images per request.")] = 500,
) -> None:
    """Serve a local web page for a model: ask about images, teach classes, edit them, go back to a version, see the gap."""
    from mgclip.app.display import require_single_process
    from mgclip.saving.store import check_place

    require_single_process("studio")
    check_place(model)
    host = host.removeprefix("[").removesuffix("]")
    check_address(host, port)
    with upload_folder():
        try:  # in here, because Gradio reads the variable when it is imported
            import gradio  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtra("studio", "Gradio") from None
        _serve(model, base, host, port, max_mb, max_images)


@contextmanager
def upload_folder() -> Iterator[None]:
    """Keep uploads in a folder that only this user can open, and remove it at the end, unless ``GRADIO_TEMP_DIR`` names another.

    That of Gradio is the same for all users of a machine: it belongs to the first of them, and the others cannot write into it.
    """
    if os.environ.get(UPLOADS):
        yield
        return
    with TemporaryDirectory(prefix="mgclip-studio-", ignore_cleanup_errors=True) as folder:
        os.environ[UPLOADS] = folder
        try:
            yield
        finally:
            del os.environ[UPLOADS]


def _serve(model: Path, base: str, host: str, port: int, max_mb: int, max_images: int) -> None:
    """Load the model and serve the page until a signal ends it."""
    from mgclip.app.display import out
    from mgclip.app.studio.drop import Limits
    from mgclip.app.studio.look import STYLE, text_of, theme
    from mgclip.app.studio.page import build
    from mgclip.app.studio.work import StudioModel

    studio = StudioModel(model, base=base)
    page = build(studio, Limits(max_mb, max_images))  # a model that cannot be loaded is reported before the page is served
    page.queue(default_concurrency_limit=1, max_size=32)
    check_address(host, port)  # again, because loading took a while
    shown = f"[{host}]" if ":" in host else host  # brackets go around an IPv6 address in a URL
    page.launch(
        server_name=shown,
        server_port=port,
        theme=theme(),
        head=f"<style>{text_of(STYLE)}</style>",  # `css` would rewrite the selectors
        max_file_size=f"{max_mb}mb",
        share=False,
        strict_cors=True,
        ssr_mode=False,
        quiet=True,
        show_error=False,
        footer_links=[],
        prevent_thread_lock=True,
    )
    out.print(f"the studio of {model}: http://{shown}:{port}  (Ctrl-C to stop)")
    with suppress(KeyboardInterrupt), interrupted_by_sigterm():  # the uploads are removed in either case
        while page.is_running:
            time.sleep(0.1)
    page.close(verbose=False)


def check_address(host: str, port: int) -> None:
    """Raise ``InputError``, naming the host or the port, if the page cannot be served at an address."""
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as trial:
            if os.name == "posix":  # ignore connections that just ended; elsewhere it would take over a used port
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (socket.gaierror, UnicodeError):
        raise InputError(f"There is no host {host}: give an address of this machine with --host.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} is in use: give another one with --port.") from None
        if error.errno == errno.EACCES:
            raise InputError(f"Port {port} is reserved for the system: give one above 1023 with --port.") from None
        raise InputError(f"{host} is not an address of this machine: give another one with --host.") from None
