"""A model that keeps features, for tests."""

from mgclip import MGCLIP
from mgclip.saving.kept_features import KeptFeatures


def open_model(clip, folder=None, **settings):
    model = MGCLIP.from_pretrained(clip, settings={"epochs": 0, "encode_batch_size": 4, **settings})
    model.encoder.kept = None if folder is None else KeptFeatures(folder)
    return model


def features_of(model, images):
    return model.encoder.images(model.encoder.pixels(images))
