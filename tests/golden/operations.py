"""Embeddings and the equations of floor 2, in float64, from float32 inputs."""
import torch
import torch.nn.functional as F

from official_dit import attention, layer_norm, position_table, time_features
from store import Random, double, save

SEED = 5


def close(got, expected):
    """`expected` was computed elsewhere, to seven decimals."""
    assert torch.allclose(got, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=6e-8), (got, expected)


def embeddings():
    random = Random(SEED)
    t = torch.tensor([0, 1, 0.37, 37.25, 500, 999, 1000], dtype=torch.float32)
    features = {divisor: time_features(t, divisor) for divisor in (128, 127)}
    columns = [0, 1, 2, 127, 128, 129, 130, 255]
    for divisor, row, expected in (
            (128, 4, [-.8838493, .9459426, .8485145, .9985569, -.4677718, .3243341, -.5291721, .0537045]),
            (127, 4, [-.8838493, .9977724, .4993174, .9987503, -.4677718, .0667106, -.8664191, .0499792]),
            (128, 5, [.9996499, .9637825, -.3989918, .9942432, -.0264608, -.2666896, -.9169545, .1071472]),
            (127, 5, [.9996499, .6991956, -.9837293, .9950141, -.0264608, -.7149304, -.1796572, .0997339])):
        close(features[divisor][row, columns], expected)
    io = {"t": t, "time128": features[128], "time127": features[127]}

    where = torch.tensor([[0, 1], [1, 0], [2, 6], [3, 5]])
    wide = position_table(4, 7, 1152)[where[:, 0] * 7 + where[:, 1]]
    close(wide[3, [0, 1, 287, 288, 289, 575, 576, 577, 864, 1151]],
          [-.9589243, -.9915309, .0005162, .2836622, .1298712, .9999999, .1411200, .2338308, -.9899925, 1])
    tables = {"positions.d72.3x5": position_table(3, 5, 72), "positions.d72.5x3": position_table(5, 3, 72),
              "positions.d1152": wide}
    io |= {"positions.d1152.row_column": where}
    io |= {name: table.float() for name, table in tables.items()}
    io |= {name + ".64": table for name, table in tables.items()}

    table, y = random.tensor(11, 72), torch.tensor([0, 10, 3, 9, 10])
    io |= {"label.y": y, "label.out": table[y]}
    save("label_embedder", {"embedding_table.weight": table}, __file__, SEED)

    weights = random.weights({"mlp.0.weight": (24, 256), "mlp.0.bias": (24,),
                              "mlp.2.weight": (24, 24), "mlp.2.bias": (24,)})
    w = double(weights)
    for divisor, x in features.items():
        hidden = F.silu(x @ w["mlp.0.weight"].T + w["mlp.0.bias"])
        io[f"timestep{divisor}.out64"] = hidden @ w["mlp.2.weight"].T + w["mlp.2.bias"]
    save("timestep_embedder", weights, __file__, SEED)
    save("embeddings_io", io, __file__, SEED)


def rms_norm(x, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def activations(x):
    return {"gelu_tanh": F.gelu(x, approximate="tanh"), "gelu_erf": F.gelu(x), "silu": F.silu(x)}


def norms(x, gamma, beta):
    out = {}
    for name, eps in (("1e-6", 1e-6), ("1e-5", 1e-5)):
        normal = layer_norm(x, eps)
        out |= {f"layer_norm_{name}": normal, f"layer_norm_{name}.affine": normal * gamma + beta,
                f"rms_norm_{name}": rms_norm(x, eps) * gamma}
    return out


def operations():
    random, io = Random(SEED + 1), {}

    def record(prefix, inputs, *functions):
        """Each function takes the leading inputs it names, in double."""
        io.update({f"{prefix}.{k}": v for k, v in inputs.items()})
        values = [v.double() for v in inputs.values()]
        for f in functions:
            io.update({f"{prefix}.{k}": v for k, v in f(*values[:f.__code__.co_argcount]).items()})

    def softmax(x):
        return {"softmax": torch.softmax(x, -1)}

    def modulated(x, gamma, beta):
        return {"modulate": x * (1 + gamma) + beta}

    for width in (1, 7, 17, 72, 100):
        inputs = {"x": random.tensor(5, width), "gamma": random.tensor(width), "beta": random.tensor(width)}
        record(f"w{width}", inputs, activations, norms, softmax, modulated)
    one = {"gamma": random.tensor(72), "beta": random.tensor(72)}
    record("tiny", {"x": random.tensor(5, 72, scale=1e-3)} | one, norms)  # shows the eps
    record("offset", {"x": random.tensor(5, 72, offset=1000.0)} | one, norms)  # E[x^2] - E[x]^2 would not do
    edge = torch.tensor([1e-40, 1e-20, 1e-8, 1e-4, .01, .1, .5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 50, 88, 89, 104, 1e3,
                         1e15])
    record("extreme", {"x": torch.cat([edge, -edge, torch.zeros(1)])[None]}, activations)
    record("steep", {"x": torch.tensor([[1e3, 999, 998, 0, -1e3], [-1e4, -1e4, -1e4, -1e4, -1e4],
                                        [3e38, 0, 1, 2, -3e38], [88, 89, 90, -88, -104]])}, softmax)
    known = torch.tensor([-2, -.5, 1, 3], dtype=torch.float64)
    close(activations(known)["gelu_tanh"], [-.045402306, -.154285990, .841191991, 2.996362608])

    # One pool of numbers, of which every case takes the first it needs: q from 0, k from 2003, v from 4001.
    pool = random.tensor(4001 + 2 * 33 * 3 * 128)
    io["attention.pool"] = pool
    for d in (1, 17, 24, 64, 72, 80, 128):
        for nq, nkv in (1, 1), (17, 17), (17, 33):
            q, k, v = (pool[at:at + 2 * n * 3 * d].reshape(2, n, 3 * d).double()
                       for at, n in ((0, nq), (2003, nkv), (4001, nkv)))
            io[f"attention.d{d}.q{nq}.kv{nkv}"] = attention(q, k, v, 3).float()
    save("ops_io", io, __file__, SEED + 1)


def generate():
    embeddings()
    operations()
