"""Random changes of training images that leave their masks true: turned, scaled, warped, and in other grey levels."""

import torch
from torch import Tensor
from torch.nn import functional

# Pixels between the points of the elastic displacement field.
LATTICE = 32


def augment(options: dict[str, float], images: Tensor, *masks: Tensor) -> tuple[Tensor, ...]:
    """Images (n, channels, H, W) in [0, 1] and their masks (n, 1, H, W) in {0, 1}, each changed by draws of its own.

    ``options``: config block ``train.augment``; what it leaves out, or sets to 0, is off. Numbers come from torch's
    generator of the CPU, whatever the device.
    """
    grid = _grid(images, options)
    if grid is not None:
        images, *masks = (  # type: ignore[assignment]
            functional.grid_sample(each, grid, padding_mode="reflection", align_corners=False)
            for each in (images, *masks)
        )
    contrast, brightness, noise = (options.get(name, 0) for name in ("contrast", "brightness", "noise"))
    if contrast:
        images = 0.5 + 2 ** (contrast * _draw(images)) * (images - 0.5)
    if brightness:
        images = images + brightness * _draw(images)
    if noise:
        images = images + noise * torch.randn(images.shape).to(images.device)
    return images.clamp(0, 1), *((mask > 0.5).float() for mask in masks)


def _grid(images: Tensor, options: dict[str, float]) -> Tensor | None:
    """Where each pixel is taken from, (n, H, W, 2), as grid_sample wants it; None where nothing moves."""
    scale, rotation, elastic = (options.get(name, 0) for name in ("scale", "rotation", "elastic"))
    if not scale and not rotation and not elastic:
        return None
    n, _, rows, columns = images.shape
    factor = 2 ** (scale * _draw(images).flatten())
    angle = torch.deg2rad(rotation * _draw(images).flatten())
    cosine, sine = factor * torch.cos(angle), factor * torch.sin(angle)
    aspect = rows / columns
    zero = torch.zeros_like(sine)
    matrix = torch.stack([cosine, -sine * aspect, zero, sine / aspect, cosine, zero], dim=1).view(n, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    if elastic:
        points = torch.randn(n, 2, -(-rows // LATTICE) + 1, -(-columns // LATTICE) + 1).to(images.device)
        field = functional.interpolate(points, (rows, columns), mode="bicubic", align_corners=True)
        pixel = torch.tensor([2 / columns, 2 / rows], device=images.device)
        grid = grid + elastic * pixel * field.movedim(1, -1)
    return grid


def _draw(images: Tensor) -> Tensor:
    """Uniform in [-1, 1], one number per image (n, 1, 1, 1)."""
    return (2 * torch.rand(len(images), 1, 1, 1) - 1).to(images.device)
