#include "cuda/device_ceilings.hpp"

#include <dlfcn.h>

#include "base/fail.hpp"
#include "cuda/stream_kernels.hpp"

namespace sluice::bench {
namespace {

constexpr std::size_t kReadBytes = std::size_t{4} << 30;
constexpr int kSide = 8192;
constexpr double kProductOperations = 2.0 * kSide * kSide * kSide;

// Without cuBLAS: what it reaches for this product on an H200 with random data, as measured for
// docs/performance.md.
constexpr double kAssumedRate = 680e12;

}  // namespace

class Cublas {
 public:
  // Null when no library is found.
  static std::unique_ptr<Cublas> find(cudaStream_t stream) {
    for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
      if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
        return std::unique_ptr<Cublas>(new Cublas(library, name, stream));
      }
    }
    return nullptr;
  }
  ~Cublas() {
    if (handle_ != nullptr) destroy_(handle_);
    // The library stays: it keeps handlers of the process's end.
  }

  const char* name() const { return name_; }

  // c = a b, all [kSide, kSide] bf16, summed in fp32.
  void multiply(const void* a, const void* b, void* c) const {
    constexpr int kBf16 = 14;           // CUDA_R_16BF
    constexpr int kFp32 = 68;           // CUBLAS_COMPUTE_32F
    constexpr int kNoTranspose = 0;     // CUBLAS_OP_N
    constexpr int kTransposed = 1;      // CUBLAS_OP_T: both operands along K, as layers have them
    constexpr int kDefaultChoice = -1;  // CUBLAS_GEMM_DEFAULT
    const float one = 1.0f;
    const float zero = 0.0f;
    check(product_(handle_, kTransposed, kNoTranspose, kSide, kSide, kSide, &one, a, kBf16, kSide,
                   b, kBf16, kSide, &zero, c, kBf16, kSide, kFp32, kDefaultChoice),
          "cublasGemmEx");
  }

 private:
  using Create = int (*)(void**);
  using Destroy = int (*)(void*);
  using SetStream = int (*)(void*, cudaStream_t);
  using Product = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int,
                          const void*, int, int, const void*, void*, int, int, int, int);

  Cublas(void* library, const char* name, cudaStream_t stream) : name_(name) {
    const auto symbol = [&](const char* function) {
      void* found = dlsym(library, function);
      if (found == nullptr) fail(ErrorKind::device, "{} has no {}", name, function);
      return found;
    };
    destroy_ = reinterpret_cast<Destroy>(symbol("cublasDestroy_v2"));
    product_ = reinterpret_cast<Product>(symbol("cublasGemmEx"));
    check(reinterpret_cast<Create>(symbol("cublasCreate_v2"))(&handle_), "cublasCreate");
    check(reinterpret_cast<SetStream>(symbol("cublasSetStream_v2"))(handle_, stream),
          "cublasSetStream");
  }
  static void check(int status, const char* what) {
    if (status != 0) fail(ErrorKind::device, "{} failed with status {}", what, status);
  }

  const char* name_;
  void* handle_ = nullptr;
  Destroy destroy_ = nullptr;
  Product product_ = nullptr;
};

DeviceCeilings::DeviceCeilings(const std::shared_ptr<const DeviceMemory>& memory,
                               cudaStream_t stream)
    : stream_(stream),
      memory_(memory, kReadBytes),
      sink_(memory, sizeof(std::uint32_t)),
      cublas_(Cublas::find(stream)) {
  launch_fill(reinterpret_cast<std::uint16_t*>(memory_.data()),
              static_cast<std::int64_t>(kReadBytes / 2), 1, 1.0f, stream);
  // The first calls load code.
  read_bandwidth();
  if (cublas_) dense_rate();
}

DeviceCeilings::~DeviceCeilings() = default;

double DeviceCeilings::read_bandwidth() const {
  const auto read = [&] {
    launch_read(memory_.data(), kReadBytes, reinterpret_cast<std::uint32_t*>(sink_.data()),
                stream_);
  };
  read();
  const double seconds = timer_(stream_, read);
  return static_cast<double>(kReadBytes) / seconds;
}

double DeviceCeilings::dense_rate() const {
  if (!cublas_) return kAssumedRate;
  // Factors and product lie in the memory that is read; the product's part is random again at once,
  // being sums of random products.
  constexpr std::size_t kMatrix = std::size_t{kSide} * kSide * 2;
  const double seconds = timer_(stream_, [&] {
    cublas_->multiply(memory_.data(), memory_.data() + kMatrix, memory_.data() + 2 * kMatrix);
  });
  return kProductOperations / seconds;
}

std::string DeviceCeilings::dense_source() const {
  if (cublas_) return fmt::format("{}, 8192 x 8192 x 8192, this run", cublas_->name());
  return fmt::format("assumed {:.0f} TFLOP/s: no libcublas.so was found (LD_LIBRARY_PATH)",
                     kAssumedRate * 1e-12);
}

}  // namespace sluice::bench
