"""A setting of MG-CLIP: adapters are trained until the modality gap has changed by 20 % instead of 10 %."""

from mgclip import Method

METHOD = Method(about="MG-CLIP with a limit of 20 %", source="an example", changes={"alpha": 0.2})
