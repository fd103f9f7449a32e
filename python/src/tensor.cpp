#include "tensor.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <optional>
#include <vector>

#include "base/element.hpp"
#include "base/fail.hpp"
#include "bindings.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

std::optional<DType> dtype_of(const nb::dlpack::dtype& dtype) {
  using Code = nb::dlpack::dtype_code;
  struct Row {
    Code code;
    int bits;
    DType dtype;
  };
  static constexpr Row kRows[] = {{Code::Float, 64, DType::f64},
                                  {Code::Float, 32, DType::f32},
                                  {Code::Float, 16, DType::f16},
                                  {Code::Bfloat, 16, DType::bf16},
                                  {Code::Float8_E4M3FN, 8, DType::f8_e4m3},
                                  {Code::Float8_E5M2, 8, DType::f8_e5m2},
                                  {Code::Float8_E8M0FNU, 8, DType::f8_e8m0},
                                  {Code::Int, 64, DType::i64},
                                  {Code::Int, 32, DType::i32},
                                  {Code::Int, 16, DType::i16},
                                  {Code::Int, 8, DType::i8},
                                  {Code::UInt, 64, DType::u64},
                                  {Code::UInt, 32, DType::u32},
                                  {Code::UInt, 16, DType::u16},
                                  {Code::UInt, 8, DType::u8},
                                  {Code::Bool, 8, DType::boolean}};
  for (const Row& row : kRows) {
    if (static_cast<int>(row.code) == dtype.code && row.bits == dtype.bits && dtype.lanes == 1) {
      return row.dtype;
    }
  }
  return std::nullopt;
}

// The NumPy type that holds the raw elements: itself where NumPy has it, else unsigned integers.
nb::dlpack::dtype raw_dtype(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return nb::dtype<double>();
    case DType::f32:
      return nb::dtype<float>();
    case DType::f16:
      return {static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    case DType::i64:
      return nb::dtype<std::int64_t>();
    case DType::i32:
      return nb::dtype<std::int32_t>();
    case DType::i16:
      return nb::dtype<std::int16_t>();
    case DType::i8:
      return nb::dtype<std::int8_t>();
    case DType::u64:
      return nb::dtype<std::uint64_t>();
    case DType::u32:
      return nb::dtype<std::uint32_t>();
    case DType::bf16:
    case DType::u16:
      return nb::dtype<std::uint16_t>();
    default:
      return nb::dtype<std::uint8_t>();
  }
}

// An array whose elements are no numbers of this machine: says which they are, and what would do.
[[noreturn]] void refuse_dtype(const nb::object& array, const nb::object& dtype) {
  const std::string type = nb::type_name(array.type()).c_str();
  const std::string name = utf8(nb::str(dtype));
  if (nb::getattr(dtype, "isnative", nb::none()).is(nb::bool_(false))) {
    fail(ErrorKind::user,
         "the {}'s dtype is {}, in the byte order of other machines; give this one's: "
         "array.astype(array.dtype.newbyteorder(\"=\"))",
         type, name);
  }
  fail(ErrorKind::user,
       "the {}'s dtype is {}, which nothing here reads; give numbers, as in "
       "array.astype(\"float32\"), or bits and what they mean: sluice.Tensor(bits, \"BF16\")",
       type, name);
}

// What the producer of an array says against showing its memory; empty: nothing, or it is none.
std::string objection(const nb::object& array) {
  if (!nb::hasattr(array, "__dlpack__")) return {};
  try {
    array.attr("__dlpack__")();
    return {};
  } catch (const nb::python_error& raised) {
    return fmt::format(" ({})", message_of(raised));
  }
}

nb::ndarray<nb::ro> borrow(const nb::object& array, bool writable) {
  if (nb::ndarray<> full; writable && nb::try_cast(array, full)) return nb::ndarray<nb::ro>(full);
  nb::ndarray<nb::ro> readable;
  const bool is_array = nb::try_cast(array, readable);
  if (is_array && !writable) return readable;
  const nb::object dtype = nb::getattr(array, "dtype", nb::none());
  // NumPy's types have a kind; what others do not show may be for other reasons.
  if (!is_array && nb::hasattr(dtype, "kind")) refuse_dtype(array, dtype);
  fail(ErrorKind::user, "{} is not {}{}; give a NumPy array or a tensor with __dlpack__",
       nb::type_name(array.type()).c_str(), writable ? "a writable array" : "an array",
       is_array ? std::string() : objection(array));
}

void check_contiguous(const nb::ndarray<nb::ro>& array) {
  if (array.size() == 0) return;
  std::int64_t expected = 1;
  for (std::size_t axis = array.ndim(); axis-- > 0;) {
    const auto extent = static_cast<std::int64_t>(array.shape(axis));
    if (extent != 1 && array.stride(axis) != expected) {
      fail(ErrorKind::user, "the array's axis {} has stride {}, not {}; give a contiguous array",
           axis, array.stride(axis), expected);
    }
    expected *= extent;
  }
}

Device device_of(const nb::ndarray<nb::ro>& array) {
  switch (array.device_type()) {
    case nb::device::cpu::value:
      return {};
    case nb::device::cuda::value:
    case nb::device::cuda_managed::value:
      return {DeviceKind::cuda, array.device_id()};
    case nb::device::cuda_host::value:
      return {};
    default:
      fail(ErrorKind::user, "the array is on a device of DLPack's type {}; give one on cpu or cuda",
           array.device_type());
  }
}

nb::tuple shape_tuple(const Shape& shape) {
  nb::list extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.append(shape[axis]);
  return nb::tuple(extents);
}

void require_host(const TensorView& view) {
  if (view.device.kind == DeviceKind::cpu) return;
  fail(ErrorKind::user, "the tensor is on {}; bring it to the host first", to_string(view.device));
}

// A NumPy view of a tensor's memory, which stays alive with it; read-only as the tensor is.
nb::object raw_array(const nb::object& self) {
  const Tensor& tensor = nb::cast<const Tensor&>(self);
  const TensorView view = tensor.view();
  require_host(view);
  std::vector<std::size_t> shape;
  for (int axis = 0; axis < view.shape.rank(); ++axis) {
    shape.push_back(static_cast<std::size_t>(view.shape[axis]));
  }
  const nb::dlpack::dtype dtype = raw_dtype(view.dtype);
  if (!tensor.writable()) {
    using ReadOnly = nb::ndarray<nb::numpy, nb::ro>;
    return ReadOnly(view.data, shape.size(), shape.data(), self, nullptr, dtype).cast();
  }
  using Writable = nb::ndarray<nb::numpy>;
  return Writable(tensor.mutable_view().data, shape.size(), shape.data(), self, nullptr, dtype)
      .cast();
}

nb::object numpy_array(const nb::object& self) {
  const TensorView view = nb::cast<const Tensor&>(self).view();
  if (!is_plain_float(view.dtype)) return raw_array(self);
  require_host(view);
  auto values = std::make_unique<Tensor>(DType::f32, view.shape);
  auto* out = static_cast<float*>(values->mutable_view().data);
  for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
    out[i] = load_float(view.data, view.dtype, i);
  }
  return raw_array(nb::cast(values.release(), nb::rv_policy::take_ownership));
}

Tensor rounded(const nb::object& array, const char* dtype) {
  const Tensor source =
      nb::isinstance<Tensor>(array) ? nb::cast<Tensor>(array) : Tensor(array, std::nullopt, false);
  require_host(source.view());
  const auto target = parse_dtype(dtype);
  if (!target || !is_plain_float(*target) || source.view().dtype != DType::f32) {
    fail(ErrorKind::user, "from_float32 of {} to {}; give a float32 array and BF16, F16 or F32",
         to_string(source.view().dtype), dtype);
  }
  Tensor result(*target, source.view().shape);
  for (std::int64_t i = 0; i < source.view().shape.elements(); ++i) {
    store_float(result.mutable_view().data, *target, i,
                load_float(source.view().data, DType::f32, i));
  }
  return result;
}

}  // namespace

Tensor::Tensor(const nb::object& array, const std::optional<std::string>& dtype, bool writable)
    : array_(array), borrowed_(borrow(array, writable)), writable_(writable) {
  check_contiguous(borrowed_);
  std::optional<DType> own = dtype_of(borrowed_.dtype());
  if (dtype) {
    const auto tagged = parse_dtype(*dtype);
    if (!tagged) fail(ErrorKind::user, "there is no dtype \"{}\"; BF16, F32, F8_E4M3, …", *dtype);
    if (bits(*tagged) != borrowed_.dtype().bits) {
      fail(ErrorKind::user, "an array of {}-bit elements cannot be {}, which has {} bits",
           borrowed_.dtype().bits, *dtype, bits(*tagged));
    }
    own = tagged;
  }
  if (!own) {
    if (nb::hasattr(array, "dtype")) refuse_dtype(array, array.attr("dtype"));
    fail(ErrorKind::user, "elements of DLPack code {} with {} bits have no name here",
         borrowed_.dtype().code, borrowed_.dtype().bits);
  }
  view_.dtype = *own;
  for (std::size_t axis = 0; axis < borrowed_.ndim(); ++axis) {
    view_.shape.append(static_cast<std::int64_t>(borrowed_.shape(axis)));
  }
  view_.device = device_of(borrowed_);
  // An array without elements may have no address, and a view without one means "not given".
  static std::byte nothing{};
  view_.data = borrowed_.size() == 0 ? &nothing : const_cast<void*>(borrowed_.data());
}

Tensor::Tensor(DType dtype, const Shape& shape) : writable_(true) {
  view_ = {nullptr, dtype, shape, {}};
  storage_ = std::make_shared<AlignedBuffer>(static_cast<std::size_t>(bytes()) + 1);
  view_.data = storage_->data();
}

MutableTensorView Tensor::mutable_view() const {
  if (!writable_) fail(ErrorKind::internal, "a tensor opened for reading is written to");
  return view_;
}

std::int64_t Tensor::bytes() const { return (view_.shape.elements() * bits(view_.dtype) + 7) / 8; }

Tensor copy_of(const TensorView& view) {
  Tensor copy(view.dtype, view.shape);
  if (copy.bytes() > 0) {
    std::memcpy(copy.mutable_view().data, view.data, static_cast<std::size_t>(copy.bytes()));
  }
  return copy;
}

void bind_tensor(nb::module_& module) {
  nb::class_<Tensor>(module, "Tensor", nb::is_weak_referenceable(),
                     R"(An array with the element type that its own cannot say.

NumPy has no bfloat16: ``Tensor(bits, "BF16")`` says that the uint16 array ``bits`` holds BF16.
Everything else here that takes an array takes a Tensor too. No copy is made. ``writable`` says that
results may be written there, and refuses a read-only array.)")
      .def(nb::init<const nb::object&, const std::optional<std::string>&, bool>(),
           nb::arg("array").none(), nb::arg("dtype").none() = nb::none(),
           nb::arg("writable") = false)
      .def_static("from_float32", &rounded, nb::arg("array"), nb::arg("dtype") = "BF16",
                  "Rounds a float32 array to nearest, ties to even, into memory of its own.")
      .def_prop_ro(
          "dtype", [](const Tensor& t) { return std::string(to_string(t.view().dtype)); },
          "The name of the element type as safetensors spells it: \"BF16\", \"F32\", …")
      .def_prop_ro("writable", &Tensor::writable, "Whether results may be written there.")
      .def_prop_ro("shape", [](const Tensor& t) { return shape_tuple(t.view().shape); })
      .def_prop_ro(
          "device", [](const Tensor& t) { return to_string(t.view().device); },
          "\"cpu\" or \"cuda:N\".")
      .def_prop_ro(
          "array", [](const Tensor& t) { return t.array().is_valid() ? t.array() : nb::none(); },
          "The array that was given, None if the memory is the Tensor's own.")
      .def("bits", &raw_array, nb::sig("def bits(self) -> numpy.ndarray"),
           "The raw elements as a NumPy view: uint16 for BF16, uint8 for 8-bit floats.")
      .def("numpy", &numpy_array, nb::sig("def numpy(self) -> numpy.ndarray"),
           "Floats of 16 and 32 bits as float32 (exact, a copy); anything else as bits().")
      .def("__repr__", [](const Tensor& t) {
        return fmt::format("sluice.Tensor({}, {}, {})", to_string(t.view().shape),
                           to_string(t.view().dtype), to_string(t.view().device));
      });
}

}  // namespace sluice::python
