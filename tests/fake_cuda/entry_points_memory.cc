// The driver's functions for device memory, host memory, and memory of other processes.

#include "tests/fake_cuda/device_memory.h"
#include "tests/fake_cuda/driver_functions.h"
#include "tests/fake_cuda/entry.h"
#include "tests/fake_cuda/host_memory.h"
#include "tests/fake_cuda/ipc.h"
#include "tests/fake_cuda/registry.h"

using namespace zerohop::cuda;       // NOLINT: this file speaks the driver's language
using namespace zerohop::fake_cuda;  // NOLINT

namespace {

using ContextPtr = std::shared_ptr<Context>;

template <typename Value>
CUresult Store(void* output, Value value) {
  *static_cast<Value*>(output) = value;
  return CUDA_SUCCESS;
}

// One attribute of a pointer; all are zero for one that the driver does not know.
CUresult Describe(CUpointer_attribute attribute, void* output, CUdeviceptr address) {
  const auto range = FindRange(address);
  const bool host = range && range->kind == RangeKind::kMappedHost;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return Store<CUcontext>(output, range ? range->context->handle() : nullptr);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return Store<unsigned>(output,
                             !range ? 0U : unsigned{host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE});
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return Store<CUdeviceptr>(output, range ? address : 0);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      return Store<void*>(output, host ? range->data + (address - range->base) : nullptr);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      return Store<unsigned long long>(output, range ? range->buffer_id : 0);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return Store<unsigned>(output, 0);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return Store<int>(output, range ? range->context->ordinal : -1);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return Store<unsigned>(output, range && range->kind == RangeKind::kOwn ? 1 : 0);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return Store<CUdeviceptr>(output, range ? range->base : 0);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return Store<size_t>(output, range ? range->bytes : 0);
  }
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

extern "C" {

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return Enter("cuMemAlloc_v2", [&](ContextPtr& context) { return Allocate(context, bytes, address); });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return Enter("cuMemFree_v2", [&](ContextPtr&) { return Free(address); });
}

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  return Enter("cuMemGetInfo_v2", [&](ContextPtr& context) {
    if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const RegistryLock registry;
    *total = registry->devices[context->device].total_bytes;
    *free = *total - UsedBytes(*registry, context->device);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  return Enter("cuMemGetAddressRange_v2", [&](ContextPtr&) {
    const auto range = FindRange(address);
    if (!range) return CUDA_ERROR_INVALID_VALUE;
    if (base != nullptr) *base = range->base;
    if (bytes != nullptr) *bytes = range->bytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute* attributes, void** values,
                                CUdeviceptr address) {
  return Enter("cuPointerGetAttributes", [&](ContextPtr&) {
    if (count == 0 || attributes == nullptr || values == nullptr) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; ++i) {
      const CUresult result = Describe(attributes[i], values[i], address);
      if (result != CUDA_SUCCESS) return result;
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr address) {
  return Enter("cuIpcGetMemHandle", [&](ContextPtr&) { return ExportMemory(handle, address); });
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned flags) {
  return Enter("cuIpcOpenMemHandle_v2",
               [&](ContextPtr& context) { return OpenMemory(context, address, handle, flags); });
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  return Enter("cuIpcCloseMemHandle", [&](ContextPtr&) { return CloseMemory(address); });
}

CUresult cuMemHostRegister_v2(void* address, size_t bytes, unsigned flags) {
  return Enter("cuMemHostRegister_v2",
               [&](ContextPtr& context) { return RegisterHost(context, address, bytes, flags); });
}

CUresult cuMemHostUnregister(void* address) {
  return Enter("cuMemHostUnregister", [&](ContextPtr&) { return UnregisterHost(address); });
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device_address, void* address, unsigned flags) {
  return Enter("cuMemHostGetDevicePointer_v2", [&](ContextPtr&) {
    return flags != 0 ? CUDA_ERROR_INVALID_VALUE : HostDevicePointer(device_address, address);
  });
}
}
