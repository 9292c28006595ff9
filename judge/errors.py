"""Who is at fault, as exceptions: the user or the machine. Whatever else is raised is a bug, and keeps its traceback."""

import contextlib
import errno
import sys
from collections.abc import Iterator
from pathlib import Path

# What the system says of a full, read-only, foreign or broken disk, and of too many files or processes.
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EAGAIN,
                  errno.ENOMEM, errno.EFBIG, errno.ESTALE}  # fmt: skip
OF_THE_DISK = OF_THE_MACHINE - {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}


class UserError(Exception):
    """Something that a person can mend; the message is one sentence for them. A script prints it and stops."""


@contextlib.contextmanager
def library_reads_settings() -> Iterator[None]:
    """Around a call that hands the user's settings to a library and runs nothing of ours: what it refuses is a UserError."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"the settings do not work: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def written_to_disk(folder: Path) -> Iterator[None]:
    """Around what writes to a folder, by whatever library: what a full or broken disk stopped is a UserError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch.save and safetensors have no number for it
        is_cut_off = "inline_container" in str(error) or (isinstance(error, SafetensorError) and "I/O error" in str(error))
        if not is_cut_off and getattr(error, "errno", None) not in OF_THE_DISK:
            raise
        file, why = getattr(error, "filename", None) or folder, getattr(error, "strerror", None) or "a file was cut off"
        then = "what was written before is intact; free some space and go on with --resume_from_checkpoint last"
        raise UserError(f"cannot write to {file} ({why}): {then}") from error


def require_machine_s(error: OSError) -> None:
    """To be called where a script is about to print an error of the system: raises it again where it is not one of the machine's."""
    if error.errno not in OF_THE_MACHINE:
        raise error


def tell(script: str, error: UserError | OSError) -> None:
    """Print the one sentence of an error that ends a script; as `require_machine_s` for one of the system."""
    if isinstance(error, OSError):
        require_machine_s(error)
    print(f"{script}: {error}", file=sys.stderr)
