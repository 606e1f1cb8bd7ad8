// The driver's functions for itself, its devices and its contexts.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/fake_cuda/driver_functions.h"
#include "tests/fake_cuda/entry.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/result_names.h"
#include "tests/fake_cuda/settings.h"

using namespace zerohop::cuda;       // NOLINT: this file speaks the driver's language
using namespace zerohop::fake_cuda;  // NOLINT

namespace {

constexpr int kDriverVersion = 13000;

// A call that is about one device.
template <typename Body>
CUresult EnterDevice(const char* symbol, const void* output, CUdevice device, Body body) {
  return Enter(symbol, [&] {
    if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const uint32_t index = VisibleDevice(device);
    return index == kNobody ? CUDA_ERROR_INVALID_DEVICE : body(SharedWords().devices[index], index);
  });
}

int UsualAttribute(CUdevice_attribute attribute) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return 100;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return 9;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      return 2;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED:
      return 1;
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      break;
  }
  return 0;
}

}  // namespace

extern "C" {

CUresult cuInit(unsigned flags) {
  return flags != 0 ? CUDA_ERROR_INVALID_VALUE : Initialize();
}

CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = NameOf(error);
  return *name == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *text = TextOf(error);
  return *text == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char* symbol, void** function, int version, uint64_t,
                             CUdriverProcAddressQueryResult* found) {
  if (const CUresult fault = FaultBefore("cuGetProcAddress_v2")) return fault;
  if (symbol == nullptr || function == nullptr || version > kDriverVersion) return CUDA_ERROR_INVALID_VALUE;
  *function = FindSymbol(symbol);
  if (found != nullptr) {
    *found = *function != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  }
  return CUDA_SUCCESS;  // with a null function, too, as is documented
}

CUresult cuDeviceGetCount(int* count) {
  return Enter("cuDeviceGetCount", [&] {
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = VisibleDevices();
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return EnterDevice("cuDeviceGet", device, ordinal, [&](const DeviceRecord&, uint32_t) {
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return EnterDevice("cuDeviceGetUuid_v2", uuid, device, [&](const DeviceRecord& record, uint32_t) {
    *uuid = record.uuid;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  return EnterDevice("cuDeviceGetName", name, device, [&](const DeviceRecord&, uint32_t) {
    std::snprintf(name, static_cast<size_t>(std::max(length, 0)), "%s", TheSettings().device_name.c_str());
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return EnterDevice("cuDeviceGetAttribute", value, device, [&](const DeviceRecord&, uint32_t) {
    const auto& set = TheSettings().attributes;
    const auto found = set.find(static_cast<int>(attribute));
    *value = found != set.end() ? found->second : UsualAttribute(attribute);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  return EnterDevice("cuDeviceTotalMem_v2", bytes, device, [&](const DeviceRecord& record, uint32_t) {
    *bytes = record.total_bytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetPCIBusId(char* bus_id, int length, CUdevice device) {
  return EnterDevice("cuDeviceGetPCIBusId", bus_id, device, [&](const DeviceRecord&, uint32_t index) {
    std::snprintf(bus_id, static_cast<size_t>(std::max(length, 0)), "0000:%02x:00.0", index + 1);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return Enter("cuDevicePrimaryCtxRetain", [&] { return RetainPrimary(context, device); });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return Enter("cuDevicePrimaryCtxRelease_v2", [&] { return ReleasePrimary(device); });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  return EnterDevice("cuDevicePrimaryCtxGetState", active, device, [&](const DeviceRecord&, uint32_t) {
    if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *flags = 0;
    *active = PrimaryActive(device) ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext context) {
  return Enter("cuCtxSetCurrent", [&] { return SetCurrent(context); });
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  return Enter("cuCtxGetCurrent", [&] {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto current = Current();
    *context = current == nullptr ? nullptr : current->handle();
    return CUDA_SUCCESS;
  });
}
}
