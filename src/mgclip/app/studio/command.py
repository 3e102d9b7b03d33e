"""``mgclip studio``: a local web page for one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mgclip.errors import MissingExtra


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
    from mgclip.app.display import one_process, out
    from mgclip.method.store import check_place, is_saved

    one_process("studio")
    check_place(model)
    try:
        import gradio
    except ModuleNotFoundError:
        raise MissingExtra("studio", "Gradio") from None

    from mgclip.app.studio.page import CSS, build
    from mgclip.app.studio.work import Workshop

    workshop = Workshop(
        model, base=base or ("" if is_saved(model) else "openai/clip-vit-base-patch16"), most=max_images
    )
    workshop.classes()  # what cannot be loaded is said before the page is up
    page = build(workshop).queue(default_concurrency_limit=1, max_size=32)
    out.print(f"the studio of {model}: http://{host}:{port}  (Ctrl-C ends it)")
    page.launch(
        server_name=host, server_port=port, share=False, quiet=True, show_error=False, max_file_size=f"{max_mb}mb",
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=CSS, ssr_mode=False, footer_links=[], strict_cors=True,
    )  # fmt: skip
