"""Sequential fine-tuning: the adapters trained 10 epochs on each task; no preservation, no head."""

from mgclip.method.baselines.method import Method

METHOD = Method(
    about="adapters, 10 epochs on each task, nothing held back",
    source="the plain way",
    changes={"epochs": 10, "branches": "text"},
)
