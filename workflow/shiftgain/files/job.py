"""What every job does around its work: a log, a record of its files, and one line on a fault that users can mend."""

import ctypes
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from shiftgain.files import sums
from shiftgain.files.errors import StudyError


@contextmanager
def run(log_path: str, outputs: Iterable[str] = ()) -> Iterator[None]:
    """Log to ``log_path`` (and tracebacks too); end with one line and status 1 on a fault the user can mend.

    Beside the log stays a record of the ``outputs``: :mod:`shiftgain.files.sums`.
    """
    logging.basicConfig(
        filename=log_path, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    _keep_freed_memory()
    started = time.perf_counter()
    try:
        yield
        sums.record(log_path, outputs)
        logging.info("finished in %.3f s", time.perf_counter() - started)
    except StudyError as error:
        _stop(error, log_path)
    except MemoryError:
        _stop("out of memory; give the job more, or lower train.batch", log_path)
    except RuntimeError as error:
        # torch has no class of its own for this on a CPU.
        if not re.search(r"(can't|not enough) (allocate )?memory|out of memory", str(error)):
            logging.exception("failed")
            raise
        _stop("out of memory; give the job more, or lower train.batch", log_path)
    except BaseException:
        logging.exception("failed")
        raise


def by_name(files: Mapping[str, Sequence[str]], names: dict[str, list]) -> dict[str, dict]:
    """Role -> name -> path, for every role in ``names``: its names and its ``files`` are in one order.

    Errors: :class:`ValueError` where a role has more of the one than of the other.
    """
    return {role: dict(zip(named, files[role], strict=True)) for role, named in names.items()}


def warn(message: str) -> None:
    """Say in the log, and to the user, what does not stop the job."""
    logging.warning("%s", message)
    print(f"warning: {message}", file=sys.stderr)


def _stop(message: object, log_path: str) -> None:
    logging.error("%s", message)
    print(f"error: {message} (log: {log_path})", file=sys.stderr)
    sys.exit(1)


def _keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory: returning every activation to the kernel and faulting it in again
    would cost every training step on a CPU."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        logging.info("no glibc: its allocator is left as it is")
