"""Uploads a converted model to the Hugging Face hub, each iteration as a branch of its own.

Branches, since every program that loads models takes a revision, and few a sub-folder; and jobs that end at the same
time commit to a branch each, not all to one.

Rule 1: the token comes from the environment, and goes nowhere else.
Rule 2: what is there of another model is never overwritten, and what is asked to be private is never made public.
Rule 3: running it again uploads what is missing: the hub knows files by their hashes.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoexp.checkpoints import folder_name
from autoexp.conversion.job import MANIFEST
from autoexp.errors import AutoexpError

TOKEN = "HF_TOKEN"  # noqa: S105 - its name
EXISTS = 409


def upload(folder: Path, made: Mapping[str, Any], repository: str, *, private: bool) -> str:
    """Upload a finished conversion; return where it is.

    Its manifest stays here: it names folders of this computer.

    Args:
        folder: The model.
        made: Its manifest.
        repository: `owner/name`; it is made if it is not there.
        private: Whether nobody else may see it.

    Raises:
        AutoexpError: there is no token or no iteration, the hub refused or cannot be reached, or it has another model
            in that place.
    """
    token = os.environ.get(TOKEN)
    if not token:
        raise _refused(repository, f"{TOKEN} is not set", f"export {TOKEN}, and list it in the machine's environment:")
    if made["iteration"] is None:
        raise _refused(repository, "nobody knows its iteration, after which its branch is named", "upload it yourself")
    try:
        return _upload(_api(token), folder, made, repository, private=private)
    except AutoexpError:
        raise
    except Exception as error:  # whatever a network, a server or its client may come up with
        raise _refused(
            repository,
            f"{type(error).__name__}: {error}",
            f"see that {TOKEN} may write there, and run it again: the model is in {folder}, and only what is missing "
            "is uploaded",
        ) from error


def _api(token: str) -> Any:
    from huggingface_hub import HfApi  # noqa: PLC0415 - slow to load, and only needed to upload

    return HfApi(token=token)


def _upload(api: Any, folder: Path, made: Mapping[str, Any], repository: str, *, private: bool) -> str:
    branch = folder_name(made["iteration"])
    api.create_repo(repository, private=private or None, exist_ok=True)
    if private and not api.model_info(repository).private:  # it was there before
        raise _refused(repository, "it is public there, and private was asked for", "make it private on the hub first")
    if not _is_new(api, repository, branch):
        _check_same(api, repository, branch, {name: each["sha256"] for name, each in made["outputs"].items()})
    api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        revision=branch,
        ignore_patterns=[MANIFEST],
        commit_message=f"Iteration {made['iteration']}",
    )
    return f"{api.endpoint}/{repository}/tree/{branch}"


def _is_new(api: Any, repository: str, branch: str) -> bool:
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - loaded already

    try:
        api.create_branch(repository, branch=branch)
    except HfHubHTTPError as error:
        if error.response.status_code != EXISTS:
            raise
        return False
    return True


def _check_same(api: Any, repository: str, branch: str, ours: Mapping[str, str]) -> None:
    """See that weights in the branch are those of this model, of which an earlier run may have uploaded a part."""
    for entry in api.list_repo_tree(repository, revision=branch):
        found = getattr(entry, "lfs", None)
        if found is not None and found.sha256 != ours.get(entry.path):
            raise _refused(
                repository,
                f"its branch {branch} has another {entry.path}",
                "give each training a repository of its own, or delete the branch on the hub",
            )


def _refused(repository: str, why: str, fix: str) -> AutoexpError:
    return AutoexpError(f"the model cannot be uploaded to {repository}", why=why, fix=fix)
