// Counts what a process allocates: load it with LD_PRELOAD.
//
// It stands in for malloc and its like and for operator new, and counts calls:
// all of them, and those whose caller is the program itself and not a library.
// Templates that a library's headers put into the program are the program's.
// The counts lie in the file that COUNT_ALLOCATIONS names, two 64-bit words in
// the order of the host, all and the program's own, and are there to be read
// while the process runs. Its children are not counted: they do not get the library.

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

// glibc's own, under the names that nobody replaces.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* old, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
}

namespace {

struct Counters {
  std::atomic<uint64_t> all;
  std::atomic<uint64_t> own;
};
Counters* counters = nullptr;
uintptr_t program_begin = 0, program_end = 0;

// The first object that the loader lists is the program.
int NoteProgram(dl_phdr_info* info, size_t /*size*/, void* /*unused*/) {
  program_begin = ~uintptr_t{0};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (begin < program_begin) program_begin = begin;
    if (begin + part.p_memsz > program_end) program_end = begin + part.p_memsz;
  }
  return 1;  // no more of them
}

void Count(const void* caller) {
  if (counters == nullptr) return;
  counters->all.fetch_add(1, std::memory_order_relaxed);
  const auto at = reinterpret_cast<uintptr_t>(caller);
  if (at >= program_begin && at < program_end) counters->own.fetch_add(1, std::memory_order_relaxed);
}

__attribute__((constructor)) void Begin() {
  const char* path = std::getenv("COUNT_ALLOCATIONS");
  if (path == nullptr) return;
  dl_iterate_phdr(NoteProgram, nullptr);
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Counters)) != 0) _exit(127);
  void* map = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) _exit(127);
  unsetenv("LD_PRELOAD");
  unsetenv("COUNT_ALLOCATIONS");
  counters = static_cast<Counters*>(map);
}

void* OrThrow(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

extern "C" {

void* malloc(size_t bytes) {
  Count(__builtin_return_address(0));
  return __libc_malloc(bytes);
}

void* calloc(size_t count, size_t bytes) {
  Count(__builtin_return_address(0));
  return __libc_calloc(count, bytes);
}

void* realloc(void* old, size_t bytes) {
  Count(__builtin_return_address(0));
  return __libc_realloc(old, bytes);
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  Count(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** out, size_t alignment, size_t bytes) {
  Count(__builtin_return_address(0));
  *out = __libc_memalign(alignment, bytes);
  return *out != nullptr ? 0 : 12;  // ENOMEM
}

}  // extern "C"

void* operator new(size_t bytes) {
  Count(__builtin_return_address(0));
  return OrThrow(__libc_malloc(bytes));
}

void* operator new[](size_t bytes) {
  Count(__builtin_return_address(0));
  return OrThrow(__libc_malloc(bytes));
}

void* operator new(size_t bytes, std::align_val_t alignment) {
  Count(__builtin_return_address(0));
  return OrThrow(__libc_memalign(static_cast<size_t>(alignment), bytes));
}

// What is given back needs no counting; these only keep the compiler from mixing two families.
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t /*bytes*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t /*bytes*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
