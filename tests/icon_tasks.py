"""Some of the ten classes of the fixture ``icons``, as a task and as class folders."""

import numpy as np
from PIL import Image


def task(icons, classes):
    """Images, labels and names of these classes, as one task."""
    chosen = np.isin(icons["y_train"], classes)
    place = {c: i for i, c in enumerate(classes)}
    labels = [place[int(y)] for y in icons["y_train"][chosen]]
    return list(icons["x_train"][chosen]), labels, [str(icons["class_names"][c]) for c in classes]


def month_folders(icons, place, months, count):
    """Write the class folders of each month, each with ``count`` of the training drawings of its class."""
    for month, classes in months.items():
        for c in classes:
            folder = place / month / str(icons["class_names"][c])
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"{i}.png")
