"""What an ONNX file would run, read from its bytes before any library loads it.

ONNX is protocol buffers (onnx.proto3): a field is a key (number × 8 + wire type) and its value.  Only the few fields
that tell operators, domains and outside files are looked at, here without the ``onnx`` package, which a node does
without.
"""

from __future__ import annotations

from collections.abc import Iterator

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
DEEPEST_GRAPH = 4  # graphs within graphs
# message → field number: onnx.proto3 of IR version 10
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_OUTSIDE, _TENSOR_LOCATION = 13, 14
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

Field = tuple[int, int | bytes]


def operators(content: bytes) -> frozenset[str]:
    """Names of all operators of a model, those of graphs within it included.

    Raises ``ValueError``, with what is wrong, for bytes that are no such file, for operators that are not of the ONNX
    standard, for functions, sparse or outside tensors, and for graphs nested deeper than ``DEEPEST_GRAPH``.
    """
    fields = list(_fields(content))
    if any(number in (_MODEL_TRAINING, _MODEL_FUNCTIONS) for number, _ in fields):
        raise ValueError("it holds functions or training parts")
    for opset in _messages(fields, _MODEL_OPSET):
        _standard(_text(opset, 1))
    graphs = _messages(fields, _MODEL_GRAPH)
    if len(graphs) != 1:
        raise ValueError("it holds no graph")
    return frozenset(_of_graph(graphs[0], DEEPEST_GRAPH))


def _of_graph(content: bytes, depth: int) -> Iterator[str]:
    if not depth:
        raise ValueError("its graphs are nested too deep")
    fields = list(_fields(content))
    if _messages(fields, _GRAPH_SPARSE):
        raise ValueError("it holds sparse tensors")
    for tensor in _messages(fields, _GRAPH_TENSOR):
        _refuse_outside(tensor)
    for node in _messages(fields, _GRAPH_NODE):
        _standard(_text(node, _NODE_DOMAIN))
        yield _text(node, _NODE_OPERATOR)
        for attribute in _messages(_fields(node), _NODE_ATTRIBUTE):
            parts = list(_fields(attribute))
            for tensor in (*_messages(parts, _ATTRIBUTE_TENSOR), *_messages(parts, _ATTRIBUTE_TENSORS)):
                _refuse_outside(tensor)
            for graph in (*_messages(parts, _ATTRIBUTE_GRAPH), *_messages(parts, _ATTRIBUTE_GRAPHS)):
                yield from _of_graph(graph, depth - 1)


def _standard(domain: str) -> None:
    if domain not in STANDARD_DOMAINS:
        raise ValueError(f"it uses operators of '{domain[:40]}'")


def _refuse_outside(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_OUTSIDE or (number == _TENSOR_LOCATION and value != 0):
            raise ValueError("it reads tensors from another file")


def _text(message: bytes, wanted: int) -> str:
    """The last value of a text field, "" where there is none."""
    found = _messages(_fields(message), wanted)
    return found[-1].decode("utf-8", "replace") if found else ""


def _messages(fields: Iterator[Field] | list[Field], wanted: int) -> list[bytes]:
    return [value for number, value in fields if number == wanted and isinstance(value, bytes)]


def _fields(message: bytes) -> Iterator[Field]:
    """Number and value of each field; groups, long unused, are no part of ONNX."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("it is no ONNX file")
        if at + length > len(message):
            raise ValueError("it is no whole ONNX file")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no whole ONNX file")
