"""Shards of drawings for tests, written as people write them."""

import io
import json
import tarfile

import numpy as np
from PIL import Image

from mgclip.images import to_rgb

IMAGES = [np.full((4, 6, 3), value, np.uint8) for value in (0, 50, 100, 150)]
LABELS = ["cat", "dog", "cat", "owl"]
EXPECTED = list(zip(LABELS, (0, 50, 100, 150), strict=True))
"""What ``read`` returns for a shard of these images and labels."""


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write_tar(file, members):
    """An archive of members, given as their names and bytes, texts or objects for JSON."""
    given = {"fileobj": file} if isinstance(file, io.BytesIO) else {"name": file}
    kinds = {"gz": "gz", "bz2": "bz2", "bz": "bz2", "b2": "bz2", "xz": "xz"}
    packed = "" if isinstance(file, io.BytesIO) else next((kinds[end] for end in kinds if file.name.endswith(end)), "")
    with tarfile.open(**given, mode=f"w:{packed}") as archive:
        for name, content in members:
            data = (
                content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
            )
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return file


def members(images, labels):
    """The members of a tar shard: ``0.png`` and ``0.cls`` with the name of the class, and so on."""
    return [
        each
        for n, (image, label) in enumerate(zip(images, labels, strict=True))
        for each in ((f"{n}.png", png(image)), (f"{n}.cls", label))
    ]


def write_parquet(file, images, labels, names=None, **more):
    """A Parquet file with the columns image and label: texts, or numbers of the type ClassLabel if there are ``names``."""
    import datasets

    datasets.disable_progress_bars()
    label = datasets.Value("string") if names is None else datasets.ClassLabel(names=list(names))
    kinds = {"image": datasets.Image(), "label": label, **{key: datasets.Value("string") for key in more}}
    stored = [{"bytes": png(image), "path": None} for image in images]
    table = datasets.Dataset.from_dict({"image": stored, "label": list(labels), **more}, features=datasets.Features(kinds))
    table.to_parquet(str(file))
    return file


def read(shard):
    """The class and the first value of each image."""
    return [(label, int(np.asarray(to_rgb(image))[0, 0, 0])) for image, label in shard]
