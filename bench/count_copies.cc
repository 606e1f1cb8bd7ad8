// Counts what a process copies in its own memory: load it with LD_PRELOAD.
//
// It stands in for memcpy, memmove and mempcpy, also as fortified code calls
// them, and adds up the lengths of all that copy kLeast bytes or more: rows and
// requests, not the fields of messages. The sums lie in the file that
// COUNT_COPIES names, two 64-bit words in the order of the host, bytes and
// calls, and are there to be read while the process runs. Its children are not
// counted: they do not get the library.
//
// What it cannot see: copies that the compiler made of moves (of lengths that
// it knew, so none of rows), copies inside libc, and copies by the kernel; of
// those, the write to a socket is paid by every server alike.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

constexpr size_t kLeast = 1024;

struct Counters {
  std::atomic<uint64_t> bytes;
  std::atomic<uint64_t> calls;
};
Counters* counters = nullptr;

using Copy = void* (*)(void*, const void*, size_t);
// Until the linker has told us. Volatile, or the compiler would make a call of memcpy of it.
void* CopySlowly(void* to, const void* from, size_t bytes) {
  auto* out = static_cast<volatile char*>(to);
  const auto* in = static_cast<const volatile char*>(from);
  if (to <= from) {
    for (size_t i = 0; i < bytes; ++i) out[i] = in[i];
  } else {
    for (size_t i = bytes; i-- > 0;) out[i] = in[i];
  }
  return to;
}
Copy real_memcpy = CopySlowly;
Copy real_memmove = CopySlowly;

void Count(size_t bytes) {
  if (bytes < kLeast || counters == nullptr) return;
  counters->bytes.fetch_add(bytes, std::memory_order_relaxed);
  counters->calls.fetch_add(1, std::memory_order_relaxed);
}

__attribute__((constructor)) void Begin() {
  real_memcpy = reinterpret_cast<Copy>(dlsym(RTLD_NEXT, "memcpy"));
  real_memmove = reinterpret_cast<Copy>(dlsym(RTLD_NEXT, "memmove"));
  const char* path = std::getenv("COUNT_COPIES");
  if (path == nullptr) return;
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Counters)) != 0) _exit(127);
  void* map = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) _exit(127);
  counters = static_cast<Counters*>(map);
  unsetenv("LD_PRELOAD");
  unsetenv("COUNT_COPIES");
}

}  // namespace

extern "C" {

void* memcpy(void* to, const void* from, size_t bytes) {
  Count(bytes);
  return real_memcpy(to, from, bytes);
}

void* memmove(void* to, const void* from, size_t bytes) {
  Count(bytes);
  return real_memmove(to, from, bytes);
}

void* mempcpy(void* to, const void* from, size_t bytes) {
  Count(bytes);
  return static_cast<char*>(real_memcpy(to, from, bytes)) + bytes;
}

// The fortified ones know the room at `to`.
void* __memcpy_chk(void* to, const void* from, size_t bytes, size_t room) {
  if (bytes > room) std::abort();
  return memcpy(to, from, bytes);
}

void* __memmove_chk(void* to, const void* from, size_t bytes, size_t room) {
  if (bytes > room) std::abort();
  return memmove(to, from, bytes);
}

void* __mempcpy_chk(void* to, const void* from, size_t bytes, size_t room) {
  if (bytes > room) std::abort();
  return mempcpy(to, from, bytes);
}

}  // extern "C"
