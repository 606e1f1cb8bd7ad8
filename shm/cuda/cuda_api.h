#pragma once

// The part of the CUDA driver's interface that we use, declared by ourselves, so
// that the product builds where no toolkit is. Names and values are those of
// NVIDIA's cuda.h, where their documentation is; the symbols are the versioned
// ones that libcuda.so.1 exports ("cuMemAlloc_v2", never "cuMemAlloc", which is
// an older function with another signature).
//
// tests/fake_cuda compares every type, value and prototype with the real cuda.h
// wherever it finds one. In a namespace of its own, both may be included: this
// header first, because cuda.h defines some of these names as macros.

#include <cstddef>
#include <cstdint>

namespace zerohop::cuda {

enum CUresult : unsigned {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_DEINITIALIZED = 4,
  CUDA_ERROR_STUB_LIBRARY = 34,
  CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_MAP_FAILED = 205,
  CUDA_ERROR_ALREADY_MAPPED = 208,
  CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
  CUDA_ERROR_ECC_UNCORRECTABLE = 214,
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CUDA_ERROR_OPERATING_SYSTEM = 304,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
  CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
  CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_NOT_PERMITTED = 800,
  CUDA_ERROR_NOT_SUPPORTED = 801,
  CUDA_ERROR_SYSTEM_NOT_READY = 802,
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
  CUDA_ERROR_TIMEOUT = 909,
  CUDA_ERROR_UNKNOWN = 999,
};

enum CUdevice_attribute : unsigned {
  CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  CU_DEVICE_ATTRIBUTE_INTEGRATED = 18,
  CU_DEVICE_ATTRIBUTE_COMPUTE_MODE = 20,
  CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT = 40,
  CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED = 99,
  CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED = 125,
};

enum CUpointer_attribute : unsigned {
  CU_POINTER_ATTRIBUTE_CONTEXT = 1,
  CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2,
  CU_POINTER_ATTRIBUTE_DEVICE_POINTER = 3,
  CU_POINTER_ATTRIBUTE_HOST_POINTER = 4,
  CU_POINTER_ATTRIBUTE_BUFFER_ID = 7,
  CU_POINTER_ATTRIBUTE_IS_MANAGED = 8,
  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9,
  CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE = 10,
  CU_POINTER_ATTRIBUTE_RANGE_START_ADDR = 11,
  CU_POINTER_ATTRIBUTE_RANGE_SIZE = 12,
};

enum CUmemorytype : unsigned { CU_MEMORYTYPE_HOST = 1, CU_MEMORYTYPE_DEVICE = 2 };
enum CUcomputemode : unsigned {
  CU_COMPUTEMODE_DEFAULT = 0,
  CU_COMPUTEMODE_PROHIBITED = 2,
  CU_COMPUTEMODE_EXCLUSIVE_PROCESS = 3,
};
enum CUdriverProcAddressQueryResult : unsigned {
  CU_GET_PROC_ADDRESS_SUCCESS = 0,
  CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND = 1,
  CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT = 2,
};

// Flags; the driver takes them as plain unsigned words.
inline constexpr uint64_t CU_GET_PROC_ADDRESS_LEGACY_STREAM = 1;
inline constexpr unsigned CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS = 1;
inline constexpr unsigned CU_STREAM_DEFAULT = 0;
inline constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
inline constexpr unsigned CU_EVENT_DEFAULT = 0;
inline constexpr unsigned CU_EVENT_BLOCKING_SYNC = 1;
inline constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;
inline constexpr unsigned CU_EVENT_INTERPROCESS = 4;
inline constexpr unsigned CU_EVENT_WAIT_DEFAULT = 0;
inline constexpr unsigned CU_STREAM_WRITE_VALUE_DEFAULT = 0;
inline constexpr unsigned CU_MEMHOSTREGISTER_PORTABLE = 1;
inline constexpr unsigned CU_MEMHOSTREGISTER_DEVICEMAP = 2;
inline constexpr size_t CU_IPC_HANDLE_SIZE = 64;

using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUhostFn = void (*)(void* user_data);

struct CUuuid {
  char bytes[16];
};
struct CUipcMemHandle {
  char reserved[CU_IPC_HANDLE_SIZE];
};
struct CUipcEventHandle {
  char reserved[CU_IPC_HANDLE_SIZE];
};

// The formatter takes the stars of the parameters for products.
// clang-format off

// Every function we call: X(symbol, parameters). All return a CUresult. The one
// list from which the table of functions, its loader, the comparison with
// cuda.h and the emulator's symbol table are made.
#define ZEROHOP_CUDA_FUNCTIONS(X)                                                            \
  /* The driver itself */                                                                    \
  X(cuInit, (unsigned flags))                                                                \
  X(cuDriverGetVersion, (int* version))                                                      \
  X(cuGetErrorName, (CUresult error, const char** name))                                     \
  X(cuGetErrorString, (CUresult error, const char** text))                                   \
  /* Devices */                                                                              \
  X(cuDeviceGetCount, (int* count))                                                          \
  X(cuDeviceGet, (CUdevice* device, int ordinal))                                            \
  X(cuDeviceGetUuid_v2, (CUuuid* uuid, CUdevice device))                                     \
  X(cuDeviceGetName, (char* name, int length, CUdevice device))                              \
  X(cuDeviceGetAttribute, (int* value, CUdevice_attribute attribute, CUdevice device))       \
  X(cuDeviceTotalMem_v2, (size_t* bytes, CUdevice device))                                   \
  X(cuDeviceGetPCIBusId, (char* bus_id, int length, CUdevice device))                        \
  /* Contexts */                                                                             \
  X(cuDevicePrimaryCtxRetain, (CUcontext* context, CUdevice device))                         \
  X(cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                         \
  X(cuDevicePrimaryCtxGetState, (CUdevice device, unsigned* flags, int* active))             \
  X(cuCtxSetCurrent, (CUcontext context))                                                    \
  X(cuCtxGetCurrent, (CUcontext* context))                                                   \
  /* Device memory */                                                                        \
  X(cuMemAlloc_v2, (CUdeviceptr* address, size_t bytes))                                     \
  X(cuMemFree_v2, (CUdeviceptr address))                                                     \
  X(cuMemGetInfo_v2, (size_t* free, size_t* total))                                          \
  X(cuMemGetAddressRange_v2, (CUdeviceptr* base, size_t* bytes, CUdeviceptr address))        \
  X(cuPointerGetAttributes,                                                                  \
    (unsigned count, CUpointer_attribute* attributes, void** values, CUdeviceptr address))   \
  /* Memory and events of other processes */                                                 \
  X(cuIpcGetMemHandle, (CUipcMemHandle* handle, CUdeviceptr address))                        \
  X(cuIpcOpenMemHandle_v2, (CUdeviceptr* address, CUipcMemHandle handle, unsigned flags))    \
  X(cuIpcCloseMemHandle, (CUdeviceptr address))                                              \
  X(cuIpcGetEventHandle, (CUipcEventHandle* handle, CUevent event))                          \
  X(cuIpcOpenEventHandle, (CUevent* event, CUipcEventHandle handle))                         \
  /* Streams and events */                                                                   \
  X(cuStreamCreateWithPriority, (CUstream* stream, unsigned flags, int priority))            \
  X(cuStreamDestroy_v2, (CUstream stream))                                                   \
  X(cuStreamQuery, (CUstream stream))                                                        \
  X(cuStreamSynchronize, (CUstream stream))                                                  \
  X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                     \
  X(cuEventCreate, (CUevent* event, unsigned flags))                                         \
  X(cuEventRecord, (CUevent event, CUstream stream))                                         \
  X(cuEventQuery, (CUevent event))                                                           \
  X(cuEventSynchronize, (CUevent event))                                                     \
  X(cuEventDestroy_v2, (CUevent event))                                                      \
  X(cuLaunchHostFunc, (CUstream stream, CUhostFn function, void* user_data))                 \
  /* Copies */                                                                               \
  X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void* from, size_t bytes, CUstream stream)) \
  X(cuMemcpyDtoHAsync_v2, (void* to, CUdeviceptr from, size_t bytes, CUstream stream))       \
  X(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)) \
  X(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream))   \
  /* Host memory the device may reach */                                                     \
  X(cuMemHostRegister_v2, (void* address, size_t bytes, unsigned flags))                     \
  X(cuMemHostUnregister, (void* address))                                                    \
  X(cuMemHostGetDevicePointer_v2, (CUdeviceptr* device_address, void* address, unsigned flags))

// What a driver may lack: nothing depends on it but what says so by itself, as our kernels do of the last four.
#define ZEROHOP_CUDA_OPTIONAL_FUNCTIONS(X)                                                   \
  X(cuGetProcAddress_v2, (const char* symbol, void** function, int version, uint64_t flags,  \
                          CUdriverProcAddressQueryResult* found))                            \
  X(cuStreamWriteValue32_v2,                                                                 \
    (CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags))                  \
  X(cuModuleLoadData, (CUmodule* module, const void* image))                                 \
  X(cuModuleUnload, (CUmodule module))                                                       \
  X(cuModuleGetFunction, (CUfunction* function, CUmodule module, const char* name))          \
  X(cuLaunchKernel,                                                                          \
    (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,                 \
     unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,            \
     CUstream stream, void** parameters, void** extra))

// clang-format on

}  // namespace zerohop::cuda
