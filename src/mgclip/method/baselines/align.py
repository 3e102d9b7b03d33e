"""Fine-tuning that pulls each image to its class's text, 1 - <f(x), g(y)>, and so closes the modality gap (docs/method.md 3)."""

from mgclip.method.baselines.method import Method

METHOD = Method(
    about="fine-tuning with a direct alignment loss",
    source="the opposite movement of the gap, as the paper studies it",
    changes={"epochs": 10, "branches": "text", "adapter_loss": "align"},
)
