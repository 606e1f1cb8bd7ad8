// Compares our declarations with NVIDIA's, type by type, while this is compiled.
// Left out where no cuda.h is found.

#include "shm/cuda/cuda_api.h"

#include <gtest/gtest.h>

#include <type_traits>

// Of the names that cuda.h makes macros, our values, before it does so.
namespace {
constexpr auto kOurPortable = zerohop::cuda::CU_MEMHOSTREGISTER_PORTABLE;
constexpr auto kOurDeviceMap = zerohop::cuda::CU_MEMHOSTREGISTER_DEVICEMAP;
constexpr auto kOurHandleSize = zerohop::cuda::CU_IPC_HANDLE_SIZE;
}  // namespace

#include <cuda.h>

static_assert(kOurPortable == CU_MEMHOSTREGISTER_PORTABLE && kOurDeviceMap == CU_MEMHOSTREGISTER_DEVICEMAP);
static_assert(kOurHandleSize == CU_IPC_HANDLE_SIZE);

namespace {

// A type as the calling convention sees it: an enumeration is its number, a
// structure its size and alignment, and one that nobody looks into only a name.
template <typename T>
concept Enumeration = std::is_enum_v<T>;
template <typename T>
concept Class = std::is_class_v<T>;
template <typename T>
concept KnownClass = Class<T> && requires {
  sizeof(T);
};
template <size_t kBytes, size_t kAlignment>
struct Bytes {};
struct Opaque {};

template <typename T>
struct Abi {
  using Type = T;
};
template <Enumeration T>
struct Abi<T> {
  using Type = std::underlying_type_t<T>;
};
template <KnownClass T>
struct Abi<T> {
  using Type = Bytes<sizeof(T), alignof(T)>;
};
template <Class T>
struct Abi<T> {
  using Type = Opaque;
};
template <typename T>
struct Abi<const T> {
  using Type = const typename Abi<T>::Type;
};
template <typename T>
struct Abi<T*> {
  using Type = typename Abi<T>::Type*;
};
template <typename Result, typename... Parameters>
struct Abi<Result(Parameters...)> {
  using Type = typename Abi<Result>::Type(typename Abi<Parameters>::Type...);
};
template <typename A, typename B>
constexpr bool kSame = std::is_same_v<typename Abi<A>::Type, typename Abi<B>::Type>;

}  // namespace

namespace zerohop::cuda {

#define SAME_FUNCTION(symbol, parameters) \
  static_assert(kSame<CUresult parameters, decltype(::symbol)>, #symbol);
ZEROHOP_CUDA_FUNCTIONS(SAME_FUNCTION)
ZEROHOP_CUDA_OPTIONAL_FUNCTIONS(SAME_FUNCTION)

static_assert(kSame<CUdevice, ::CUdevice> && kSame<CUdeviceptr, ::CUdeviceptr> &&
              kSame<CUhostFn, ::CUhostFn>);
static_assert(kSame<CUcontext, ::CUcontext> && kSame<CUstream, ::CUstream> && kSame<CUevent, ::CUevent>);
static_assert(kSame<CUmodule, ::CUmodule> && kSame<CUfunction, ::CUfunction>);
static_assert(kSame<CUuuid, ::CUuuid> && kSame<CUipcMemHandle, ::CUipcMemHandle>);
static_assert(kSame<CUipcEventHandle, ::CUipcEventHandle> && kSame<CUmemorytype, ::CUmemorytype>);
static_assert(kSame<CUdevice_attribute, ::CUdevice_attribute> && kSame<CUcomputemode, ::CUcomputemode>);

#define SAME_VALUE(name) static_assert(static_cast<uint64_t>(name) == static_cast<uint64_t>(::name), #name);
SAME_VALUE(CUDA_SUCCESS)
SAME_VALUE(CUDA_ERROR_INVALID_VALUE)
SAME_VALUE(CUDA_ERROR_OUT_OF_MEMORY)
SAME_VALUE(CUDA_ERROR_NOT_INITIALIZED)
SAME_VALUE(CUDA_ERROR_DEINITIALIZED)
SAME_VALUE(CUDA_ERROR_STUB_LIBRARY)
SAME_VALUE(CUDA_ERROR_DEVICE_UNAVAILABLE)
SAME_VALUE(CUDA_ERROR_NO_DEVICE)
SAME_VALUE(CUDA_ERROR_INVALID_DEVICE)
SAME_VALUE(CUDA_ERROR_INVALID_IMAGE)
SAME_VALUE(CUDA_ERROR_INVALID_CONTEXT)
SAME_VALUE(CUDA_ERROR_MAP_FAILED)
SAME_VALUE(CUDA_ERROR_ALREADY_MAPPED)
SAME_VALUE(CUDA_ERROR_NO_BINARY_FOR_GPU)
SAME_VALUE(CUDA_ERROR_ECC_UNCORRECTABLE)
SAME_VALUE(CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
SAME_VALUE(CUDA_ERROR_OPERATING_SYSTEM)
SAME_VALUE(CUDA_ERROR_INVALID_HANDLE)
SAME_VALUE(CUDA_ERROR_NOT_FOUND)
SAME_VALUE(CUDA_ERROR_NOT_READY)
SAME_VALUE(CUDA_ERROR_ILLEGAL_ADDRESS)
SAME_VALUE(CUDA_ERROR_CONTEXT_IS_DESTROYED)
SAME_VALUE(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED)
SAME_VALUE(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED)
SAME_VALUE(CUDA_ERROR_LAUNCH_FAILED)
SAME_VALUE(CUDA_ERROR_NOT_PERMITTED)
SAME_VALUE(CUDA_ERROR_NOT_SUPPORTED)
SAME_VALUE(CUDA_ERROR_SYSTEM_NOT_READY)
SAME_VALUE(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
SAME_VALUE(CUDA_ERROR_TIMEOUT)
SAME_VALUE(CUDA_ERROR_UNKNOWN)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_INTEGRATED)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED)
SAME_VALUE(CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED)
SAME_VALUE(CU_POINTER_ATTRIBUTE_CONTEXT)
SAME_VALUE(CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
SAME_VALUE(CU_POINTER_ATTRIBUTE_DEVICE_POINTER)
SAME_VALUE(CU_POINTER_ATTRIBUTE_HOST_POINTER)
SAME_VALUE(CU_POINTER_ATTRIBUTE_BUFFER_ID)
SAME_VALUE(CU_POINTER_ATTRIBUTE_IS_MANAGED)
SAME_VALUE(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
SAME_VALUE(CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE)
SAME_VALUE(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
SAME_VALUE(CU_POINTER_ATTRIBUTE_RANGE_SIZE)
SAME_VALUE(CU_MEMORYTYPE_HOST)
SAME_VALUE(CU_MEMORYTYPE_DEVICE)
SAME_VALUE(CU_COMPUTEMODE_DEFAULT)
SAME_VALUE(CU_COMPUTEMODE_PROHIBITED)
SAME_VALUE(CU_COMPUTEMODE_EXCLUSIVE_PROCESS)
SAME_VALUE(CU_GET_PROC_ADDRESS_SUCCESS)
SAME_VALUE(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)
SAME_VALUE(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT)
SAME_VALUE(CU_GET_PROC_ADDRESS_LEGACY_STREAM)
SAME_VALUE(CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
SAME_VALUE(CU_STREAM_DEFAULT)
SAME_VALUE(CU_STREAM_NON_BLOCKING)
SAME_VALUE(CU_EVENT_DEFAULT)
SAME_VALUE(CU_EVENT_BLOCKING_SYNC)
SAME_VALUE(CU_EVENT_DISABLE_TIMING)
SAME_VALUE(CU_EVENT_INTERPROCESS)
SAME_VALUE(CU_EVENT_WAIT_DEFAULT)
SAME_VALUE(CU_STREAM_WRITE_VALUE_DEFAULT)

TEST(CudaApi, IsComparedWithAHeaderThatHasAllWeDeclare) {
  EXPECT_GE(CUDA_VERSION, 12000);
}

}  // namespace zerohop::cuda
