#pragma once

// How a process reaches what it shares with the others of its namespace: the
// file behind it, its lock, and coming and going. What becomes of the things a
// process owned when it goes is departure.h's.
//
// Order of locks: a lock within the process first, the registry's last.

#include <string>

#include "tests/fake_cuda/registry_format.h"

namespace zerohop::fake_cuda {

// Holds the lock, for a short time, and never while waiting. If the holder before
// us was killed within, its dead are settled first: no record is ever half-written
// in a way that matters, since each change becomes visible by one word, last.
class RegistryLock {
 public:
  RegistryLock();
  explicit RegistryLock(Registry& registry);
  ~RegistryLock();
  RegistryLock(const RegistryLock&) = delete;
  RegistryLock& operator=(const RegistryLock&) = delete;

  Registry* operator->() const { return registry_; }
  Registry& operator*() const { return *registry_; }

 private:
  Registry* registry_;
};

// The words that may be read without the lock. Maps the registry if need be.
Registry& SharedWords();

// Makes this process one of the namespace; its index among the processes.
uint32_t Join();

// This process's index; kNobody before Join, and from Leave on.
uint32_t Self();

// The end of Join, at a clean exit. The last process to leave removes the
// namespace, memory of killed processes included.
void Leave();

// Removes a namespace in which no process lives any more: one whose last was killed.
void RemoveNamespace();

// The process id that peers see; what else tells processes apart.
int ShownPid();
uint64_t StartTime(int pid);  // 0: no such process, or one that only waits to be reaped
uint64_t PidNamespace();      // of this process

// "/dev/shm/fakecu-NS" and what stands behind it.
std::string NamespacePath(const std::string& suffix);

void Count(Registry& registry, Counter counter, uint64_t by = 1);

}  // namespace zerohop::fake_cuda
