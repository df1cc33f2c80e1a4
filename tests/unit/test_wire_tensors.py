"""Arrays survive the wire bit by bit; what is not an array as announced is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unclip.api.type.v1 import tensor_pb2
from unclip.errors import InvalidRequest
from unclip.wire import tensors

FLOAT32 = tensor_pb2.DATA_TYPE_FLOAT32
ARRAYS = st.sampled_from([np.float32, np.float16, np.uint8, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=4, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else None,
    )
)


def refusal(message: tensor_pb2.Tensor, **expected: object) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        tensors.from_proto(message, "x", **expected)  # type: ignore[arg-type]
    [violation] = refused.value.violations
    return violation.field, violation.description


@given(ARRAYS)
def test_an_array_comes_back_as_it_went(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    message = tensor_pb2.Tensor.FromString(tensors.to_proto(array).SerializeToString())
    back = tensors.from_proto(message, "x")
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_an_array_in_any_memory_order_is_sent_row_by_row() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert tensors.to_proto(np.asfortranarray(array)).data == array.tobytes()
    assert tensors.to_proto(array.astype(">f4")).data == array.tobytes()


def test_an_element_type_without_a_number_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="float64"):
        tensors.to_proto(np.zeros(2))


@given(st.lists(st.integers(1, 2**62), min_size=1, max_size=6), st.binary(max_size=64))
def test_a_length_that_contradicts_the_shape_is_refused_before_anything_is_allocated(
    shape: list[int], data: bytes
) -> None:
    if math.prod(shape) * 4 == len(data):
        return
    field, description = refusal(tensor_pb2.Tensor(data_type=FLOAT32, shape=shape, data=data))
    assert field == "x.data"
    assert str(math.prod(shape) * 4) in description
    assert f"got {len(data)}" in description


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    assert refusal(tensors.to_proto(np.array([0, value], np.float32)))[0] == "x.data"


@pytest.mark.parametrize("shape", [[0], [-1, 2], [1] * 9])
def test_sizes_below_one_and_too_many_of_them_are_refused(shape: list[int]) -> None:
    assert refusal(tensor_pb2.Tensor(data_type=FLOAT32, shape=shape))[0] == "x.shape"


def test_an_unknown_element_type_is_refused() -> None:
    assert refusal(tensor_pb2.Tensor(shape=[1], data=b"0000"))[0] == "x.data_type"


def test_another_type_or_shape_than_expected_is_refused_with_both() -> None:
    message = tensors.to_proto(np.zeros((2, 3), np.float32))
    assert refusal(message, dtype=np.bool_) == ("x.data_type", "must be bool; got float32")
    assert refusal(message, shape=[None, 4]) == ("x.shape", "must be [any, 4]; got [2, 3]")
    assert tensors.from_proto(message, "x", shape=[2, None]).shape == (2, 3)


def test_a_bool_that_is_neither_0_nor_1_is_refused() -> None:
    message = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_BOOL, shape=[2], data=b"\1\2")
    assert refusal(message) == ("x.data", "must be 0 or 1 per element; got 2")
