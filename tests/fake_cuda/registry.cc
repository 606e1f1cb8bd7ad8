#include "tests/fake_cuda/registry.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>

#include "tests/fake_cuda/departure.h"
#include "tests/fake_cuda/physical_memory.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {
namespace {

[[noreturn]] void Die(const char* doing) {
  std::fprintf(stderr, "fake_cuda: cannot %s: %s\n", doing, std::strerror(errno));
  std::abort();
}

// A mapping of the registry, and the file under it, which tells whether it was removed meanwhile.
struct Mapping {
  int fd = -1;
  Registry* registry = nullptr;
};
Mapping mapping;
std::mutex& mapping_lock = *new std::mutex;
// Set by Join for good: a member finds its registry without a lock, which would order
// its threads among each other and hide from the thread sanitizer that nothing else does.
std::atomic<Registry*> member_of = nullptr;
std::atomic<uint32_t> self = kNobody;

void Prepare(Registry& registry) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&registry.lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  registry.device_count = TheSettings().devices;
  for (uint32_t i = 0; i < registry.device_count; ++i) {
    // The same in every run, so that a test may name a device.
    std::snprintf(registry.devices[i].uuid.bytes, sizeof(registry.devices[i].uuid.bytes), "fake-cuda-gpu-%u",
                  i % 10);
    registry.devices[i].total_bytes = TheSettings().total_bytes;
  }
  registry.magic = kRegistryMagic;
}

// Opens, and where it is new prepares, the registry; returns with its file locked (flock).
Mapping OpenLocked() {
  const std::string path = NamespacePath("");
  for (;;) {
    Mapping opened;
    opened.fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (opened.fd < 0) Die("open the registry in /dev/shm");
    if (::flock(opened.fd, LOCK_EX) != 0) Die("lock the registry");
    struct stat status {};
    if (::fstat(opened.fd, &status) != 0) Die("look at the registry");
    if (status.st_nlink == 0) {  // its last user removed it between our open and our lock
      ::close(opened.fd);
      continue;
    }
    if (status.st_size != 0 && status.st_size != sizeof(Registry)) Die("use a registry of another layout");
    if (::ftruncate(opened.fd, sizeof(Registry)) != 0) Die("size the registry");
    void* memory = ::mmap(nullptr, sizeof(Registry), PROT_READ | PROT_WRITE, MAP_SHARED, opened.fd, 0);
    if (memory == MAP_FAILED) Die("map the registry");
    opened.registry = static_cast<Registry*>(memory);
    if (opened.registry->magic == 0) Prepare(*opened.registry);
    if (opened.registry->magic != kRegistryMagic) Die("use a registry of another version");
    return opened;
  }
}

bool Removed(const Mapping& old) {
  struct stat status {};
  return ::fstat(old.fd, &status) != 0 || status.st_nlink == 0;
}

// A process that only uses hooks is none that keeps the registry in its place: it looks each time.
Registry& Mapped() {
  if (Registry* registry = member_of) return *registry;
  const std::lock_guard guard(mapping_lock);
  if (mapping.registry == nullptr || Removed(mapping)) {
    mapping = OpenLocked();
    ::flock(mapping.fd, LOCK_UN);
  }
  return *mapping.registry;
}

uint32_t TakeSeat(Registry& registry) {
  SettleDead(registry);
  for (uint32_t i = 0; i < kMaxProcesses; ++i) {
    ProcessRecord& process = registry.processes[i];
    if (process.pid != 0) continue;
    process.pid = ::getpid();
    process.shown_pid = ShownPid();
    process.start_time = StartTime(::getpid());
    process.pid_namespace = PidNamespace();
    return i;
  }
  errno = EUSERS;
  Die("join a namespace with so many processes");
}

// Under the file's lock: whoever opens the registry meanwhile finds it removed, and makes a new one.
void RemoveIfEmpty(Registry& registry) {
  SettleDead(registry);
  for (const ProcessRecord& process : registry.processes) {
    if (process.pid != 0) return;
  }
  RemoveObjects(registry);
  ::unlink(NamespacePath("").c_str());
}

}  // namespace

RegistryLock::RegistryLock() : RegistryLock(Mapped()) {}

RegistryLock::RegistryLock(Registry& registry) : registry_(&registry) {
  const int error = pthread_mutex_lock(&registry.lock);
  if (error == EOWNERDEAD) {
    pthread_mutex_consistent(&registry.lock);
    SettleDead(registry);
  } else if (error != 0) {
    errno = error;
    Die("take the registry's lock");
  }
}

RegistryLock::~RegistryLock() {
  pthread_mutex_unlock(&registry_->lock);
}

Registry& SharedWords() {
  return Mapped();
}

uint32_t Join() {
  const std::lock_guard guard(mapping_lock);
  // Under the file's lock, so that nobody removes the registry between its opening and our seat in it.
  mapping = OpenLocked();
  {
    const RegistryLock registry(*mapping.registry);
    self = TakeSeat(*registry);
  }
  ::flock(mapping.fd, LOCK_UN);
  member_of = mapping.registry;
  return self;
}

uint32_t Self() {
  return self;
}

void Leave() {
  ::flock(mapping.fd, LOCK_EX);
  {
    const RegistryLock registry;
    Settle(*registry, self.exchange(kNobody), Farewell::kExited);
    RemoveIfEmpty(*registry);
  }
  // Not unmapped: streams that still wait look at it until the process is gone.
  ::flock(mapping.fd, LOCK_UN);
}

void RemoveNamespace() {
  if (::access(NamespacePath("").c_str(), F_OK) != 0) return;
  const Mapping opened = OpenLocked();
  {
    const RegistryLock registry(*opened.registry);
    RemoveIfEmpty(*registry);
  }
  ::munmap(opened.registry, sizeof(Registry));
  ::close(opened.fd);
}

int ShownPid() {
  return TheSettings().shown_pid != 0 ? TheSettings().shown_pid : ::getpid();
}

uint64_t StartTime(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return 0;
  // "pid (any name) state ppid ..."; the start time is field 22.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  char state = 0;
  unsigned long long start = 0;
  const int fields = std::sscanf(
      line.c_str() + name_end + 1,
      " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state, &start);
  return fields == 2 && state != 'Z' && state != 'X' ? start : 0;
}

uint64_t PidNamespace() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

std::string NamespacePath(const std::string& suffix) {
  return "/dev/shm/fakecu-" + TheSettings().name_space + suffix;
}

void Count(Registry& registry, Counter counter, uint64_t by) {
  const uint32_t process = self;
  if (process == kNobody) return;
  registry.processes[process].counters[static_cast<size_t>(counter)].fetch_add(by, std::memory_order_relaxed);
}

}  // namespace zerohop::fake_cuda
