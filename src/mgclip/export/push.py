"""Upload an exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.while_inside import QUIET_TRANSFORMERS


def check_repo(repo: str) -> None:
    """Raise ``InputError`` if ``repo`` is not a valid name of a repository on the hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise InputError(f"{repo} is not a valid repository name: give a name such as user/months.") from None


def push(folder: Path, repo: str, private: bool = False) -> str:
    """Upload a folder to a model repository on the hub.

    Args:
        folder: The exported folder.
        repo: The repository, ``user/name``; it is created if it does not exist.
        private: Whether a new repository is private. The visibility of an existing one does not change.

    Returns:
        The address of the repository.

    Raises:
        InputError: If ``repo`` is not a valid name.
        MGCLIPError: If the hub cannot be reached or rejects the folder.
    """
    from huggingface_hub import HfApi, get_token

    check_repo(repo)
    api = HfApi()
    try:
        with QUIET_TRANSFORMERS:  # it decides about the bars of uploads too
            created = api.create_repo(repo, private=private or None, exist_ok=True)
            api.upload_folder(repo_id=created.repo_id, folder_path=folder, commit_message="Export of MG-CLIP")
    except Exception as error:  # four libraries raise here: no token, no permission, no network, no answer
        raise MGCLIPError(
            f"{folder} was not pushed to {repo} ({first_line(error)}): {_advice(error, get_token() is not None)}"
        ) from error
    return str(created)


def _advice(error: Exception, has_token: bool) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if not has_token or status == 401:
        return "log in with `hf auth login` or set HF_TOKEN to a token with write permission, and push again."
    if status in (403, 404):
        return "use a token with write permission there, or a repository of your own, and push again."
    return "check the network and the message of the hub, and push again; the exported folder is complete."
