"""Sequential fine-tuning: the adapters trained 10 epochs on each task; no preservation, no head."""

from mgclip.method.baselines.method import Method
from mgclip.method.baselines.variants import PLAIN

METHOD = Method(
    about="adapters, 10 epochs on each task, nothing held back",
    source="the plain way",
    changes={**PLAIN, "epochs": 10, "branches": "text"},
)
