"""Put the real domains of the studies beside this file: `make data FROM=FOLDER_OR_ARCHIVE`.

files.csv lists the files with their checksums. A file of a folder is linked, a file of an archive is unpacked.
"""

import csv
import hashlib
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
USAGE = "name what holds the files: make data FROM=FOLDER_OR_ARCHIVE"


class PlacementError(Exception):
    """What the user can mend, in one line."""


def place(origin: Path, folder: Path, checksums: dict[str, str]) -> list[str]:
    """Put the files of ``origin`` that ``checksums`` (name -> SHA-256, hexadecimal) lists into ``folder``.

    ``origin``: a folder, or a zip or tar archive, in which a file may lie at any depth. Returns the names of the files
    in their new place. All are checked before the first appears.

    Errors: :class:`PlacementError` for an ``origin`` without any of the files and for a file with another checksum.
    """
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        if origin.is_dir():
            link(origin, Path(staging), checksums)
        elif zipfile.is_zipfile(origin):
            unzip(origin, Path(staging), checksums)
        elif origin.is_file() and tarfile.is_tarfile(origin):
            untar(origin, Path(staging), checksums)
        else:
            raise PlacementError(f"{origin}: neither a folder nor a zip or tar archive; {USAGE}")
        staged = sorted(Path(staging).iterdir())
        if not staged:
            raise PlacementError(f"{origin}: has none of {', '.join(checksums)}; {USAGE}")
        for path in staged:
            if (digest := sha256(path)) != checksums[path.name]:
                raise PlacementError(
                    f"{origin}: {path.name} has SHA-256 {digest} in place of {checksums[path.name]} (data/files.csv); "
                    "take the file that the studies were made with"
                )
        for path in staged:
            # A link to the place itself would replace the file by a link to nothing.
            if path.resolve() != folder.resolve() / path.name:
                path.replace(folder / path.name)
    return [path.name for path in staged]


def link(origin: Path, staging: Path, names: dict[str, str]) -> None:
    for path in origin.rglob("*.h5"):
        if path.name in names and not (staging / path.name).is_symlink():
            (staging / path.name).symlink_to(path.resolve())


def unzip(origin: Path, staging: Path, names: dict[str, str]) -> None:
    with zipfile.ZipFile(origin) as archive:
        for member in archive.infolist():
            if (name := Path(member.filename).name) in names:
                with archive.open(member) as packed, (staging / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)


def untar(origin: Path, staging: Path, names: dict[str, str]) -> None:
    with tarfile.open(origin) as archive:
        for member in archive:
            name = Path(member.name).name
            if name in names and (packed := archive.extractfile(member)) is not None:
                with packed, (staging / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    with (FOLDER / "files.csv").open() as file:
        listed = {entry["file"]: entry["sha256"] for entry in csv.DictReader(file)}
    try:
        if not sys.argv[1:]:
            raise PlacementError(USAGE)
        names = place(Path(sys.argv[1]), FOLDER, listed)
    except (PlacementError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        sys.exit(f"error: {error}")
    for name in listed:
        print(f"data/{name}: " + ("in place" if name in names else f"not in {sys.argv[1]}"))
