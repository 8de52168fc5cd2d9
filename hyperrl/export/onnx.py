"""Policies as ONNX files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hyperrl.envs import InputError
from hyperrl.export.plain import Act, plain
from hyperrl.play.policy import VariantPolicy


def libraries() -> tuple[Any, Any]:
    """The modules onnx and onnxruntime.

    Raises:
        InputError: they are not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"format 'onnx': what writes and checks it is not installed ({error.name}); pip install 'hyperrl[export]'"
        ) from None
    return onnx, onnxruntime


def write(policy: VariantPolicy, path: Path) -> None:
    """Write the deterministic policy, the normaliser included."""
    onnx, _ = libraries()
    found = plain(policy)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, tensor: Any) -> str:
        constants.append(onnx.numpy_helper.from_array(np.asarray(tensor), name))
        return name

    def apply(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(operator, inputs, [f"x{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def activate(x: str) -> str:
        if found.activation == "silu":
            return apply("Mul", x, apply("Sigmoid", x))
        return apply({"tanh": "Tanh", "relu": "Relu", "elu": "Elu"}[found.activation], x)

    x = apply("Mul", apply("Sub", "obs", constant("mean", found.mean_O)), constant("scale", found.scale_O))
    ends = [constant(name, np.float32(end)) for name, end in (("least", -found.limit), ("most", found.limit))]
    x = apply("Clip", x, *ends)
    for i in range(0, len(found.policy), 2):
        x = activate(x) if i else x
        weight, bias = constant(f"weight{i // 2}", found.policy[i]), constant(f"bias{i // 2}", found.policy[i + 1])
        x = apply("Gemm", x, weight, bias, transB=1)
    if found.low_A is None or found.high_A is None:
        kind, shape = onnx.TensorProto.INT64, []
        x = apply("ArgMax", x, axis=1, keepdims=0)
        if found.start:
            apply("Add", x, constant("start", np.int64(found.start)))
    else:
        kind, shape = onnx.helper.np_dtype_to_tensor_dtype(found.dtype), [len(found.low_A)]
        if found.dtype != np.float32:
            x = apply("Cast", x, to=onnx.TensorProto.DOUBLE)
        x = apply("Min", apply("Max", x, constant("low", found.low_A)), constant("high", found.high_A))
        if np.issubdtype(found.dtype, np.integer):
            x = apply("Round", x)
        if found.dtype not in (np.float32, np.float64):
            apply("Cast", x, to=kind)
    nodes[-1].output[0] = "action"
    obs = onnx.helper.make_tensor_value_info("obs", onnx.TensorProto.FLOAT, ["N", len(found.mean_O)])
    action = onnx.helper.make_tensor_value_info("action", kind, ["N", *shape])
    graph = onnx.helper.make_graph(nodes, "policy", [obs], [action], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.helper.set_model_props(model, {"family": policy.family.name, "variant": json.dumps(policy.parameters)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def load(path: Path) -> Act:
    """Load a file as its user does."""
    _, onnxruntime = libraries()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda obs_NO: session.run(["action"], {"obs": obs_NO})[0]
