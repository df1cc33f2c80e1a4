"""Dense arrays on the wire: row-major, little-endian, length checked against shape before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unclip.api.type.v1 import tensor_pb2
from unclip.errors import InvalidRequest

DTYPES: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_BOOL: np.dtype("?"),
}
NUMBERS = {dtype: tensor_pb2.DataType.ValueType(number) for number, dtype in DTYPES.items()}
MAX_RANK = 8


def to_proto(array: npt.NDArray[Any]) -> tensor_pb2.Tensor:
    """The message for an array of float32, float16, uint8 or bool.

    Raises:
        TypeError: any other element type.
    """
    dtype = array.dtype.newbyteorder("<")
    if dtype not in NUMBERS:
        raise TypeError(f"a tensor holds float32, float16, uint8 or bool, not {array.dtype}")
    data = np.ascontiguousarray(array, dtype=dtype).tobytes()
    return tensor_pb2.Tensor(data_type=NUMBERS[dtype], shape=array.shape, data=data)


def from_proto(
    tensor: tensor_pb2.Tensor,
    field: str,
    *,
    dtype: npt.DTypeLike | None = None,
    shape: Sequence[int | None] | None = None,
) -> npt.NDArray[Any]:
    """The array in a message, as a read-only view of its bytes.

    dtype, shape: what is expected; None, or a None inside shape, takes any.

    Raises:
        InvalidRequest: element type, shape or length is not as expected, or a value is not finite.
    """
    found = DTYPES.get(tensor.data_type)
    if found is None:
        names = ", ".join(name for name, number in tensor_pb2.DataType.items() if number)
        raise InvalidRequest.of(f"{field}.data_type", f"must be one of {names}; got {tensor.data_type}")
    if dtype is not None and found != np.dtype(dtype):
        raise InvalidRequest.of(f"{field}.data_type", f"must be {np.dtype(dtype).name}; got {found.name}")
    sizes = list(tensor.shape)
    if len(sizes) > MAX_RANK or any(size < 1 for size in sizes):
        raise InvalidRequest.of(f"{field}.shape", f"must be at most {MAX_RANK} sizes of at least 1; got {sizes[:16]}")
    if shape is not None and (
        len(sizes) != len(shape)
        or any(want is not None and want != got for want, got in zip(shape, sizes, strict=True))
    ):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise InvalidRequest.of(f"{field}.shape", f"must be [{expected}]; got {sizes}")
    length = math.prod(sizes) * found.itemsize
    if length != len(tensor.data):
        raise InvalidRequest.of(f"{field}.data", f"must be {length} bytes for shape {sizes}; got {len(tensor.data)}")
    if found.kind == "b":
        raw = np.frombuffer(tensor.data, np.uint8)
        if raw.size and raw.max() > 1:
            raise InvalidRequest.of(f"{field}.data", f"must be 0 or 1 per element; got {raw.max()}")
    array = np.frombuffer(tensor.data, found).reshape(sizes)
    if found.kind == "f" and not np.isfinite(array).all():
        raise InvalidRequest.of(f"{field}.data", "must be finite; got NaN or infinity")
    return array
