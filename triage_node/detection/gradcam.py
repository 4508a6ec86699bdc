"""Grad-CAM of a network in ONNX, without gradients and without torch.

Where a head ends in global pooling and a linear layer, the gradient of a logit is the same at every place of the last feature
map (mean pooling), or sits at one place (maximum pooling). Averaged over the map, as Grad-CAM does, it is the linear layer's weight
over the number of places: Selvaraju et al., ICCV 2017, and exact. What is needed are the feature map and those weights.

The feature map becomes an output by appending it to the file: a protobuf message that is repeated is merged (protobuf encoding
guide, "Last One Wins": repeated fields are joined), so that a second `graph` which holds one output adds that output.
"""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import safetensors.numpy
from numpy.typing import NDArray

from triage_node.bundle.load import Bundle

Array = NDArray[np.float32]
FEATURES = rb"/beside_mask/[\x20-\x7e]{0,160}?/(?:Relu|relu)[\x20-\x7e]{0,24}?_output_0"
"""Names that the exporter gives to activations of the block before the pooling (networks/bloodnet.py, `beside_mask`)."""
WEIGHTS = "by_picture.1.weight"
HEADS = 2
"""The slice logit is the mean of two heads, of which this is one."""


class GradCam:
    """Heat of BloodNet's picture head. Raises LookupError when the bundle holds no network that is built so."""

    def __init__(self, bundle: Bundle) -> None:
        network = bundle.read(bundle.manifest.network)
        names = [m.group().decode() for m in re.finditer(FEATURES, network)]
        weights = next((n for n in bundle.manifest.files if n.endswith(".safetensors")), None)
        if not names or weights is None:
            raise LookupError("the bundle holds no network whose head pools a feature map that has a name")
        stored = safetensors.numpy.load(bundle.read(weights))
        if WEIGHTS not in stored:
            raise LookupError(f"the bundle's weights hold no {WEIGHTS}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._name = max(names, key=_depth)
        try:
            self._session = onnxruntime.InferenceSession(
                with_output(network, self._name), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has its own errors, one for each thing that a foreign graph may lack
            raise LookupError(f"the feature map cannot be read: {str(error)[:120]}") from error
        self._weights = stored[WEIGHTS].astype(np.float32)

    def features(self, pictures: Array) -> Array:
        """The map before the pooling. Shape: (n, channel, row, column) input -> (n, feature, row, column)."""
        (seen,) = self._session.run([self._name], {"picture": pictures})
        return np.asarray(seen, np.float32)

    def __call__(self, pictures: Array, output: int = 0) -> Array:
        """Grad-CAM of one slice logit: what speaks for it. Shape: (n, 4, GRID, GRID) -> (n, row, column), from 0."""
        return np.maximum(self.weighted(pictures, output), 0)

    def weighted(self, pictures: Array, output: int = 0) -> Array:
        """The same before what speaks against it is cut off."""
        return self.of_features(self.features(pictures), output)

    def of_features(self, seen: Array, output: int) -> Array:
        """As `weighted`, from feature maps that `features` gave: all outputs share them."""
        n = seen.shape[1]
        both = self._weights[output, :n] + self._weights[output, n : 2 * n]  # of the mean, of the maximum
        alpha = both / (seen.shape[2] * seen.shape[3]) / HEADS
        return np.asarray(np.einsum("k,nkij->nij", alpha, seen), np.float32)


def with_output(model: bytes, name: str) -> bytes:
    """An ONNX file with one of its inner values as a further output (ModelProto.graph = 7, GraphProto.output = 12)."""
    value = _field(1, name.encode())  # ValueInfoProto.name
    return model + _field(7, _field(12, value))


def _field(number: int, body: bytes) -> bytes:
    """One length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _depth(name: str) -> tuple[list[int], str]:
    """Later blocks have higher numbers in their names."""
    return [int(part) for part in re.findall(r"\d+", name.removesuffix("_output_0"))], name
