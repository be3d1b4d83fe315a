"""The layers of RFDN as Triton kernels: what a layer's sums are made into is done before they leave the registers.

Maps are contiguous [N, H, W, channels] in 16 bits, channels padded with zeros to a power of two, at least 16, as
tensor cores take them; sums are float32. Weights are [inputs, outputs], those of a 3x3 convolution
[9, inputs, outputs], row by row; biases are float32. `M` is how many pixels a program takes at once.

A 3x3 convolution exists in two forms, with the same ends (`_step_end`, `_close_end`):

- strip: a program walks down a strip of the picture, M pixels wide. Each row is loaded at three shifts, which gives
  parts of three rows of the result, kept in registers until complete. All nine matrices stay in shared memory.
- taps: a program takes a tile, and loads its nine shifts and the nine matrices one after the other. For cards whose
  tensor cores do not read their matrices from shared memory, and those that have little of it.

Pixels are counted in 64 bits, or from a `start` that has them, for maps of more than 2^31 values.
"""

import triton
import triton.language as tl

# One compiled kernel for all sizes of pictures.
_sized = triton.jit(do_not_specialize=["height", "width", "rows", "columns", "total"])

# What both forms share


@triton.jit
def _leaky(x, SLOPE: tl.constexpr):
    return tl.where(x >= 0, x, x * SLOPE)


@triton.jit
def _matrix(at, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    return tl.load(at + tl.arange(0, INPUTS)[:, None] * OUTPUTS + tl.arange(0, OUTPUTS)[None, :])


@triton.jit
def _bias(at, OUTPUTS: tl.constexpr):
    return tl.load(at + tl.arange(0, OUTPUTS))[None, :]


@triton.jit
def _pixels(at, start, pixel, inside, CHANNELS: tl.constexpr):
    """[M, CHANNELS] of a map, zeros outside."""
    offsets = pixel[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    return tl.load(at + start * CHANNELS + offsets, mask=inside[:, None], other=0.0)


@triton.jit
def _store(at, start, pixel, inside, values, CHANNELS: tl.constexpr):
    offsets = pixel[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    tl.store(at + start * CHANNELS + offsets, values.to(at.dtype.element_ty), mask=inside[:, None])


@triton.jit
def _step_end(
    acc, b, y, add, start, pixel, inside, line, column, width,
    N: tl.constexpr, SLOPE: tl.constexpr, ADD: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    """Bias, activation, the addition of a map; where SCALE is not 0, PixelShuffle.

    That one writes [N, SCALE * H, SCALE * W, 4], of which three are used; `line` and `column` are the input pixel's.
    """
    acc += _bias(b, N)
    if SLOPE != 1:
        acc = _leaky(acc, SLOPE)
    if ADD:
        acc += _pixels(add, start, pixel, inside, N).to(tl.float32)
    if SCALE == 0:
        _store(y, start, pixel, inside, acc, N)
    else:
        j = tl.arange(0, N)[None, :]
        down = (line.to(tl.int64) * SCALE)[:, None] + j // (4 * SCALE)
        offsets = down * (width * (4 * SCALE)) + (column[:, None] * (4 * SCALE) + j % (4 * SCALE))
        tl.store(y + offsets, acc.to(y.dtype.element_ty), mask=inside[:, None] & (j < 4 * SCALE * SCALE))


@triton.jit
def _distil(centre, w, b, y, start, pixel, inside, D: tl.constexpr, SLOPE: tl.constexpr):
    """A 1x1 convolution of a 3x3 one's input, which is at hand."""
    _store(y, start, pixel, inside, _leaky(tl.dot(centre, w) + _bias(b, D), SLOPE), D)


@triton.jit
def _close_end(
    acc, b, d1, d2, d3, w5, b5, y, w1, b1, near, start, pixel, inside,
    D: tl.constexpr, C: tl.constexpr, I: tl.constexpr, SLOPE: tl.constexpr,
):  # fmt: skip
    """The last distilled part, the block's fusing convolution over all four, and ESA's first, where I is not 0."""
    d4 = _leaky(acc + _bias(b, D), SLOPE).to(y.dtype.element_ty)
    w5_1, w5_2, w5_3, w5_4 = w5
    fused = tl.dot(_pixels(d1, start, pixel, inside, D), w5_1)
    fused = tl.dot(_pixels(d2, start, pixel, inside, D), w5_2, fused)
    fused = tl.dot(_pixels(d3, start, pixel, inside, D), w5_3, fused)
    fused = (tl.dot(d4, w5_4, fused) + _bias(b5, C)).to(y.dtype.element_ty)
    _store(y, start, pixel, inside, fused, C)
    if I != 0:
        _store(near, start, pixel, inside, tl.dot(fused, w1) + _bias(b1, I), I)


@triton.jit
def _four(w, D: tl.constexpr, C: tl.constexpr):
    return _matrix(w, D, C), _matrix(w + D * C, D, C), _matrix(w + 2 * D * C, D, C), _matrix(w + 3 * D * C, D, C)


# 3x3, strip by strip


@triton.jit
def _strip(height, width, rows, M: tl.constexpr):
    """This program's picture, first row and the one behind its last, and columns."""
    strips, chunks = tl.cdiv(width, M), tl.cdiv(height, rows)
    program = tl.program_id(0)
    top = program // strips % chunks * rows
    column = program % strips * M + tl.arange(0, M)
    return program // (strips * chunks), top, tl.minimum(top + rows, height), column


@triton.jit
def _nine(w, K: tl.constexpr, N: tl.constexpr):
    a, b, c = _matrix(w, K, N), _matrix(w + K * N, K, N), _matrix(w + 2 * K * N, K, N)
    d, e, f = _matrix(w + 3 * K * N, K, N), _matrix(w + 4 * K * N, K, N), _matrix(w + 5 * K * N, K, N)
    g, h, i = _matrix(w + 6 * K * N, K, N), _matrix(w + 7 * K * N, K, N), _matrix(w + 8 * K * N, K, N)
    return a, b, c, d, e, f, g, h, i


@triton.jit
def _row(x, start, row, column, height, width, K: tl.constexpr):
    """A row of the strip at three shifts, zeros outside of the picture."""
    inside = (row >= 0) & (row < height)
    left = _pixels(x, start, column - 1, inside & (column >= 1) & (column <= width), K)
    right = _pixels(x, start, column + 1, inside & (column + 1 < width), K)
    return left, _pixels(x, start, column, inside & (column < width), K), right


@_sized
def step_strip(
    x, w, b, y, add, w_d, b_d, y_d, height, width, rows,
    K: tl.constexpr, N: tl.constexpr, D: tl.constexpr, SLOPE: tl.constexpr, ADD: tl.constexpr, SCALE: tl.constexpr,
    M: tl.constexpr, TURNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A 3x3 convolution and what follows it; and a 1x1 one of its input, where D is not 0. `rows` a program."""
    n, top, bottom, column = _strip(height, width, rows, M)
    w00, w01, w02, w10, w11, w12, w20, w21, w22 = _nine(w, K, N)
    if D != 0:
        w_distil = _matrix(w_d, K, D)
    above = tl.zeros((M, N), tl.float32)
    level = tl.zeros((M, N), tl.float32)
    for first in tl.range(top - 1, bottom + 1, TURNS, num_stages=STAGES):
        for turn in tl.static_range(TURNS):
            row = first + turn + tl.zeros((M,), tl.int32)  # a vector: the interpreter's scalars of bool are integers
            start = (n * height + first + turn).to(tl.int64) * width
            left, centre, right = _row(x, start, row, column, height, width, K)
            above = tl.dot(right, w22, tl.dot(centre, w21, tl.dot(left, w20, above)))
            level = tl.dot(right, w12, tl.dot(centre, w11, tl.dot(left, w10, level)))
            below = tl.dot(right, w02, tl.dot(centre, w01, tl.dot(left, w00)))
            inside = (column < width) & (row > top) & (row <= bottom)
            line = n * height + row - 1
            _step_end(above, b, y, add, start - width, column, inside, line, column, width, N, SLOPE, ADD, SCALE)
            if D != 0:
                inside = (column < width) & (row >= top) & (row < bottom)
                _distil(centre, w_distil, b_d, y_d, start, column, inside, D, SLOPE)
            above = level
            level = below


@_sized
def close_strip(
    x, w, b, d1, d2, d3, w5, b5, y, w1, b1, near, height, width, rows,
    K: tl.constexpr, D: tl.constexpr, I: tl.constexpr, SLOPE: tl.constexpr,
    M: tl.constexpr, TURNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The end of a block before its attention: a 3x3 convolution, the fusing one, and ESA's first."""
    n, top, bottom, column = _strip(height, width, rows, M)
    w00, w01, w02, w10, w11, w12, w20, w21, w22 = _nine(w, K, D)
    four, w_near = _four(w5, D, K), w1
    if I != 0:
        w_near = _matrix(w1, K, I)
    above = tl.zeros((M, D), tl.float32)
    level = tl.zeros((M, D), tl.float32)
    for first in tl.range(top - 1, bottom + 1, TURNS, num_stages=STAGES):
        for turn in tl.static_range(TURNS):
            row = first + turn + tl.zeros((M,), tl.int32)  # a vector: the interpreter's scalars of bool are integers
            start = (n * height + first + turn).to(tl.int64) * width
            left, centre, right = _row(x, start, row, column, height, width, K)
            above = tl.dot(right, w22, tl.dot(centre, w21, tl.dot(left, w20, above)))
            level = tl.dot(right, w12, tl.dot(centre, w11, tl.dot(left, w10, level)))
            below = tl.dot(right, w02, tl.dot(centre, w01, tl.dot(left, w00)))
            inside = (column < width) & (row > top) & (row <= bottom)
            _close_end(
                above, b, d1, d2, d3, four, b5, y, w_near, b1, near, start - width, column, inside,
                D, K, I, SLOPE,
            )  # fmt: skip
            above = level
            level = below


# 3x3, tap by tap


@triton.jit
def _tile(height, width, M: tl.constexpr, ACROSS: tl.constexpr):
    """This program's picture, and the row and the column of each of its pixels."""
    DOWN: tl.constexpr = M // ACROSS
    across, down = tl.cdiv(width, ACROSS), tl.cdiv(height, DOWN)
    program = tl.program_id(0)
    m = tl.arange(0, M)
    row = program // across % down * DOWN + m // ACROSS
    return program // (across * down), row, program % across * ACROSS + m % ACROSS


@triton.jit
def _taps(
    x, w, start, row, column, height, width,
    K: tl.constexpr, N: tl.constexpr, M: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The sums of a 3x3 convolution over a tile."""
    acc = tl.zeros((M, N), tl.float32)
    for tap in tl.range(9, num_stages=STAGES):
        r, c = row + tap // 3 - 1, column + tap % 3 - 1
        inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        acc = tl.dot(_pixels(x, start, r.to(tl.int64) * width + c, inside, K), _matrix(w + tap * K * N, K, N), acc)
    return acc


@_sized
def step_taps(
    x, w, b, y, add, w_d, b_d, y_d, height, width,
    K: tl.constexpr, N: tl.constexpr, D: tl.constexpr, SLOPE: tl.constexpr, ADD: tl.constexpr, SCALE: tl.constexpr,
    M: tl.constexpr, ACROSS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """As `step_strip`; tiles are ACROSS pixels wide."""
    n, row, column = _tile(height, width, M, ACROSS)
    start = (n * height).to(tl.int64) * width
    acc = _taps(x, w, start, row, column, height, width, K, N, M, STAGES)
    inside, pixel = (row < height) & (column < width), row.to(tl.int64) * width + column
    _step_end(acc, b, y, add, start, pixel, inside, n * height + row, column, width, N, SLOPE, ADD, SCALE)
    if D != 0:
        centre = _pixels(x, start, pixel, inside, K)
        _distil(centre, _matrix(w_d, K, D), b_d, y_d, start, pixel, inside, D, SLOPE)


@_sized
def close_taps(
    x, w, b, d1, d2, d3, w5, b5, y, w1, b1, near, height, width,
    K: tl.constexpr, D: tl.constexpr, I: tl.constexpr, SLOPE: tl.constexpr,
    M: tl.constexpr, ACROSS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """As `close_strip`."""
    n, row, column = _tile(height, width, M, ACROSS)
    start = (n * height).to(tl.int64) * width
    acc = _taps(x, w, start, row, column, height, width, K, D, M, STAGES)
    inside, pixel = (row < height) & (column < width), row.to(tl.int64) * width + column
    w_near = w1
    if I != 0:
        w_near = _matrix(w1, K, I)
    _close_end(
        acc, b, d1, d2, d3, _four(w5, D, K), b5, y, w_near, b1, near, start, pixel, inside,
        D, K, I, SLOPE,
    )  # fmt: skip


# The first convolution, and those of pixels alone


@_sized
def head(
    picture, w, b, y, height, width, to_n, to_c, to_h, to_w, total,
    N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """The first convolution, 3x3 over three channels of any strides, as one product of 27 inputs."""
    m = tl.arange(0, M)
    pixel = tl.program_id(0) * M + m
    column, line = (pixel % width)[:, None], pixel // width
    n, row = (line // height).to(tl.int64)[:, None], (line % height)[:, None]
    k = tl.arange(0, 32)[None, :]
    r, c = row + k // 9 - 1, column + k // 3 % 3 - 1
    inside = (pixel < total)[:, None] & (k < 27) & (r >= 0) & (r < height) & (c >= 0) & (c < width)
    samples = tl.load(picture + (n * to_n + k % 3 * to_c + r * to_h + c * to_w), mask=inside, other=0.0)
    acc = tl.dot(samples.to(y.dtype.element_ty), _matrix(w, 32, N)) + _bias(b, N)
    _store(y, tl.program_id(0).to(tl.int64) * M, m, pixel < total, acc, N)


@_sized
def fuse(maps, w, b, y, total, COUNT: tl.constexpr, C: tl.constexpr, SLOPE: tl.constexpr, M: tl.constexpr):
    """A 1x1 convolution over COUNT maps, [COUNT, total, C], and its activation."""
    m = tl.arange(0, M)
    start, inside = tl.program_id(0).to(tl.int64) * M, tl.program_id(0) * M + m < total
    acc = tl.zeros((M, C), tl.float32)
    for k in tl.static_range(COUNT):
        acc = tl.dot(_pixels(maps, start, m, inside, C), _matrix(w + k * C * C, C, C), acc)
        start += total
    _store(y, tl.program_id(0).to(tl.int64) * M, m, inside, _leaky(acc + _bias(b, C), SLOPE), C)


# ESA


@_sized
def small(
    x, w, b, y, height, width, rows, columns, total,
    I: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, RELU: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """A 3x3 convolution over the few channels of ESA: `height` x `width` to `rows` x `columns`, `total` pixels."""
    m = tl.arange(0, M)
    pixel = tl.program_id(0) * M + m
    column, line = pixel % columns * STRIDE - PADDING, pixel // columns
    n, row = line // rows, line % rows * STRIDE - PADDING
    acc = tl.zeros((M, I), tl.float32)
    for tap in tl.static_range(9):
        r, c = row + tap // 3, column + tap % 3
        inside = (pixel < total) & (r >= 0) & (r < height) & (c >= 0) & (c < width)
        at = (n * height + r).to(tl.int64) * width + c
        acc = tl.dot(_pixels(x, 0, at, inside, I), _matrix(w + tap * I * I, I, I), acc)
    acc += _bias(b, I)
    if RELU:
        acc = tl.maximum(acc, 0.0)
    _store(y, 0, pixel, pixel < total, acc, I)


@_sized
def pool(x, y, height, width, rows, columns, total, I: tl.constexpr, M: tl.constexpr):
    """The largest of each 7x7 pixels, every third pixel."""
    pixel = tl.program_id(0) * M + tl.arange(0, M)
    inside = pixel < total
    line = pixel // columns
    first = (line // rows * height + line % rows * 3) * width + pixel % columns * 3
    largest = tl.full((M, I), float("-inf"), tl.float32)
    for down in range(7):
        for across in tl.static_range(7):
            largest = tl.maximum(largest, _pixels(x, 0, first + down * width + across, inside, I).to(tl.float32))
    _store(y, 0, pixel, inside, largest, I)


@triton.jit
def _beside(at, length, ratio):
    """Bilinear, as torch does without aligned corners: the two lines beside `at`, and the second one's share."""
    source = tl.maximum((at.to(tl.float32) + 0.5) * ratio - 0.5, 0.0)
    first = tl.minimum(source.to(tl.int32), length - 1)
    return first, tl.minimum(first + 1, length - 1), (source - first)[:, None]


@_sized
def mask(
    x, far, w_x, w_far, b, y, add, height, width, rows, columns, down, across, total,
    C: tl.constexpr, I: tl.constexpr, ADD: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """ESA's end: x * sigmoid(x w_x + enlarged(far) w_far + b), and the addition of a map.

    `down` and `across` are what a step in x is in `far`, of `rows` x `columns`.
    """
    m = tl.arange(0, M)
    start, pixel = tl.program_id(0).to(tl.int64) * M, tl.program_id(0) * M + m
    inside, line = pixel < total, pixel // width
    upper, lower, v = _beside(line % height, rows, down)
    left, right, h = _beside(pixel % width, columns, across)
    first = line // height * rows
    upper, lower = (first + upper) * columns, (first + lower) * columns
    top = _pixels(far, 0, upper + left, inside, I) * (1 - h) + _pixels(far, 0, upper + right, inside, I) * h
    bottom = _pixels(far, 0, lower + left, inside, I) * (1 - h) + _pixels(far, 0, lower + right, inside, I) * h
    between = (top * (1 - v) + bottom * v).to(y.dtype.element_ty)
    values = _pixels(x, start, m, inside, C)
    acc = tl.dot(values, _matrix(w_x, C, C))
    acc = tl.dot(between, _matrix(w_far, I, C), acc) + _bias(b, C)
    acc = values.to(tl.float32) * tl.sigmoid(acc)
    if ADD:
        acc += _pixels(add, start, m, inside, C).to(tl.float32)
    _store(y, start, m, inside, acc, C)
