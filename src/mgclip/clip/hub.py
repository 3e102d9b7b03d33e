"""Find a CLIP in the hub's local cache, or download it from the Hugging Face hub: the configuration before the weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mgclip.errors import InputError, MGCLIPError, first_line

TIMEOUT = 4.0
"""Seconds after which a hub that does not answer counts as unreachable."""
OPEN_CLIP = "open_clip_config.json"
"""A file that only repositories and folders of OpenCLIP have."""
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The weights of OpenCLIP; the first one found is read."""
NEEDED = re.compile(
    r"((tokenizer_|preprocessor_|processor_)?config|tokenizer|vocab|special_tokens_map|added_tokens)\.json|merges\.txt"
)
"""The names of the files that are needed besides the weights."""
ADVICE = "or use iconclip, which comes with the package (--base iconclip)"


def cached_folder(name: str) -> Path | None:
    """Return the folder of a repository in the hub's cache on this machine, which may be incomplete, or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    found = (try_to_load_from_cache(name, file) for file in ("config.json", OPEN_CLIP))
    try:
        return next((Path(file).parent for file in found if isinstance(file, str)), None)
    except HFValidationError:  # no repository can have this name
        return None


def is_openclip(files: Collection[str]) -> bool:
    """Whether files with these names are a CLIP of OpenCLIP. Some repositories have a CLIP in both layouts; OpenCLIP's own
    configuration is the original one.
    """
    return OPEN_CLIP in files and ("config.json" not in files or not set(OPEN_CLIP_WEIGHTS).isdisjoint(files))


def download(name: str, check: Callable[[Path], object]) -> Path:
    """Download the files of a CLIP and return their folder.

    ``check`` is called with the folder once it has the configuration; if it raises an error, nothing more is downloaded. Raises
    ``InputError`` if there is no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    def fetch(file: str) -> Path:
        return Path(hf_hub_download(name, file, etag_timeout=TIMEOUT)).parent

    try:
        files = [entry.rfilename for entry in HfApi().model_info(name, timeout=TIMEOUT).siblings or []]
        openclip = is_openclip(files)
        if not openclip and "config.json" not in files:
            raise InputError(f"{name} is not a CLIP: expected a repository with a config.json or an {OPEN_CLIP}.")
        if OPEN_CLIP in files:
            folder = fetch(OPEN_CLIP)
        if not openclip:
            folder = fetch("config.json")
        check(folder)
        for file in needed_files(files):
            fetch(file)
    except MGCLIPError:
        raise
    except HfHubHTTPError as error:
        raise InputError(
            f"The CLIP {name} cannot be loaded ({first_line(error)}): check the name, and log in if it is gated, {ADVICE}."
        ) from None
    except Exception as error:  # the libraries raise a dozen types if there is no network or the disk is full
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise  # it concerns a file on this machine
        raise InputError(
            f"The CLIP {name} is not stored on this machine and cannot be loaded ({first_line(error)}): check the name and the "
            f"network, {ADVICE}."
        ) from None
    return folder


def needed_files(files: Sequence[str]) -> list[str]:
    """Return the files of a repository that are needed: of its weights only one format, safetensors if there is a choice."""
    if is_openclip(files):
        return [OPEN_CLIP, *[file for file in OPEN_CLIP_WEIGHTS if file in files][:1]]
    own = [file for file in files if "/" not in file]
    safe = [file for file in own if file.startswith("model") and file.endswith((".safetensors", ".safetensors.index.json"))]
    older = [file for file in own if file.startswith("pytorch_model") and file.endswith((".bin", ".bin.index.json"))]
    return sorted(filter(NEEDED.fullmatch, files)) + (safe or older)
