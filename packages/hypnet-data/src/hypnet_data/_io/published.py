"""Addresses and checksums of published datasets, as in torchvision.

They are repeated here because importing torchvision takes longer than reading a
dataset; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hypnet_data._io.files import Source

_UNVERIFIED = "; data.verify=false (in Python verify=False) accepts other data in its format"


@dataclass(frozen=True)
class Installed:
    """Published files as a package of the operating system installs them.

    Attributes:
        system: Name of the operating system.
        package: Name of the package.
        folder: Folder of the files.
        md5: Their MD5 checksums, in the order of the published files. They may differ
            from the published ones, as a package may write archives anew.
    """

    system: str
    package: str
    folder: Path
    md5: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Files as their authors publish them.

    Attributes:
        mirrors: Addresses of folders that hold them.
        files: Their names and MD5 checksums.
        installed: The package of an operating system that holds them, if there is one.
    """

    mirrors: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    installed: Installed | None = None

    def sources(
        self, folder: Path, *, mirrors: tuple[str, ...] | None = None, verify: bool | None = None
    ) -> list[Source]:
        """The files as sources: in a folder, else in that of an installed package.

        The package is for a folder that holds none of the files, unless the user has
        named mirrors.

        Args:
            folder: Folder of the files, downloaded or not.
            mirrors: Other addresses to download from.
            verify: Whether the files must have the published checksums; by default
                they must, and the dataset has no option for it.
        """
        hint = _UNVERIFIED if verify else ""
        advice = ""
        names = [name for name, _ in self.files]
        package = self.installed if mirrors is None else None
        if package is not None and not any(_is_there(folder / name) for name in names):
            if all(_is_there(package.folder / name) for name in names):
                return [
                    Source(
                        package.folder / name,
                        md5=None if verify is False else md5,
                        hint=hint,
                        package=package.package,
                    )
                    for name, md5 in zip(names, package.md5, strict=True)
                ]
            advice = f", or install {package.system}'s package {package.package}"
        addresses = self.mirrors if mirrors is None else mirrors
        return [
            Source(folder / name, addresses, None if verify is False else md5, hint, advice)
            for name, md5 in self.files
        ]


def _is_there(path: Path) -> bool:
    """Whether a file exists, or cannot be reached, which its reader will report."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True)
class PublishedBatches:
    """A tar archive of pickled batches, the format of CIFAR.

    Attributes:
        archive: The archive itself.
        folder: The folder in it.
        label: The key of the labels in a batch.
        train: Names and MD5 checksums of the training batches.
        test: Likewise of the test batches.
    """

    archive: Published
    folder: str
    label: str
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]


IDX: Mapping[str, Published] = MappingProxyType(
    {
        "MNIST": Published(
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            (
                ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
            ),
        ),
        "FashionMNIST": Published(
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ),
            # Debian only replaces the names and times in the headers of the archives.
            Installed(
                "Debian",
                "dataset-fashion-mnist",
                Path("/usr/share/datasets/fashion-mnist"),
                (
                    "cf8536b0aa1a6ac5fa3f23001093305c",
                    "10bea18fdb374794d4bb42e356e600c9",
                    "f78720b4224f21cce2f2ccf2d7a94c9a",
                    "0d30e22e447f3c33dab9ed536400ac01",
                ),
            ),
        ),
    }
)
"""Datasets in MNIST's format, by torchvision's folder; training files come first."""

_TORONTO = ("https://www.cs.toronto.edu/~kriz/",)
CIFAR: Mapping[str, PublishedBatches] = MappingProxyType(
    {
        "cifar10": PublishedBatches(
            Published(_TORONTO, (("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),)),
            folder="cifar-10-batches-py",
            label="labels",
            train=(
                ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ),
            test=(("test_batch", "40351d587109b95175f43aff81a1287e"),),
        ),
        "cifar100": PublishedBatches(
            Published(_TORONTO, (("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),)),
            folder="cifar-100-python",
            label="fine_labels",
            train=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
            test=(("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
        ),
    }
)

SVHN = Published(
    ("http://ufldl.stanford.edu/housenumbers/",),
    (
        ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        ("extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7"),
    ),
)
"""Training, test and extra images."""

CUB200 = Published(
    ("https://data.caltech.edu/records/65de6-vp158/files/",),
    (("CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78"),),
)
"""Unknown to torchvision; the checksum is from the authors' page."""
