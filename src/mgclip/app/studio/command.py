"""``mgclip studio``: a local web page for one model."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from mgclip.errors import InputError, MissingExtra


def studio_command(
    model: Annotated[Path, typer.Argument(help="Folder of the model; created when the first class is taught.")],
    base: Annotated[str, typer.Option(help="CLIP a new model starts from, or where a saved model's CLIP is now.")] = "",
    host: Annotated[
        str, typer.Option(help="Address to listen at; the default is reached from this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 7860,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest upload, in megabytes.")] = 20,
    max_images: Annotated[int, typer.Option(min=1, help="Images taken at a time.")] = 200,
) -> None:
    """Open a page in the browser: drop images, teach classes, go back, see the gap."""
    from mgclip.app.display import out, require_single_process
    from mgclip.saving.store import check_place, is_saved

    require_single_process("studio")
    check_place(model)
    check_address(host, port)
    try:
        import gradio
    except ModuleNotFoundError:
        raise MissingExtra("studio", "Gradio") from None

    from mgclip.app.studio.page import CSS, build
    from mgclip.app.studio.work import StudioModel

    workshop = StudioModel(
        model, base=base or ("" if is_saved(model) else "openai/clip-vit-base-patch16"), most=max_images
    )
    workshop.classes()  # what cannot be loaded is reported before the page is up
    page = build(workshop).queue(default_concurrency_limit=1, max_size=32)
    check_address(host, port)  # loading took a while
    page.launch(
        server_name=host, server_port=port, share=False, quiet=True, show_error=False, max_file_size=f"{max_mb}mb",
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=CSS, ssr_mode=False, footer_links=[], strict_cors=True, prevent_thread_lock=True,
    )  # fmt: skip
    shown = f"[{host}]" if ":" in host else host
    out.print(f"the studio of {model}: http://{shown}:{port}  (Ctrl-C ends it)")
    page.block_thread()


def check_address(host: str, port: int) -> None:
    """See that the page can be served at an address. Raises ``InputError`` that names the host or the port that is wrong."""
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as trial:
            if (
                os.name == "posix"
            ):  # connections that just ended do not count; elsewhere this takes a port from its owner
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (socket.gaierror, UnicodeError):
        raise InputError(f"There is no host {host}: give an address of this machine with --host.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} is taken: give another one with --port.") from None
        if error.errno == errno.EACCES:
            raise InputError(f"Port {port} is reserved for the system: give one above 1023 with --port.") from None
        raise InputError(f"{host} is not an address of this machine: give one that is with --host.") from None
