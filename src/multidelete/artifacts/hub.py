"""Results on the hub: the model with its card and record. Keys lie beside a result, never in it, and stay here."""

import re
from pathlib import Path

from multidelete.artifacts.marks import MARK, beside
from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem
from multidelete.core.foreign import explained

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_LOG_IN = "Log in with 'hf auth login', or set HF_TOKEN, with a token that may write."


def check_hub(repository: str | None) -> None:
    """Refuse what could not be uploaded to, before anything is trained.

    Raises:
        ConfigError: It is no name of a repository.
        CheckpointError: The hub cannot be reached, or knows nobody of this token.
    """
    if repository is None:
        return
    if _NAME.fullmatch(repository) is None:
        raise ConfigError(SettingProblem("push_to_hub", f"is {repository!r}; it must be owner/name."))
    from huggingface_hub import HfApi

    with explained(f"nothing can be uploaded to {repository}", _LOG_IN):
        HfApi().whoami()


def push_to_hub(result: str | Path, repository: str) -> str:
    """Upload a finished result with its card and record, and never its key; a repository that is new is private.

    Args:
        result: A folder that `unlearn`, `train` or `merge` wrote, or a file with what lies beside it.
        repository: ``owner/name``.

    Returns:
        The address of the commit.

    Raises:
        UserError: It cannot be uploaded; the result stays where it is.
    """
    check_hub(repository)
    from huggingface_hub import CommitOperationAdd, HfApi

    result = Path(result)
    files = files_to_push(result)
    remedy = f"The result is complete in {result}; upload it yourself, without the key file beside it."
    with explained(f"{result} cannot be uploaded to {repository}", remedy):
        api = HfApi()
        api.create_repo(repository, private=True, exist_ok=True)
        done = api.create_commit(
            repository,
            operations=[CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()],
            commit_message="Result of multidelete",
        )
    return str(done.commit_url)


def files_to_push(result: Path) -> dict[str, Path]:
    """What is uploaded, by its path there: all of a result but its mark and the logs of trackers.

    Raises:
        CheckpointError: There is no such result.
    """
    from multidelete.artifacts.result_folder import LOGS  # with torch, which the command line does not wait for

    folder = beside(result) if result.is_file() else result
    if not folder.is_dir():
        raise CheckpointError(f"{result} is no finished result of multidelete.")
    named = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = {name: path for name, path in named.items()
            if name != MARK and not name.startswith(f"{LOGS}/") and path.suffix != ".key"}  # fmt: skip
    return kept | ({result.name: result} if result.is_file() else {})
