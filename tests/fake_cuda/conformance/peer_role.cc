#include "tests/fake_cuda/conformance/peer_role.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/fake_cuda/conformance/gate.h"
#include "tests/fake_cuda/conformance/subject.h"

namespace zerohop::conformance {
namespace {

using cuda::CUresult;

class Player {
 public:
  Player() : driver_(TheSubject().driver) {}

  // Carries out one command; what it returns.
  CUresult Play(std::istringstream& line, std::string& value) {
    std::string verb;
    line >> verb;
    const auto found = Verbs().find(verb);
    return found == Verbs().end() ? cuda::CUDA_ERROR_UNKNOWN : (this->*found->second)(line, value);
  }

 private:
  using Verb = CUresult (Player::*)(std::istringstream&, std::string&);

  static const std::map<std::string, Verb>& Verbs() {
    static const std::map<std::string, Verb> verbs = {
        {"start", &Player::Start},
        {"init", &Player::Init},
        {"count", &Player::CountDevices},
        {"release", &Player::Release},
        {"fork", &Player::Fork},
        {"alloc", &Player::Alloc},
        {"free", &Player::Free},
        {"export", &Player::Export},
        {"open", &Player::Open},
        {"close", &Player::Close},
        {"fill", &Player::Fill},
        {"read", &Player::Read},
        {"begin_copies", &Player::BeginCopies},
        {"end_copies", &Player::EndCopies},
        {"address", &Player::Address},
        {"event", &Player::MakeEvent},
        {"export_event", &Player::ExportEvent},
        {"open_event", &Player::OpenEvent},
        {"destroy_event", &Player::DestroyEvent},
        {"record", &Player::Record},
        {"query", &Player::Query},
        {"wait", &Player::WaitEvent},
        {"synchronize", &Player::SynchronizeEvent},
        {"block", &Player::Block},
        {"unblock", &Player::Unblock},
        {"query_stream", &Player::QueryStream},
        {"synchronize_stream", &Player::SynchronizeStream},
    };
    return verbs;
  }

  CUresult Start(std::istringstream&, std::string&) {
    if (const CUresult result = driver_.cuInit(0)) return result;
    cuda::CUcontext context = nullptr;
    if (const CUresult result = driver_.cuDevicePrimaryCtxRetain(&context, 0)) return result;
    if (const CUresult result = driver_.cuCtxSetCurrent(context)) return result;
    return driver_.cuStreamCreateWithPriority(&stream_, cuda::CU_STREAM_NON_BLOCKING, 0);
  }
  CUresult Init(std::istringstream&, std::string&) { return driver_.cuInit(0); }
  CUresult CountDevices(std::istringstream&, std::string& value) {
    int count = 0;
    const CUresult result = driver_.cuDeviceGetCount(&count);
    value = std::to_string(count);
    return result;
  }
  CUresult Release(std::istringstream&, std::string&) { return driver_.cuDevicePrimaryCtxRelease_v2(0); }
  CUresult Fork(std::istringstream&, std::string&) {
    const pid_t child = ::fork();
    int count = 0;
    if (child == 0) ::_exit(static_cast<int>(driver_.cuDeviceGetCount(&count)));
    int status = 0;
    ::waitpid(child, &status, 0);
    return static_cast<CUresult>(WEXITSTATUS(status));
  }

  CUresult Alloc(std::istringstream& line, std::string& value) {
    size_t bytes = 0;
    line >> bytes;
    cuda::CUdeviceptr address = 0;
    const CUresult result = driver_.cuMemAlloc_v2(&address, bytes);
    return Remember(result, memory_, address, value);
  }
  CUresult Free(std::istringstream& line, std::string&) { return driver_.cuMemFree_v2(Memory(line)); }
  CUresult Export(std::istringstream& line, std::string& value) {
    cuda::CUipcMemHandle handle{};
    const CUresult result = driver_.cuIpcGetMemHandle(&handle, Memory(line));
    value = absl::BytesToHexString(std::string(handle.reserved, sizeof(handle.reserved)));
    return result;
  }
  CUresult Open(std::istringstream& line, std::string& value) {
    cuda::CUipcMemHandle handle{};
    ReadHandle(line, handle.reserved);
    cuda::CUdeviceptr address = 0;
    const CUresult result =
        driver_.cuIpcOpenMemHandle_v2(&address, handle, cuda::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    return Remember(result, memory_, address, value);
  }
  CUresult Close(std::istringstream& line, std::string&) { return driver_.cuIpcCloseMemHandle(Memory(line)); }
  CUresult Fill(std::istringstream& line, std::string&) {
    const cuda::CUdeviceptr address = Memory(line);
    size_t offset = 0;
    unsigned byte = 0;
    size_t count = 0;
    line >> offset >> byte >> count;
    const auto value = static_cast<unsigned char>(byte);
    if (const CUresult result = driver_.cuMemsetD8Async(address + offset, value, count, stream_))
      return result;
    return driver_.cuStreamSynchronize(stream_);
  }
  CUresult Read(std::istringstream& line, std::string& value) {
    const cuda::CUdeviceptr address = Memory(line);
    size_t offset = 0;
    size_t count = 0;
    line >> offset >> count;
    std::vector<unsigned char> bytes(count);
    if (const CUresult result =
            driver_.cuMemcpyDtoHAsync_v2(bytes.data(), address + offset, count, stream_)) {
      return result;
    }
    return Synchronize(bytes, value);
  }
  // The same, `times` times without a pause, to memory that the driver knows.
  CUresult BeginCopies(std::istringstream& line, std::string&) {
    const cuda::CUdeviceptr address = Memory(line);
    size_t count = 0;
    unsigned times = 0;
    line >> count >> times;
    copied_.resize(count);
    if (const CUresult result =
            driver_.cuMemHostRegister_v2(copied_.data(), count, cuda::CU_MEMHOSTREGISTER_PORTABLE))
      return result;
    for (unsigned i = 0; i < times; ++i) {
      if (const CUresult result = driver_.cuMemcpyDtoHAsync_v2(copied_.data(), address, count, stream_))
        return result;
    }
    return cuda::CUDA_SUCCESS;
  }
  CUresult EndCopies(std::istringstream&, std::string& value) { return Synchronize(copied_, value); }
  CUresult Address(std::istringstream& line, std::string& value) {
    value = std::to_string(Memory(line));
    return cuda::CUDA_SUCCESS;
  }

  CUresult MakeEvent(std::istringstream& line, std::string& value) {
    unsigned flags = 0;
    line >> flags;
    cuda::CUevent event = nullptr;
    const CUresult result = driver_.cuEventCreate(&event, flags);
    return Remember(result, events_, event, value);
  }
  CUresult ExportEvent(std::istringstream& line, std::string& value) {
    cuda::CUipcEventHandle handle{};
    const CUresult result = driver_.cuIpcGetEventHandle(&handle, Event(line));
    value = absl::BytesToHexString(std::string(handle.reserved, sizeof(handle.reserved)));
    return result;
  }
  CUresult OpenEvent(std::istringstream& line, std::string& value) {
    cuda::CUipcEventHandle handle{};
    ReadHandle(line, handle.reserved);
    cuda::CUevent event = nullptr;
    const CUresult result = driver_.cuIpcOpenEventHandle(&event, handle);
    return Remember(result, events_, event, value);
  }
  CUresult DestroyEvent(std::istringstream& line, std::string&) {
    return driver_.cuEventDestroy_v2(Event(line));
  }
  CUresult Record(std::istringstream& line, std::string&) {
    return driver_.cuEventRecord(Event(line), stream_);
  }
  CUresult Query(std::istringstream& line, std::string&) { return driver_.cuEventQuery(Event(line)); }
  CUresult WaitEvent(std::istringstream& line, std::string&) {
    return driver_.cuStreamWaitEvent(stream_, Event(line), cuda::CU_EVENT_WAIT_DEFAULT);
  }
  CUresult SynchronizeEvent(std::istringstream& line, std::string&) {
    return driver_.cuEventSynchronize(Event(line));
  }

  CUresult Block(std::istringstream&, std::string&) {
    gate_.Close();
    return driver_.cuLaunchHostFunc(stream_, Gate::PassThrough, &gate_);
  }
  CUresult Unblock(std::istringstream&, std::string&) {
    gate_.Open();
    return cuda::CUDA_SUCCESS;
  }
  CUresult QueryStream(std::istringstream&, std::string&) { return driver_.cuStreamQuery(stream_); }
  CUresult SynchronizeStream(std::istringstream&, std::string&) {
    return driver_.cuStreamSynchronize(stream_);
  }

  // Waits for copies to `bytes`; which byte they all are.
  CUresult Synchronize(const std::vector<unsigned char>& bytes, std::string& value) {
    if (const CUresult result = driver_.cuStreamSynchronize(stream_)) return result;
    const bool uniform = std::all_of(bytes.begin(), bytes.end(), [&](auto byte) { return byte == bytes[0]; });
    value = uniform ? std::to_string(bytes[0]) : "mixed";
    return cuda::CUDA_SUCCESS;
  }
  template <typename Thing>
  static CUresult Remember(CUresult result, std::vector<Thing>& things, Thing thing, std::string& number) {
    if (result != cuda::CUDA_SUCCESS) return result;
    number = std::to_string(things.size());
    things.push_back(thing);
    return result;
  }
  cuda::CUdeviceptr Memory(std::istringstream& line) {
    size_t number = 0;
    line >> number;
    return memory_.at(number);
  }
  cuda::CUevent Event(std::istringstream& line) {
    size_t number = 0;
    line >> number;
    return events_.at(number);
  }
  static void ReadHandle(std::istringstream& line, char* reserved) {
    std::string text;
    line >> text;
    const std::string bytes = absl::HexStringToBytes(text);
    std::memcpy(reserved, bytes.data(), std::min(bytes.size(), cuda::CU_IPC_HANDLE_SIZE));
  }

  const CudaDriver& driver_;
  cuda::CUstream stream_ = nullptr;
  std::vector<cuda::CUdeviceptr> memory_;
  std::vector<cuda::CUevent> events_;
  std::vector<unsigned char> copied_;
  Gate gate_;
};

}  // namespace

int PlayPeer() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // even where a fault holds it for ever
  // Never destroyed: a stream may stand at its gate while the process exits.
  static Player& player = *new Player;
  std::FILE* commands = ::fdopen(kPeerSocket, "r");
  char* text = nullptr;
  size_t capacity = 0;
  while (::getline(&text, &capacity, commands) > 0) {
    std::istringstream line{std::string(text)};
    if (line.str() == "exit\n") break;
    std::string value;
    const CUresult result = player.Play(line, value);
    ::dprintf(kPeerSocket, "%u %s\n", static_cast<unsigned>(result), value.c_str());
  }
  std::free(text);
  return 0;
}

}  // namespace zerohop::conformance
