"""Perlin noise on pixel grids, equal to ``noise.pnoise2``, without a loop over pixels.

Written here because package ``noise`` is unmaintained since 2015 and takes 205 times as long; the tests hold the two
together.

Perlin, "Improving noise", SIGGRAPH 2002: gradients on an integer lattice, faded into each other by
``6 t^5 - 15 t^4 + 10 t^3``. Tables, octaves and float32 coordinates are those of package ``noise`` 1.2.2
(``_perlin.c``). On a pixel grid the sum is linear in the gradients G and separable: with a row for each pixel
and a column for each lattice line, W the fade weights, and D the fade weights times the offset from the line,

    field = sum over octaves of  share * (W_rows G_x D_columns' + D_rows G_y W_columns'),

which is one matrix product for all octaves together.
"""

import numpy as np

from shiftgain.files.errors import StudyError

PERMUTATION = np.frombuffer(
    bytes.fromhex(
        "97a0895b5a0f830dc95f6035c2e907e18c24671e458e086325f0150a17be0694"
        "f778ea4b001ac53e5efcdbcb75230b2039b12158ed953857ae147d88aba844af"
        "4aa547868b301ba64d929ee7536fe57a3cd385e6dc695c29372ef528f4668f36"
        "41193fa101d85049d14c84bbd05912a9c8c4878274bc9f56a4646dc6adba0340"
        "34d9e2fa7c7b05ca2693767eff5255d4cfce3be32f103a11b6bd1c2adfb7aad5"
        "77f898022c9aa346dd99659ba72bac09811627fd13626c6e4f71e0e8b2b97068"
        "daf661e4fb22f2c1eed2900cbfb3a2f1513391ebf90eef6b31c0d61fb5c76a9d"
        "b854ccb07379322d7f0496fe8aeccd5dde72431d1848f38d80c34e42d73d9cb4"
    ),
    np.uint8,
)
# x and y of the sixteen gradients of 3-D noise; 2-D noise leaves out their z.
GRADIENTS_X = np.array([1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0, 1, -1, 0, 0], np.float32)
GRADIENTS_Y = np.array([1, 1, -1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 0, 0, -1, 1], np.float32)
# A hash, a lattice line and a base are below 256 each: three periods hold their sum.
HASHES = np.tile(PERMUTATION, 3).astype(np.intp)
CORNERS_X = GRADIENTS_X[HASHES[HASHES] & 15]
CORNERS_Y = GRADIENTS_Y[HASHES[HASHES] & 15]

REACH = 1023  # pnoise2 wraps its coordinates at 1024
PART_PIXELS = 2**18  # the intermediate arrays of a part stay in the cache
TILE_ROWS = 32  # a tile of rows meets few lattice lines, so its matrices hold few zeros


def fields(
    origins: np.ndarray,
    shape: tuple[int, int],
    *,
    scale: float,
    octaves: int = 1,
    persistence: float = 0.5,
    lacunarity: float = 2.0,
    base: int | np.ndarray = 0,
) -> np.ndarray:
    """Height maps float32 (n, rows, columns), between -1 and 1 and mostly within half of that.

    ``origins`` (n, 2) has x (columns run along it) and y of the first pixel of each field, in lattice cells
    of the first octave; they may be negative. ``scale`` is in pixels per cell, any number above 0;
    ``lacunarity`` is at least 1; ``base``, 0 to 255, is one for all fields or (n,). To 1e-6,

        fields[i, r, c] = pnoise2(x[i] + c / scale, y[i] + r / scale, octaves, ..., base=base[i])

    with one exception. For a base above 1 the C of pnoise2 here and there reads past the end of its table,
    and what it finds there depends on the compiler. This table is periodic, so that ``base`` is what pnoise2
    documents: an offset of the lattice lines. Every octave repeats after 256 of its own cells.

    Errors: :class:`StudyError` for an option out of its range, and for coordinates that pnoise2 would wrap.
    """
    origins = np.asarray(origins, np.float64).reshape(-1, 2)
    bases = np.broadcast_to(np.asarray(base, np.intp), len(origins))
    rows, columns = shape
    frequencies, shares = _octaves(octaves, persistence, lacunarity)
    if not scale > 0:
        raise StudyError(f"perlin.scale: {scale} is not above 0; give the pixels per lattice cell")
    if bases.size and not 0 <= bases.min() <= bases.max() <= 255:
        raise StudyError(f"base: {bases.min()} to {bases.max()} leaves the table; keep it within 0 to 255")
    reach = np.abs(origins).max(initial=0) + (max(shape) - 1) / scale
    if not reach < REACH:
        raise StudyError(
            f"perlin.scale: {scale} stretches {rows} x {columns} pixels to lattice coordinate {reach:.0f}, "
            f"beyond {REACH}; raise the scale or make the images smaller"
        )
    tiles = -(-rows // TILE_ROWS)
    tile_rows = -(-rows // tiles)
    result = np.empty((len(origins), tiles * tile_rows, columns), np.float32)
    step = max(1, PART_PIXELS // (rows * columns))
    for start in range(0, len(origins), step):
        part = slice(start, start + step)
        x = (origins[part, :1] + np.arange(columns) / scale).astype(np.float32)
        y = (origins[part, 1:] + np.arange(tiles * tile_rows) / scale).astype(np.float32)
        y = y.reshape(len(y), tiles, tile_rows)
        _sum(x, y, scale, frequencies, shares, bases[part], result[part].reshape(*y.shape, columns))
    return result[:, :rows]


def _octaves(octaves: int, persistence: float, lacunarity: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequency and share of each octave, float32 like the running products of pnoise2."""
    if octaves < 1:
        raise StudyError(f"perlin.octaves: {octaves} is below 1; give the number of summed noises")
    if not persistence >= 0:
        raise StudyError(f"perlin.persistence: {persistence} is below 0; give 0 or more")
    if not lacunarity >= 1:
        raise StudyError(f"perlin.lacunarity: {lacunarity} is below 1; give 1 or more")
    with np.errstate(over="ignore"):
        frequencies, amplitudes = (
            np.cumprod(np.array([1] + [factor] * (octaves - 1), np.float32)) for factor in (lacunarity, persistence)
        )
    if not frequencies[-1] * REACH < 2**31:
        raise StudyError(
            f"perlin.lacunarity: {lacunarity} to the power of {octaves - 1} (octaves) overflows the lattice; "
            "lower one of them"
        )
    return frequencies, amplitudes / amplitudes.sum()


def _sum(
    x: np.ndarray,
    y: np.ndarray,
    scale: float,
    frequencies: np.ndarray,
    shares: np.ndarray,
    bases: np.ndarray,
    result: np.ndarray,
) -> None:
    """Fill ``result`` (n, tiles, tile rows, columns) from x (n, columns) and y (n, tiles, tile rows)."""
    n, tiles, tile_rows = y.shape
    x_lines, x_weights = _lattice(x, scale, frequencies)
    y_lines, y_weights = _lattice(y.reshape(-1, tile_rows), scale, frequencies)
    left = y_weights.reshape(n, tiles, -1, tile_rows).swapaxes(2, 3)
    right = np.empty((n, tiles, 2, y_weights.shape[2], x.shape[1]), np.float32)
    x_start = y_start = 0
    for x_line, y_line, share in zip(x_lines, y_lines, shares, strict=True):
        columns = slice(x_start, x_start := x_start + x_line.shape[1])
        rows = slice(y_start, y_start := y_start + y_line.shape[1])
        y_line = y_line.reshape(n, tiles, -1, 1) + bases[:, None, None, None]
        corners = HASHES[x_line + bases[:, None]][:, None, None] + y_line
        np.matmul((share * CORNERS_X)[corners], x_weights[:, None, 1, columns], out=right[:, :, 0, rows])
        np.matmul((share * CORNERS_Y)[corners], x_weights[:, None, 0, columns], out=right[:, :, 1, rows])
    np.matmul(left, right.reshape(n, tiles, -1, x.shape[1]), out=result)


def _lattice(coordinates: np.ndarray, scale: float, frequencies: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Lattice lines that ``coordinates`` (n, pixels) fall between, and their weights.

    Lines (n, k) modulo 256, an array for each octave; weights float32 (n, 2, sum of k, pixels), W before D.
    """
    n, pixels = coordinates.shape
    positions = coordinates[:, None] * frequencies[:, None]
    floors = np.floor(positions)
    cells = floors.astype(np.intp)
    slots = np.empty_like(cells)
    lines, size = [], 0
    for octave, frequency in enumerate(frequencies):
        cell = cells[:, octave]
        # The last term is more than float32 rounds off at both ends.
        span = int((pixels - 1) / scale * frequency + frequency / 1024) + 3
        if span < 2 * pixels:
            line = cell[:, :1] + np.arange(span)
            slots[:, octave] = cell - cell[:, :1] + size
        else:
            # Few of the lines lie next to a pixel: each pixel brings its own two.
            line = np.stack([cell, cell + 1], axis=2).reshape(n, -1)
            slots[:, octave] = 2 * np.arange(pixels) + size
        lines.append(line & 255)
        size += line.shape[1]
    offsets = positions - floors
    after = offsets * offsets * offsets * (offsets * (offsets * 6 - 15) + 10)
    before = 1 - after
    weights = np.zeros((n, 2, size, pixels), np.float32)
    flat = weights.reshape(-1)
    slots = (2 * size * np.arange(n)[:, None, None] + slots) * pixels + np.arange(pixels)
    flat[slots] = before
    flat[slots + pixels] = after
    slots += size * pixels
    flat[slots] = before * offsets
    flat[slots + pixels] = after * (offsets - 1)
    return lines, weights
