"""Record how torchvision's Resize and CenterCrop, the transform CLIP was published with, treat images of 300 sizes.

    PYTHONPATH=tests python scripts/record_crops.py tests/crops.json

This needs torchvision, which nothing else in this project needs. The test of clip/transform.py compares our transform with the
recording: the size after resizing, and the left and upper edge of the crop. Pixels are not recorded, because versions of Pillow
resize slightly differently.
"""

import json
import sys
from pathlib import Path

import torchvision  # type: ignore[import-not-found]
from crops import SIDE, image, place, sizes  # type: ignore[import-not-found]
from torchvision.transforms import CenterCrop, InterpolationMode, Resize  # type: ignore[import-not-found]


def main() -> None:
    resize, crop = Resize(SIDE, InterpolationMode.BICUBIC), CenterCrop(SIDE)
    rows = []
    for width, height in sizes():
        resized = resize(image(width, height)).size
        rows.append(json.dumps([[width, height], resized, place(crop(image(*resized)).getpixel((0, 0)))]))
    Path(sys.argv[1]).write_text("[\n" + ",\n".join(rows) + "\n]\n")
    print(len(rows), "sizes by torchvision", torchvision.__version__)


if __name__ == "__main__":
    main()
