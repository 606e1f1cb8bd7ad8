#include "tests/fake_cuda/conformance/subject.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace zerohop::conformance {
namespace {

constexpr int kSkipped = 77;

std::string Name(cuda::CUresult result) {
  const char* name = nullptr;
  if (TheSubject().driver.cuGetErrorName(result, &name) != cuda::CUDA_SUCCESS) name = "?";
  return std::string(name) + " (" + std::to_string(result) + ")";
}

// On a real driver only; the older signature, which every driver still exports.
cuda::CUresult (*create_context)(cuda::CUcontext*, unsigned, cuda::CUdevice) = nullptr;
cuda::CUresult (*end_context)(cuda::CUcontext) = nullptr;

cuda::CUresult MakeRealContext(cuda::CUcontext* context, cuda::CUdevice device) {
  cuda::CUcontext before = nullptr;
  TheSubject().driver.cuCtxGetCurrent(&before);
  const cuda::CUresult result = create_context(context, 0, device);
  TheSubject().driver.cuCtxSetCurrent(before);  // which creating one replaced
  return result;
}

Subject Load() {
  auto driver = CudaDriver::Load();
  if (!driver.ok()) {
    std::fprintf(stderr, "skipped: %s\n", std::string(driver.status().message()).c_str());
    std::exit(kSkipped);
  }
  Subject subject{.driver = *driver};
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (void* hook = ::dlsym(library, "fakecu_second_context")) {
    subject.emulated = true;
    subject.second_context = reinterpret_cast<decltype(subject.second_context)>(hook);
    return subject;
  }
  subject.open_memory_v1 =
      reinterpret_cast<decltype(subject.open_memory_v1)>(::dlsym(library, "cuIpcOpenMemHandle"));
  create_context = reinterpret_cast<decltype(create_context)>(::dlsym(library, "cuCtxCreate_v2"));
  end_context = reinterpret_cast<decltype(end_context)>(::dlsym(library, "cuCtxDestroy_v2"));
  if (create_context == nullptr || end_context == nullptr) return subject;
  subject.second_context = MakeRealContext;
  subject.destroy_context = [](cuda::CUcontext context) { end_context(context); };
  return subject;
}

void Judge(Known known, bool as_emulated, bool allowed, const std::string& sentence, const Where& where) {
  if (as_emulated) return;
  const bool binding = known == Known::kDocumented || known == Known::kTested;
  if (TheSubject().emulated || (binding && !allowed)) {
    ADD_FAILURE_AT(where.file, where.line) << sentence;
  } else {
    std::printf("differs: %s\n", sentence.c_str());
    std::fflush(stdout);  // what comes next may hang, or end the process
  }
}

}  // namespace

const Subject& TheSubject() {
  static const Subject subject = Load();
  return subject;
}

std::string UndefinedPolicy() {
  if (!TheSubject().emulated) return "";
  const char* policy = std::getenv("FAKECU_UB");
  return policy == nullptr ? "pin" : policy;
}

void Expect(Known known, const std::string& what, cuda::CUresult got,
            std::initializer_list<cuda::CUresult> expected, Where where) {
  const bool allowed = std::find(expected.begin(), expected.end(), got) != expected.end();
  Judge(known, got == *expected.begin(), allowed,
        what + ": " + Name(got) + ", expected " + Name(*expected.begin()), where);
}

void ExpectText(Known known, const std::string& what, const std::string& got, const std::string& expected,
                Where where) {
  Judge(known, got == expected, false, what + ": " + got + ", expected " + expected, where);
}

}  // namespace zerohop::conformance
