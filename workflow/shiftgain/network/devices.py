"""Where the networks run."""

import torch

from shiftgain.files.errors import StudyError


def pick(name: str) -> torch.device:
    """The device for config key ``device``: ``auto`` takes a GPU where there is one.

    Also makes cuDNN deterministic and forbids it TF32, for the whole process.

    Errors: :class:`StudyError` when ``cuda`` is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise StudyError("config key device: 'cuda' is asked for, but torch sees no GPU; use auto or cpu")
    torch.backends.cudnn.deterministic = True
    # TF32 keeps ten bits of a mantissa: statistics would be off by a thousandth of a channel's deviation.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
