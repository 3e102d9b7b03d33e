"""Put an exported folder on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from mgclip.errors import InputError, MGCLIPError


def check_repo(repo: str) -> None:
    """See that ``repo`` can be the name of a repository on the hub. Raises ``InputError`` where it cannot."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise InputError(f"{repo} cannot be a repository on the hub: give a name such as user/months.") from None


def push(folder: Path, repo: str, private: bool = False) -> str:
    """Upload a folder into the model repository ``repo``, which is made where there is none; its address.

    Without ``private`` a repository that is there stays as visible as it is. Raises ``InputError`` for a name that cannot be,
    ``MGCLIPError`` where the hub cannot be reached or does not take the folder.
    """
    from huggingface_hub import HfApi, get_token

    check_repo(repo)
    api = HfApi()
    try:
        made = api.create_repo(repo, private=private or None, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Export of MG-CLIP")
    except Exception as error:  # of four libraries: no token, no right, no network, no answer
        raise MGCLIPError(
            f"{folder} was not pushed to {repo} ({_reason(error)}): {_advice(error, get_token() is not None)}"
        ) from error
    return str(made)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _advice(error: Exception, token: bool) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if not token or status == 401:
        return "log in with  hf auth login  or set HF_TOKEN to a token that may write, and push again."
    if status in (403, 404):
        return "use a token that may write there, or a repository of your own, and push again."
    return "check the network and what the hub says, and push again; the folder itself is whole."
