"""Arrays in and out: kinds, types, and copies that are not made."""

import numpy as np
import pytest

import sluice

from conftest import bf16, make_problem


def test_a_tag_says_what_the_elements_are():
    bits = np.array([[0x3F80, 0xC000], [0x7F80, 0x0001]], np.uint16)
    tensor = sluice.Tensor(bits, "BF16")
    assert (tensor.dtype, tensor.shape, tensor.device) == ("BF16", (2, 2), "cpu")
    np.testing.assert_array_equal(tensor.numpy(),
                                  np.float32([[1, -2], [np.inf, 2.0**-133]]))
    assert tensor.array is bits
    bits[0, 0] = 0x4040
    assert tensor.numpy()[0, 0] == 3.0  # a view, no copy
    with pytest.raises(sluice.Error, match="16-bit.*F32"):
        sluice.Tensor(bits, "F32")
    with pytest.raises(sluice.Error, match="BF61"):
        sluice.Tensor(bits, "BF61")


def test_rounding_is_to_nearest_even():
    values = np.float32([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -(1 + 3 * 2**-8)])
    np.testing.assert_array_equal(
        sluice.Tensor.from_float32(values).numpy(),
        np.float32([1, 1 + 2**-6, 1 + 2**-7, -(1 + 2**-6)]))
    tensor = sluice.Tensor(values)
    np.testing.assert_array_equal(sluice.Tensor.from_float32(tensor, "F32").numpy(), values)


def test_read_only_stays_read_only():
    array = np.arange(6, dtype=np.float32)
    array.flags.writeable = False
    tensor = sluice.Tensor(array)
    assert not tensor.bits().flags.writeable
    with pytest.raises(sluice.Error, match="writable"):
        sluice.Tensor(array, None, writable=True)


@pytest.mark.parametrize("dtype, message", [
    (">f4", r"the ndarray's dtype is >f4, in the byte order of other machines; .*newbyteorder"),
    (">i8", "the ndarray's dtype is >i8, in the byte order"),
    (object, r"the ndarray's dtype is object, .*array.astype\(\"float32\"\)"),
    ("U3", "the ndarray's dtype is <U3, which nothing here reads"),
    ("M8[s]", r"dtype is datetime64\[s\]"),
    ("c8", "dtype is complex64"),
    (np.longdouble, "the ndarray's dtype is (float128|float96|float64)"),
])
def test_a_dtype_that_cannot_be_read_is_named(problem, dtype, message):
    array = np.zeros((7, 64), dtype)
    if array.dtype == np.float64:
        pytest.skip("a long double is a double here")
    for read in (sluice.Tensor, lambda a: sluice.Tensor(a, None, writable=True)):
        with pytest.raises(sluice.Error, match=message) as raised:
            read(array)
        assert raised.value.kind == "user"
    layer = sluice.layer(problem.spec, problem.weights, "reference")
    with pytest.raises(sluice.Error, match="^hidden_states: .*" + message):
        layer(array, problem.logits)
    with pytest.raises(sluice.Error, match="^down_proj: .*" + message):
        sluice.layer(problem.spec, {**problem.weights, "down_proj": array})


def test_what_is_no_array_is_said(problem):
    for thing, name in ((3, "int"), ([[1.0]], "list"), (None, "NoneType")):
        with pytest.raises(sluice.Error, match=f"{name} is not an array; give a NumPy array"):
            sluice.Tensor(thing)

    class Shy:
        def __dlpack__(self, **options):
            raise BufferError("not in front of everybody")

        def __dlpack_device__(self):
            return (1, 0)

    with pytest.raises(sluice.Error, match=r"Shy is not an array \(not in front of everybody\)"):
        sluice.Tensor(Shy())


def test_strided_inputs_are_read_right(problem):
    layer = sluice.layer(problem.spec, problem.weights, "reference")
    plain = layer(problem.hidden, problem.logits)
    wide = np.zeros((problem.hidden.shape[0], 2 * problem.hidden.shape[1]), np.float32)
    wide[:, ::2] = problem.hidden
    np.testing.assert_array_equal(layer(wide[:, ::2], problem.logits), plain)
    np.testing.assert_array_equal(layer(problem.hidden, np.asfortranarray(problem.logits)), plain)
    turned = {**problem.weights,
              "down_proj": np.asfortranarray(problem.weights["down_proj"])}
    np.testing.assert_array_equal(
        sluice.layer(problem.spec, turned, "reference")(problem.hidden, problem.logits), plain)


def test_torch_in_torch_out_with_the_same_bits(problem, torch):
    layer = sluice.layer(problem.spec, problem.weights, "reference")
    hidden = torch.from_numpy(problem.hidden).bfloat16()
    out = layer.forward(hidden, torch.from_numpy(problem.logits))
    assert out.output.dtype == torch.bfloat16 and out.topk_ids.dtype == torch.int32
    tagged = sluice.Tensor(hidden.view(torch.int16).numpy().view(np.uint16), "BF16")
    same = layer.forward(tagged, problem.logits)
    assert isinstance(same.output, sluice.Tensor) and same.output.dtype == "BF16"
    np.testing.assert_array_equal(same.output.numpy(), out.output.float().numpy())
    np.testing.assert_array_equal(same.topk_weights, out.topk_weights.numpy())
    # Weights of requires_grad parameters, transposed, in bfloat16: as engines hold them.
    parameters = {name: torch.nn.Parameter(torch.from_numpy(array)) for name, array in
                  problem.weights.items()}
    parameters["gate_up_proj"] = parameters["gate_up_proj"].bfloat16().mT.contiguous().mT
    assert torch.equal(sluice.layer(problem.spec, parameters, "reference")(
        hidden, torch.from_numpy(problem.logits)), out.output)


def test_ml_dtypes_in_ml_dtypes_out(problem):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    layer = sluice.layer(problem.spec, problem.weights, "reference")
    out = layer(problem.hidden.astype(ml_dtypes.bfloat16), problem.logits)
    assert out.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(out.astype(np.float32),
                                  bf16(layer(problem.hidden, problem.logits)))


def test_fp8_weights_by_tag_and_by_torch(torch):
    draw = np.random.default_rng(3)
    spec = sluice.MoeSpec(num_experts=4, top_k=2, hidden_size=32, intermediate_size=32,
                          weight_format="fp8_e4m3_tensor")
    def fp8(*shape):
        return torch.from_numpy(draw.standard_normal(shape).astype(np.float32)).to(
            torch.float8_e4m3fn)
    w1, w2 = fp8(4, 64, 32), fp8(4, 32, 32)
    scales = {"gate_up_scale": np.float32([[.5], [.25], [2], [1]]),
              "down_scale": np.float32([[1], [2], [3], [4]])}
    hidden, logits = bf16(draw.standard_normal((3, 32))), draw.standard_normal((3, 4)).astype("f4")
    one = sluice.layer(spec, {"gate_up_proj": w1, "down_proj": w2, **scales}, "reference")
    tag = lambda t: sluice.Tensor(t.view(torch.uint8).numpy(), "F8_E4M3")
    two = sluice.layer(spec, {"gate_up_proj": tag(w1), "down_proj": tag(w2), **scales},
                       "reference")
    np.testing.assert_array_equal(one(hidden, logits), two(hidden, logits))
    assert np.abs(one(hidden, logits)).max() > 0


def test_torchs_other_8_bit_floats_are_not_taken_for_bytes(torch):
    with pytest.raises(sluice.Error, match="down_proj: the Tensor's dtype is torch.float8_e4m3fnuz"):
        sluice.layer(make_problem().spec, {"down_proj": torch.zeros(2, dtype=torch.float8_e4m3fnuz)})
