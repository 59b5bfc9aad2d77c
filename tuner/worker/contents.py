"""The contents of a checkpoint's files: arrays and plain values, which no code of theirs reads, or else a pickle.

    <name>.npy      arrays one after another as `numpy.save` writes them; the first holds JSON, which says what they are
    <name>.pickle   what is no array, tensor or plain value, or holds one such; to read it runs code

`numpy.load(file, allow_pickle=False)`, called again and again, reads the first kind without tuner.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import math
import os
import pickle
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from tuner.errors import CheckpointError, format_error, kind_of, quoted

ARRAYS, PICKLE = ".npy", ".pickle"
PICKLES = "TUNER_PICKLES"
"""What becomes of a pickle in a study's folder: `load`, or `refuse`."""

_FORMAT = 1
_DEEPEST = 100
# From here on numbers of one class go into an array, which is written and read at once.
_MANY = 32
_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53
_LONGEST_DTYPE = 8_000  # characters: NumPy reads no header above 10,000


class NotPlain(Exception):
    """A value that only a pickle can keep; says where in the whole it stands, and what it is."""


def kept(name: str, value: Any) -> tuple[dict[str, bytes], str | None]:
    """A value as the file that keeps it, by the file's name, and what made a pickle of it; raises what `pickle` does.

    >>> list(kept("state", {"step": 3})[0]), kept("state", {"step": print})[1]
    (['state.npy'], "['step'], of class builtin_function_or_method")
    """
    try:
        return {f"{name}{ARRAYS}": encoded(value)}, None
    except NotPlain as found:
        return {f"{name}{PICKLE}": pickle.dumps(value, protocol=5)}, str(found)


def file_of(folder: Path, name: str) -> Path | None:
    """The file in a folder that keeps the value of this name; None where there is none."""
    return next((path for kind in (ARRAYS, PICKLE) if (path := folder / f"{name}{kind}").is_file()), None)


def read(path: Path) -> Any:
    """What a file of a verified checkpoint keeps; `CheckpointError` where it cannot be read here."""
    try:
        if path.suffix == PICKLE:
            return pickle.loads(bytes_to_unpickle(path))
        with path.open("rb") as file:
            return _Reader(file).value()
    except CheckpointError:
        raise
    except Exception as error:
        how = "unpickled" if path.suffix == PICKLE else "read"
        raise CheckpointError(
            f"checkpoint file {path} is whole but cannot be {how} here: {format_error(error)}. "
            "Use the packages and the code that saved it."
        ) from error


def bytes_to_unpickle(path: Path) -> bytes:
    """What a pickle holds; `CheckpointError` where whoever runs this has none read, `TUNER_PICKLES=refuse`."""
    check_pickle(path)
    return path.read_bytes()


def check_pickle(path: Path | str) -> None:
    """Raises `CheckpointError` where this pickle is not to be read."""
    match os.environ.get(PICKLES, ""):
        case "" | "load":
            return
        case "refuse":
            raise CheckpointError(
                f"{path} is a pickle, and to read one runs code: {PICKLES}=refuse says to read none. Unset it where "
                "you trust whoever wrote this folder."
            )
        case other:
            raise CheckpointError(f"{PICKLES}={quoted(other)}: write load, or refuse to read no pickle of a study.")


def encoded(value: Any) -> bytes:
    """A value of arrays, tensors and plain values as the bytes of a file; raises `NotPlain` for any other."""
    import numpy as np  # a tenth of a second that `tuner ls` need not wait for

    writer = _Writer()
    told = {"tuner": _FORMAT, "value": writer.told(value, "")}
    said = np.frombuffer(json.dumps(told).encode(), np.uint8)
    return b"".join(part for array in (said, *writer.arrays) for part in _written(array))


def _written(array: Any) -> tuple[Any, ...]:
    """What `numpy.save` writes of an array; the numbers as they lie in memory, so that they are copied once."""
    import numpy as np

    buffer = io.BytesIO()
    if array.dtype.kind in "biufc" and (array.flags.c_contiguous or array.flags.f_contiguous):
        np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
        return buffer.getvalue(), array.reshape(-1, order="A").view(np.uint8)
    version = (3, 0) if array.dtype.kind == "V" else None  # names of fields may be of any alphabet
    np.lib.format.write_array(buffer, array, version, allow_pickle=False)
    return (buffer.getvalue(),)


class _Writer:
    """Takes a value apart: what JSON says of it, and the arrays it speaks of."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self._seen: set[int] = set()
        self._numbers: dict[object, int] = {}

    def told(self, value: Any, where: str, depth: int = 0) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str or (kind is float and math.isfinite(value)):
            return value
        if kind is int:
            return value if -_EXACT <= value <= _EXACT else {"int": hex(value)}
        if kind is float or kind is complex:
            return {kind.__name__: str(value)}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode()} if len(value) < _MANY else self._bytes(value)
        module = getattr(kind, "__module__", "")
        if module == "numpy":
            return self._of_numpy(value, where)
        if kind.__name__ == "Tensor" and module == "torch":
            return self._tensor(value, where)
        if depth == _DEEPEST or id(value) in self._seen:
            raise NotPlain(f"{where or 'it'}, nested too deeply or held twice")
        if kind in (list, tuple):
            if kind is list:
                self._seen.add(id(value))
            numbers = self._numbers_of(value)
            inner: Any = numbers or [self.told(each, f"{where}[{n}]", depth + 1) for n, each in enumerate(value)]
            return inner if kind is list and numbers is None else {kind.__name__: inner}
        if kind in (set, frozenset):
            self._seen.add(id(value))
            return {kind.__name__: [self.told(each, f"{where}{{…}}", depth + 1) for each in value]}
        if kind in (dict, OrderedDict, Counter):
            return self._mapping(value, kind, where, depth)
        raise NotPlain(f"{where or 'it'}, of class {kind_of(value)}")

    def _mapping(self, value: Mapping[Any, Any], kind: type, where: str, depth: int) -> Any:
        self._seen.add(id(value))
        keys = f"a key of {where or 'it'}"
        pairs = [
            [self.told(key, keys, depth + 1), self.told(each, f"{where}[{quoted(key, 40)}]", depth + 1)]
            for key, each in value.items()
        ]
        told: dict[str, Any] = {kind.__name__: pairs}
        if attributes := vars(value) if kind is OrderedDict else {}:  # torch keeps the versions of layers there
            told["attributes"] = self.told(dict(attributes), f"{where}.", depth + 1)
        return told

    def _numbers_of(self, value: Iterable[Any]) -> dict[str, int] | None:
        """Many numbers of one class, as one array; None for anything else."""
        import numpy as np

        values = cast(Any, value)
        if len(values) < _MANY or (kind := type(values[0])) not in (int, float):
            return None
        if any(type(each) is not kind for each in values):
            return None
        if kind is int and not all(each in _INT64 for each in (min(values), max(values))):
            return None
        return {"numbers": self._add(np.array(values, dtype=np.int64 if kind is int else np.float64))}

    def _bytes(self, value: bytes) -> Any:
        import numpy as np

        return {"bytes": self._add(np.frombuffer(value, np.uint8))}

    def _of_numpy(self, value: Any, where: str) -> Any:
        import numpy as np

        plain = type(value) is np.ndarray or (isinstance(value, np.generic) and not isinstance(value, np.object_))
        if not plain or not _is_written(value.dtype):
            raise NotPlain(f"{where or 'it'}, of class {kind_of(value)} and dtype {getattr(value, 'dtype', '-')}")
        if isinstance(value, np.generic):
            return {"scalar": self._add(np.asarray(value))}
        if id(value) not in self._numbers:
            self._numbers[id(value)] = self._add(value)
        return {"array": self._numbers[id(value)]}

    def _tensor(self, tensor: Any, where: str) -> Any:
        torch: Any = sys.modules["torch"]
        odd = tensor.layout != torch.strided or tensor.is_quantized or tensor.is_conj() or tensor.is_neg()
        if odd or tensor.requires_grad or vars(tensor) or tensor.device.type == "meta":
            raise NotPlain(f"{where or 'it'}, a tensor that is no plain one")
        told = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), str(tensor.device)]
        place = (tensor.data_ptr(), tuple(tensor.stride()), *map(str, told))
        if tensor.numel() == 0 or place not in self._numbers:
            there = tensor.cpu().contiguous()
            try:
                array = there.numpy()
            except TypeError:  # a class of numbers that NumPy has not, such as bfloat16
                array = there.reshape(-1).view(torch.uint8).numpy()
            self._numbers[place] = self._add(array)
        return {"tensor": [self._numbers[place], *told]}

    def _add(self, array: Any) -> int:
        self.arrays.append(array)
        return len(self.arrays) - 1


def _is_written(dtype: Any) -> bool:
    """Whether NumPy writes arrays of such a dtype without a pickle, and reads back the same."""
    import numpy as np

    if dtype.kind in "biufcmMSU":
        return dtype.metadata is None
    if dtype.kind != "V" or dtype.hasobject or dtype.metadata is not None:
        return False
    told = np.lib.format.dtype_to_descr(dtype)
    return len(str(told)) < _LONGEST_DTYPE and np.lib.format.descr_to_dtype(told) == dtype


class _Reader:
    """Puts a value together again."""

    def __init__(self, file: Any) -> None:
        import numpy as np

        def following() -> Any:
            return np.lib.format.read_array(file, allow_pickle=False)

        told = json.loads(following().tobytes())
        if told["tuner"] != _FORMAT:
            raise ValueError(f"it has format {quoted(told['tuner'])}, this tuner reads {_FORMAT}")
        self._told = told["value"]
        self._arrays: list[Any] = []
        while file.read(1):
            file.seek(-1, io.SEEK_CUR)
            self._arrays.append(following())
        self._tensors: dict[int, Any] = {}

    def value(self) -> Any:
        return self._of(self._told)

    def _of(self, told: Any) -> Any:
        if isinstance(told, list):
            return [self._of(each) for each in told]
        if not isinstance(told, dict):
            return told
        kind, inner = next(iter(told.items()))
        match kind:
            case "int":
                return int(inner, 16)
            case "float" | "complex":
                return float(inner) if kind == "float" else complex(inner)
            case "bytes":
                return base64.b64decode(inner) if isinstance(inner, str) else self._arrays[inner].tobytes()
            case "array":
                return self._arrays[inner]
            case "scalar":
                return self._arrays[inner][()]
            case "tensor":
                return self._tensor(*inner)
            case "list" | "tuple" | "set" | "frozenset":
                values = self._arrays[inner["numbers"]].tolist() if isinstance(inner, dict) else map(self._of, inner)
                return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](values)
            case "dict" | "OrderedDict" | "Counter":
                pairs = {self._of(key): self._of(each) for key, each in inner}
                made = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}[kind](pairs)
                if "attributes" in told:
                    vars(made).update(self._of(told["attributes"]))
                return made
        raise ValueError(f"it speaks of a {quoted(kind)}, which this tuner does not know")

    def _tensor(self, number: int, dtype: str, shape: list[int], device: str) -> Any:
        if number not in self._tensors:
            torch: Any = importlib.import_module("torch")
            tensor = torch.from_numpy(self._arrays[number])
            wanted = getattr(torch, dtype)
            if tensor.dtype != wanted:
                tensor = tensor.view(wanted)
            self._tensors[number] = tensor.reshape(shape).to(_there_is(torch, device))
        return self._tensors[number]


def _there_is(torch: Any, device: str) -> str:
    """A device of this machine: the one that a tensor was on, or else the main memory."""
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) < torch.cuda.device_count():
        return device
    return device if kind == "mps" and torch.backends.mps.is_available() else "cpu"
