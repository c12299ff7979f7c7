"""Trees with arrays <-> JSON plus binary buffers; knows no torch and no widgets."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnwidget.errors import InputError, MessageError

PLACEHOLDER = "$array"
_DTYPES: dict[str, np.dtype[Any]] = {"u8": np.dtype("u1"), "i32": np.dtype("<i4"), "f32": np.dtype("<f4")}
_INT32 = np.iinfo(np.int32)
_MAX_DEPTH = 64


def encode(tree: Any) -> tuple[Any, list[bytes | memoryview]]:
    r"""Split a tree into what JSON can carry and the buffers of its arrays.

    Every array becomes ``{"$array": i, "dtype": "u8" | "i32" | "f32", "shape": [...]}`` and ``buffers[i]``,
    C-contiguous and little-endian. Booleans and uint8 travel as u8, other integers as i32, floats as f32. Dataclasses
    become objects, tuples lists, NumPy scalars numbers; a float that is not finite becomes ``None``.

    Parameters
    ----------
    tree : object
        Nested mappings, sequences and dataclasses of arrays, strings, numbers, booleans and None.

    Returns
    -------
    json_tree : object
        The same tree with placeholders, fit for ``json.dumps(..., allow_nan=False)``.
    buffers : list of bytes or memoryview
        One flat buffer of bytes per array, in the order of the placeholders' numbers.

    Raises
    ------
    InputError
        A value, key or dtype that cannot travel, or an integer beyond 32 bits.

    Examples
    --------
    >>> tree, buffers = encode({"codes": np.zeros((1, 2), np.uint8), "minimum": float("nan")})
    >>> tree
    {'codes': {'$array': 0, 'dtype': 'u8', 'shape': [1, 2]}, 'minimum': None}
    >>> bytes(buffers[0])
    b'\x00\x00'
    """
    buffers: list[bytes | memoryview] = []
    return _encode(tree, buffers, "", 0), buffers


def decode(json_tree: Any, buffers: Sequence[bytes | bytearray | memoryview]) -> Any:
    """Put the arrays back into a tree made by :func:`encode`.

    Parameters
    ----------
    json_tree : object
        What came out of JSON.
    buffers : sequence of bytes-like
        The binary buffers of the same message; each may start at any address.

    Returns
    -------
    object
        The tree with read-only arrays of dtype uint8, int32 or float32 in place of the placeholders.

    Raises
    ------
    MessageError
        A placeholder that names no buffer, an unknown dtype, or a shape that its buffer does not fill.

    Examples
    --------
    >>> decode(*encode([np.arange(3)]))
    [array([0, 1, 2], dtype=int32)]
    """
    return _decode(json_tree, buffers, 0)


def _encode(value: Any, buffers: list[bytes | memoryview], path: str, depth: int) -> Any:
    """One node; ``path`` is only for the error message."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return value if value is None else bool(value)
    if isinstance(value, str):
        # A lone surrogate cannot be written as UTF-8 and would break the whole message.
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, np.ndarray):
        return _encode_array(value, buffers, path)
    if depth >= _MAX_DEPTH:
        raise InputError(f"The message is nested too deeply at {path or 'its root'}.", remedy="Send a flatter tree.")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return _encode_mapping(value, buffers, path, depth)
    if isinstance(value, (list, tuple)):
        return [_encode(item, buffers, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise InputError(
        f"A {type(value).__name__} at {path or 'the root'} cannot be sent to the page.",
        remedy="Send arrays, numbers, strings, lists, tuples, dictionaries or dataclasses.",
    )


def _encode_mapping(value: Mapping[Any, Any], buffers: list[bytes | memoryview], path: str, depth: int) -> Any:
    """Objects have string keys, and none that looks like a placeholder."""
    tree = {}
    for key, item in value.items():
        if not isinstance(key, str) or key == PLACEHOLDER:
            raise InputError(
                f"{key!r} cannot be a key at {path or 'the root'}.", remedy=f"Use strings other than {PLACEHOLDER!r}."
            )
        tree[_encode(key, buffers, path, depth)] = _encode(item, buffers, f"{path}.{key}" if path else key, depth + 1)
    return tree


def _encode_array(value: npt.NDArray[Any], buffers: list[bytes | memoryview], path: str) -> dict[str, Any]:
    """Make a placeholder and append its bytes to ``buffers``."""
    name = _wire_dtype(value, path)
    data = np.ascontiguousarray(value, dtype=_DTYPES[name])
    # A memoryview without elements cannot be cast to bytes.
    buffers.append(data.reshape(-1).data.cast("B") if data.size else b"")
    return {PLACEHOLDER: len(buffers) - 1, "dtype": name, "shape": list(value.shape)}


def _wire_dtype(value: npt.NDArray[Any], path: str) -> str:
    """Which of the three carriers holds this array without loss of meaning."""
    kind = value.dtype.kind
    if kind == "b" or value.dtype == np.uint8:
        return "u8"
    if kind == "f":
        return "f32"
    if kind in "iu":
        if value.size and (int(value.min()) < _INT32.min or int(value.max()) > _INT32.max):
            raise InputError(f"The integers at {path or 'the root'} exceed 32 bits.", remedy="Send them as floats.")
        return "i32"
    raise InputError(
        f"An array of {value.dtype} at {path or 'the root'} cannot be sent to the page.",
        remedy="Send numbers or booleans.",
    )


def _decode(value: Any, buffers: Sequence[bytes | bytearray | memoryview], depth: int) -> Any:
    """One node of the way back."""
    if depth > _MAX_DEPTH:
        raise MessageError("The message is nested too deeply.")
    if isinstance(value, list):
        return [_decode(item, buffers, depth + 1) for item in value]
    if isinstance(value, dict):
        if PLACEHOLDER in value:
            return _decode_array(value, buffers)
        return {key: _decode(item, buffers, depth + 1) for key, item in value.items()}
    return value


def _decode_array(header: dict[str, Any], buffers: Sequence[bytes | bytearray | memoryview]) -> npt.NDArray[Any]:
    """Check a placeholder, which may be malformed or hostile, and make its array."""
    number, name, shape = header[PLACEHOLDER], header.get("dtype"), header.get("shape")
    if type(number) is not int or not 0 <= number < len(buffers):
        raise MessageError(f"The message names buffer {number!r} and has {len(buffers)}.")
    if not isinstance(name, str) or name not in _DTYPES:
        raise MessageError(f"The message has an array of unknown dtype {name!r}.")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise MessageError(f"The message has an array of impossible shape {shape!r}.")
    dtype = _DTYPES[name]
    data = memoryview(buffers[number])
    if math.prod(shape) * dtype.itemsize != data.nbytes:
        raise MessageError(f"An array of shape {shape} and dtype {name} does not fill its {data.nbytes} bytes.")
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    if sys.byteorder == "big":
        array = array.astype(dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


__all__ = ["PLACEHOLDER", "decode", "encode"]
