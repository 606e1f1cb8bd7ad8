#include "shm/cuda/cuda_driver.h"

#include <dlfcn.h>

namespace zerohop {
namespace {

using cuda::CUresult;

// The interface whose prototypes we declare: CUDA 12.0. A driver that is asked for
// a newer one than its own refuses.
constexpr int kInterfaceVersion = 12000;

// Finds functions in a driver: through the driver's own directory, which exists
// since CUDA 12.0; by the symbols where there is none, or where it refuses to
// work, as that of a toolkit's stub does.
class SymbolTable {
 public:
  explicit SymbolTable(void* library)
      : library_(library),
        directory_(reinterpret_cast<decltype(directory_)>(::dlsym(library, "cuGetProcAddress_v2"))) {}

  // Null where the driver has no such function.
  void* Find(const std::string& symbol) const {
    // The directory knows names without versions, and answers by the version asked for;
    // with success and null for a function that there is not.
    const std::string name = symbol.substr(0, symbol.find("_v2"));
    void* function = nullptr;
    const bool answered = directory_ != nullptr &&
                          directory_(name.c_str(), &function, kInterfaceVersion,
                                     cuda::CU_GET_PROC_ADDRESS_LEGACY_STREAM, nullptr) == cuda::CUDA_SUCCESS;
    return answered ? function : ::dlsym(library_, symbol.c_str());
  }

 private:
  void* library_;
  decltype(cuda::DriverFunctions::cuGetProcAddress_v2) directory_;
};

absl::StatusCode CodeOf(CUresult result) {
  switch (result) {
    case cuda::CUDA_SUCCESS:
      return absl::StatusCode::kOk;
    case cuda::CUDA_ERROR_INVALID_VALUE:
    case cuda::CUDA_ERROR_INVALID_DEVICE:
    case cuda::CUDA_ERROR_INVALID_IMAGE:
    case cuda::CUDA_ERROR_INVALID_HANDLE:
    case cuda::CUDA_ERROR_MAP_FAILED:
    case cuda::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED:
      return absl::StatusCode::kInvalidArgument;
    case cuda::CUDA_ERROR_ALREADY_MAPPED:
    case cuda::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
      return absl::StatusCode::kAlreadyExists;
    case cuda::CUDA_ERROR_NOT_FOUND:
      return absl::StatusCode::kNotFound;
    case cuda::CUDA_ERROR_NOT_INITIALIZED:
    case cuda::CUDA_ERROR_DEINITIALIZED:
    case cuda::CUDA_ERROR_INVALID_CONTEXT:
    case cuda::CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case cuda::CUDA_ERROR_NOT_PERMITTED:
      return absl::StatusCode::kFailedPrecondition;
    case cuda::CUDA_ERROR_OUT_OF_MEMORY:
      return absl::StatusCode::kResourceExhausted;
    case cuda::CUDA_ERROR_NOT_SUPPORTED:
    case cuda::CUDA_ERROR_NO_BINARY_FOR_GPU:
    case cuda::CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return absl::StatusCode::kUnimplemented;
    case cuda::CUDA_ERROR_TIMEOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case cuda::CUDA_ERROR_STUB_LIBRARY:
    case cuda::CUDA_ERROR_DEVICE_UNAVAILABLE:
    case cuda::CUDA_ERROR_NO_DEVICE:
    case cuda::CUDA_ERROR_NOT_READY:
    case cuda::CUDA_ERROR_SYSTEM_NOT_READY:
    case cuda::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      return absl::StatusCode::kUnavailable;
    case cuda::CUDA_ERROR_ECC_UNCORRECTABLE:
    case cuda::CUDA_ERROR_OPERATING_SYSTEM:
    case cuda::CUDA_ERROR_ILLEGAL_ADDRESS:
    case cuda::CUDA_ERROR_LAUNCH_FAILED:
    case cuda::CUDA_ERROR_UNKNOWN:
      break;
  }
  return absl::StatusCode::kInternal;  // these, and all that we have no name for
}

}  // namespace

absl::StatusOr<CudaDriver> CudaDriver::Load(const std::string& library) {
  // RTLD_NOW: what the library itself lacks fails here, not in the middle of a request.
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return absl::NotFoundError(std::string("no CUDA driver: ") + ::dlerror());
  const SymbolTable symbols(handle);
  CudaDriver driver;
  std::string missing;
#define ZEROHOP_CUDA_OPTIONAL(symbol, parameters) \
  driver.symbol = reinterpret_cast<decltype(driver.symbol)>(symbols.Find(#symbol));
#define ZEROHOP_CUDA_REQUIRED(symbol, parameters) \
  ZEROHOP_CUDA_OPTIONAL(symbol, parameters)       \
  if (driver.symbol == nullptr) missing += " " #symbol;
  ZEROHOP_CUDA_FUNCTIONS(ZEROHOP_CUDA_REQUIRED)
  ZEROHOP_CUDA_OPTIONAL_FUNCTIONS(ZEROHOP_CUDA_OPTIONAL)
#undef ZEROHOP_CUDA_REQUIRED
#undef ZEROHOP_CUDA_OPTIONAL
  if (!missing.empty()) return absl::UnimplementedError("the CUDA driver " + library + " lacks" + missing);
  return driver;
}

absl::Status CudaDriver::Init() const {
  const CUresult result = cuInit(0);
  if (result == cuda::CUDA_ERROR_STUB_LIBRARY) {
    return absl::UnavailableError(
        "the CUDA driver found is the stub of a toolkit, which no program can run on");
  }
  absl::Status status = Check(result, "initialize the CUDA driver");
  // Nothing was asked of a device yet, so whatever a driver says here means that there is none for us; but
  // for the one that means that we have forked.
  if (status.ok() || result == cuda::CUDA_ERROR_NOT_INITIALIZED) return status;
  return absl::UnavailableError(status.message());
}

absl::Status CudaDriver::Check(CUresult result, const std::string& doing) const {
  if (result == cuda::CUDA_SUCCESS) return absl::OkStatus();
  // A driver does not know the names of errors newer or older than itself.
  const char* name = nullptr;
  const char* text = nullptr;
  if (cuGetErrorName(result, &name) != cuda::CUDA_SUCCESS || name == nullptr) name = "an unnamed CUDA error";
  if (cuGetErrorString(result, &text) != cuda::CUDA_SUCCESS || text == nullptr) text = "no description";
  return {CodeOf(result), "cannot " + doing + ": " + name + " (" +
                              std::to_string(static_cast<unsigned>(result)) + "), " + text};
}

}  // namespace zerohop
