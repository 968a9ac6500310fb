"""The contender OpenVINO: openvino_worker.py THREADS CACHE

The same torch modules, converted; precision by the hint f32 or bf16; int8 by nncf's post-training quantisation (a
single product: by hand, as nncf would). What was converted is kept in the folder CACHE."""
import gc
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from worker import ACTIVATIONS, Absent, numbers, serve

threads, folder = int(sys.argv[1]), Path(sys.argv[2])
core = ov.Core()
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def product(dtype, m, k, n):
    x = ops.parameter([m, k], np.float32)
    w = numbers(n, k)
    if dtype != "int8":
        return ov.Model([ops.matmul(x, ops.constant(w), False, True)], [x])
    scale = np.abs(w).max(1, keepdims=True) / 127
    rows = ops.multiply(ops.convert(ops.constant(np.rint(w / scale).astype(np.int8)), np.float32), ops.constant(scale))
    lo, hi = (ops.constant(np.float32(v)) for v in (-1.008, 1.0))
    return ov.Model([ops.matmul(ops.fake_quantize(x, lo, hi, lo, hi, 256), rows, False, True)], [x])


def converted(kind, sizes, inputs_path):
    import torch
    import torch_models
    with torch.no_grad():
        net, inputs = torch_models.build(kind, sizes)
        np.savez(inputs_path, *(x.numpy() for x in inputs))
        net = torch.jit.trace(net, inputs, check_trace=False)
        return ov.convert_model(net, example_input=inputs, input=[tuple(x.shape) for x in inputs])


def paths(kind, dtype, sizes):
    stem = folder / "_".join(map(str, [kind, *sizes]))
    return Path(f"{stem}_{dtype}.xml"), Path(f"{stem}_inputs.npz")


def inputs_of(kind, sizes):
    if kind == "gemm":
        return [numbers(sizes[0], sizes[1], scale=ACTIVATIONS)]
    return list(np.load(paths(kind, "", sizes)[1]).values())


def model_of(kind, dtype, sizes):
    if kind == "gemm":
        return product(dtype, *sizes)
    path, inputs_path = paths(kind, dtype.replace("bf16", "fp32"), sizes)
    if not path.exists():
        model = quantized(kind, sizes) if dtype == "int8" else converted(kind, sizes, inputs_path)
        part = path.with_name("part_" + path.name)
        ov.save_model(model, part, compress_to_fp16=False)
        part.with_suffix(".bin").rename(path.with_suffix(".bin"))
        part.rename(path)
        del model
        gc.collect()
    return core.read_model(path)


def quantized(kind, sizes):
    try:
        import nncf
    except ImportError:
        raise Absent("nncf is not installed") from None
    model = model_of(kind, "fp32", sizes)
    samples = [dict(enumerate(inputs_of(kind, sizes)))]
    return nncf.quantize(model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=1,
                         preset=nncf.QuantizationPreset.MIXED)


def make(kind, dtype, variant, sizes):
    if kind == "clear":
        gc.collect()
        return None
    settings = {"INFERENCE_PRECISION_HINT": HINTS[dtype], "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = core.compile_model(model_of(kind, dtype, sizes), "CPU", settings).create_infer_request()
    for port, x in zip(request.model_inputs, inputs_of(kind, sizes)):
        request.set_tensor(port, ov.Tensor(np.ascontiguousarray(x)))

    def output(_):
        return np.concatenate([o.data.astype(np.float32).ravel() for o in request.output_tensors])

    return request.infer, output


serve(f"OpenVINO {ov.get_version()}", make)
