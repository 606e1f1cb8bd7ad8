// The driver's functions for streams, events, and what is submitted to streams.

#include "tests/fake_cuda/copies.h"
#include "tests/fake_cuda/driver_functions.h"
#include "tests/fake_cuda/entry.h"
#include "tests/fake_cuda/events.h"
#include "tests/fake_cuda/ipc.h"
#include "tests/fake_cuda/streams.h"

using namespace zerohop::cuda;       // NOLINT: this file speaks the driver's language
using namespace zerohop::fake_cuda;  // NOLINT

namespace {

using ContextPtr = std::shared_ptr<Context>;

// A call that is about one stream.
template <typename Body>
CUresult EnterStream(const char* symbol, CUstream handle, Body body) {
  return Enter(symbol, [&](ContextPtr& context) {
    const auto stream = FindStream(context, handle);
    return stream == nullptr ? CUDA_ERROR_INVALID_HANDLE : body(*stream);
  });
}

// A call that is about one event.
template <typename Body>
CUresult EnterEvent(const char* symbol, CUevent handle, Body body) {
  return Enter(symbol, [&](ContextPtr&) {
    const auto event = FindEvent(handle);
    return event == nullptr ? CUDA_ERROR_INVALID_HANDLE : body(*event);
  });
}

}  // namespace

extern "C" {

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int) {
  return Enter("cuStreamCreateWithPriority",
               [&](ContextPtr& context) { return CreateStream(context, stream, flags); });
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  return Enter("cuStreamDestroy_v2", [&](ContextPtr&) { return DestroyStream(stream); });
}

CUresult cuStreamQuery(CUstream stream) {
  return EnterStream("cuStreamQuery", stream, [](Stream& found) { return found.Query(); });
}

CUresult cuStreamSynchronize(CUstream stream) {
  return EnterStream("cuStreamSynchronize", stream, [](Stream& found) { return found.Synchronize(); });
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  return EnterStream("cuStreamWaitEvent", stream, [&](Stream& found) {
    const auto awaited = FindEvent(event);
    if (awaited == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (flags != CU_EVENT_WAIT_DEFAULT) return CUDA_ERROR_INVALID_VALUE;
    found.Submit([moment = Latest(*awaited)](Context& waiting) { Await(moment, waiting); });
    return CUDA_SUCCESS;
  });
}

CUresult cuEventCreate(CUevent* event, unsigned flags) {
  return Enter("cuEventCreate", [&](ContextPtr& context) { return CreateEvent(context, event, flags); });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  return EnterStream("cuEventRecord", stream, [&](Stream& found) {
    const auto recorded = FindEvent(event);
    if (recorded == nullptr || recorded->context->id != found.context->id) return CUDA_ERROR_INVALID_HANDLE;
    Moment moment{};
    const CUresult begun = BeginRecord(*recorded, &moment);
    if (begun == CUDA_SUCCESS) found.Submit([moment](Context&) { Complete(moment); });
    return begun;
  });
}

CUresult cuEventQuery(CUevent event) {
  return EnterEvent("cuEventQuery", event, [](const Event& found) {
    return Done(Latest(found)) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
  });
}

CUresult cuEventSynchronize(CUevent event) {
  return EnterEvent("cuEventSynchronize", event, [](const Event& found) {
    Await(Latest(found), *found.context);
    return static_cast<CUresult>(found.context->broken.load());
  });
}

CUresult cuEventDestroy_v2(CUevent event) {
  return Enter("cuEventDestroy_v2", [&](ContextPtr&) { return DestroyEvent(event); });
}

CUresult cuIpcGetEventHandle(CUipcEventHandle* handle, CUevent event) {
  return Enter("cuIpcGetEventHandle", [&](ContextPtr&) { return ExportEvent(handle, event); });
}

CUresult cuIpcOpenEventHandle(CUevent* event, CUipcEventHandle handle) {
  return Enter("cuIpcOpenEventHandle",
               [&](ContextPtr& context) { return OpenEvent(context, event, handle); });
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void* user_data) {
  return EnterStream("cuLaunchHostFunc", stream, [&](Stream& found) {
    if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
    found.Submit([=](Context&) { CallHostFunction(function, user_data); });
    return CUDA_SUCCESS;
  });
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return EnterStream("cuMemcpyHtoDAsync_v2", stream,
                     [&](Stream& found) { return CopyToDevice(found, to, from, bytes); });
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return EnterStream("cuMemcpyDtoHAsync_v2", stream,
                     [&](Stream& found) { return CopyToHost(found, to, from, bytes); });
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return EnterStream("cuMemcpyDtoDAsync_v2", stream,
                     [&](Stream& found) { return CopyOnDevice(found, to, from, bytes); });
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  return EnterStream("cuMemsetD8Async", stream, [&](Stream& found) { return Fill(found, to, value, bytes); });
}

CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags) {
  return EnterStream("cuStreamWriteValue32_v2", stream, [&](Stream& found) {
    return flags != CU_STREAM_WRITE_VALUE_DEFAULT ? CUDA_ERROR_INVALID_VALUE
                                                  : WriteWord(found, address, value);
  });
}
}
